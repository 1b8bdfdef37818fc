"""A student in training: taught by a teacher's logits, by its own labels and by a teacher's hidden states."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from tfhub_ft.training.train_step import DistributedTrainStep


@dataclass(frozen=True)
class DistillationLoss:
    """What a student is taught.

    Args:
        soft_loss: one of `tfhub_ft.distillation.losses.SOFT_LOSSES`.
        temperature: of that loss.
        alpha: its share in the loss of a labelled row.
        hidden_weight: of `hidden_loss`.
        hidden_loss: takes tokens and the student's hidden states, and gives a number.
    """

    soft_loss: Callable[[Any, Any, float], Any]
    temperature: float
    alpha: float
    hidden_weight: float = 0.0
    hidden_loss: Callable[[dict[str, Any], list[Any]], Any] | None = None


class StudentLearner(DistributedTrainStep, keras.Model):
    """A student in training.

    Its targets in training are {"own": what the task's loss takes, "teacher": float (batch, logits), "labelled":
    float (batch,), 1 where `own` counts}, and its loss is

        mean over the rows (alpha * soft_loss + (1 - alpha) * labelled * task's loss) + hidden_weight * hidden_loss.

    Args:
        network: from tokens to {"logits", "hidden": a list of hidden states, where they count}.
        objective: what it is taught.
    """

    def __init__(self, network: keras.Model, objective: DistillationLoss):
        super().__init__(name="learner")
        self.network, self.objective = network, objective
        self.built = True

    def call(self, tokens: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """The network's outputs."""
        return self.network(tokens, training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The loss of a batch, as the class says."""
        logits, objective = y_pred["logits"], self.objective
        own = y["labelled"] * self.loss.call(y["own"], logits)
        soft = objective.soft_loss(y["teacher"], logits, objective.temperature)
        loss = _mean(objective.alpha * soft + (1 - objective.alpha) * own)
        if objective.hidden_loss:
            loss += objective.hidden_weight * objective.hidden_loss(x, y_pred["hidden"])
        return loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """The task's metrics over the rows that have a label."""
        import tensorflow as tf

        labeled = y["labelled"] > 0
        own, logits = tf.boolean_mask(y["own"], labeled), tf.boolean_mask(y_pred["logits"], labeled)
        return super().compute_metrics(x, own, logits, sample_weight)


def _mean(losses: Any) -> Any:
    """The mean over rows, of which a replica may have none."""
    return ops.sum(losses) / ops.maximum(ops.cast(ops.size(losses), "float32"), 1.0)


def hidden_difference(
    teacher: Callable[[dict[str, Any]], list[Any]], layers: list[int], word_ids: list[int]
) -> Callable[[dict[str, Any], list[Any]], Any]:
    """A loss: the mean squared difference of hidden states, over true tokens.

    Args:
        teacher: from its tokens to the hidden states of all its layers, each float (batch, length, hidden).
        layers: for each layer of the student the teacher's, from 0.
        word_ids: for each token id of the student the teacher's.

    Returns:
        A function of the student's tokens and its hidden states.

    Reference:
        Sanh et al. 2019, https://arxiv.org/abs/1910.01108; Sun et al. 2019, https://arxiv.org/abs/1908.09355
    """

    def difference(tokens: dict[str, Any], hidden: list[Any]) -> Any:
        of_teacher = teacher({**tokens, "input_word_ids": ops.take(ops.array(word_ids), tokens["input_word_ids"])})
        mask = ops.cast(tokens["input_mask"], "float32")[:, :, None]
        squares = [
            ops.sum(mask * ops.square(own - ops.stop_gradient(of_teacher[layer]))) / own.shape[-1]
            for own, layer in zip(hidden, layers, strict=True)
        ]
        return sum(squares) / ops.maximum(len(squares) * ops.sum(mask), 1.0)

    return difference
