"""The training step of a student, with the distillation loss."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfhub_ft.distillation.losses import SoftLoss
from tfhub_ft.models.window_pooling import windows_of
from tfhub_ft.training.train_step import TrainStepModel

HiddenStates = Sequence[tf.Tensor]
HiddenLoss = Callable[[Mapping[str, tf.Tensor], HiddenStates], tf.Tensor]


@dataclass(frozen=True)
class DistillationLoss:
    """The parts of a distillation loss; `alpha` weights the soft loss of a labeled row against the task's loss."""

    soft_loss: SoftLoss
    temperature: float
    alpha: float
    hidden_weight: float = 0.0
    hidden_loss: HiddenLoss | None = None


class StudentLearner(TrainStepModel):
    """A functional model of a student, with its distillation loss.

    Its outputs are {"logits", and for the hidden loss "hidden", a list of hidden states}. The targets of a batch are
    {"task": the targets of the task's loss, "teacher": float (batch, logits), "is_labeled": float (batch,), 1 for rows
    with labels}, and the loss is

        mean over the rows (alpha * soft_loss + (1 - alpha) * is_labeled * task's loss) + hidden_weight * hidden_loss,

    where the terms of a row are multiplied by its weight, if rows have weights.
    """

    def __init__(
        self,
        tokens: Mapping[str, keras.KerasTensor],
        outputs: Mapping[str, keras.KerasTensor | Sequence[keras.KerasTensor]],
        distillation_loss: DistillationLoss,
    ):
        super().__init__(tokens, outputs, name="learner")
        self.output_names = ["logits"]  # Keras 3.12 names metrics after one of several outputs.
        self.distillation_loss = distillation_loss

    def compute_loss(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        x: Mapping[str, tf.Tensor],
        y: Mapping[str, tf.Tensor],
        y_pred: Mapping[str, Any],
        sample_weight: tf.Tensor | None = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Return the loss of this replica's part of a batch."""
        logits, loss = y_pred["logits"], self.distillation_loss
        task_losses = y["is_labeled"] * self.loss.call(y["task"], logits)
        soft_losses = loss.soft_loss(y["teacher"], logits, loss.temperature)
        losses = loss.alpha * soft_losses + (1 - loss.alpha) * task_losses
        if sample_weight is not None:
            losses *= sample_weight
        # The part of a replica may be empty.
        mean = tf.reduce_sum(losses) / tf.maximum(tf.cast(tf.size(losses), tf.float32), 1.0)
        if loss.hidden_loss:
            mean += loss.hidden_weight * loss.hidden_loss(x, y_pred["hidden"])
        return mean

    def compute_metrics(
        self,
        x: Mapping[str, tf.Tensor],
        y: Mapping[str, tf.Tensor],
        y_pred: Mapping[str, Any],
        sample_weight: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Return the task's metrics of the labeled rows."""
        is_labeled = y["is_labeled"] > 0
        targets, logits = (tf.boolean_mask(each, is_labeled) for each in (y["task"], y_pred["logits"]))
        return super().compute_metrics(x, targets, logits, sample_weight)


def hidden_difference(
    teacher: Callable[[Mapping[str, tf.Tensor]], HiddenStates], layers: Sequence[int], token_ids: Sequence[int]
) -> HiddenLoss:
    """Return a loss: the mean squared difference of hidden states, over all tokens but padding.

    `layers` and `token_ids` map each layer, and each token id, of the student to that of the teacher.

    Reference:
        Sanh et al. 2019, https://arxiv.org/abs/1910.01108; Sun et al. 2019, https://arxiv.org/abs/1908.09355
    """

    def difference(tokens: Mapping[str, tf.Tensor], hidden: HiddenStates) -> tf.Tensor:
        tokens = windows_of(tokens)
        ids = tf.gather(tf.constant(token_ids), tokens["input_word_ids"])
        teacher_hidden = teacher({**tokens, "input_word_ids": ids})
        mask = tf.cast(tokens["input_mask"], tf.float32)
        squares = [
            tf.reduce_sum(mask * tf.reduce_mean(tf.square(states - tf.stop_gradient(teacher_hidden[layer])), -1))
            for states, layer in zip(hidden, layers, strict=True)
        ]
        return tf.add_n(squares) / tf.maximum(len(squares) * tf.reduce_sum(mask), 1.0)

    return difference
