"""Losses between the logits of a student and those of its teacher."""

from collections.abc import Callable

import tensorflow as tf


def softened_classes(teacher: tf.Tensor, student: tf.Tensor, temperature: float) -> tf.Tensor:
    """Return the divergence of the student's classes from the teacher's, float (batch,), of logits (batch, classes).

    Both logits are divided by the temperature; its square keeps the scale of the gradients.

    Reference:
        Hinton, Vinyals, Dean 2015, section 2, https://arxiv.org/abs/1503.02531
    """
    return temperature**2 * _divergence(*(tf.nn.log_softmax(logits / temperature) for logits in (teacher, student)))


def softened_labels(teacher: tf.Tensor, student: tf.Tensor, temperature: float) -> tf.Tensor:
    """Return the mean of `softened_classes` over independent labels, each of which is present or absent."""

    def log_probabilities(logits: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.math.log_sigmoid(logits / temperature), tf.math.log_sigmoid(-logits / temperature)], -1)

    return temperature**2 * tf.reduce_mean(_divergence(log_probabilities(teacher), log_probabilities(student)), -1)


def squared_error(teacher: tf.Tensor, student: tf.Tensor, temperature: float) -> tf.Tensor:
    """Return the squared difference of two numbers, float (batch,) from (batch, 1); the temperature is not used."""
    return tf.reduce_mean(tf.square(teacher - student), -1)


def _divergence(teacher: tf.Tensor, student: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.exp(teacher) * (teacher - student), -1)


SoftLoss = Callable[[tf.Tensor, tf.Tensor, float], tf.Tensor]
SOFT_LOSSES: dict[str, SoftLoss] = {
    "classification": softened_classes,
    "intent": softened_classes,
    "multilabel": softened_labels,
    "regression": squared_error,
}
