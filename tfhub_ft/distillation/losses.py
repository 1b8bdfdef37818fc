"""How far a student's logits are from its teacher's."""

from collections.abc import Callable
from typing import Any


def softened_classes(teacher: Any, student: Any, temperature: float) -> Any:
    """How far the student's classes are from the teacher's, each softened by the temperature.

    Args:
        teacher: logits, float (batch, classes).
        student: logits, float (batch, classes).
        temperature: what both are divided by.

    Returns:
        float (batch,), the squared temperature times the Kullback-Leibler divergence; so the gradient's size hardly
        depends on the temperature.

    Reference:
        Hinton, Vinyals, Dean 2015, section 2, https://arxiv.org/abs/1503.02531
    """
    from keras import ops

    of_teacher, of_student = (ops.log_softmax(logits / temperature) for logits in (teacher, student))
    return temperature**2 * ops.sum(ops.exp(of_teacher) * (of_teacher - of_student), -1)


def softened_labels(teacher: Any, student: Any, temperature: float) -> Any:
    """The same for labels that exclude none another: the mean over the labels, each of which is there or is not."""
    from keras import ops

    def log_probabilities(logits: Any) -> Any:
        return ops.stack([ops.log_sigmoid(logits / temperature), ops.log_sigmoid(-logits / temperature)], -1)

    of_teacher, of_student = log_probabilities(teacher), log_probabilities(student)
    divergence = ops.sum(ops.exp(of_teacher) * (of_teacher - of_student), -1)
    return temperature**2 * ops.mean(divergence, -1)


def squared_error(teacher: Any, student: Any, temperature: float) -> Any:
    """The squared difference of two numbers, float (batch,) of (batch, 1); a temperature has no meaning here."""
    from keras import ops

    return ops.mean(ops.square(teacher - student), -1)


SOFT_LOSSES: dict[str, Callable[[Any, Any, float], Any]] = {
    "classification": softened_classes,
    "intent": softened_classes,
    "multilabel": softened_labels,
    "regression": squared_error,
}
