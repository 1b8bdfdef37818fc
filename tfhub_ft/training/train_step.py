"""The training step, on one replica or many."""

from typing import Any

import keras
import tensorflow as tf

from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.keras_compat import PrebuiltModel, build_for_batch, logs_need_an_axis, loss_tracker, unscaled_loss


@keras.saving.register_keras_serializable("tfhub_ft")
class TrainStepModel(PrebuiltModel, keras.Model):
    """A functional model from tokens, or features, to logits, trained in the same way on any number of replicas.

    A batch is (tokens, targets, {"share", "rows"}), the last two float32 (). "share" is the replica's share of the
    batch's loss: the replicas' mean losses times their shares add up to the mean loss of the batch, and so do the
    gradients. "rows" weights the replica's mean loss in the mean of the epoch. If rows have weights, "weights", float32
    (rows,) or for targets of tokens (rows, 1), multiplies their losses before the mean, as in `keras.Model.fit`.

    Keras 3.15 cannot train with MultiWorkerMirroredStrategy: before the first step it reduces a dictionary of values of
    replicas, and after each step it reduces scalars along an axis. `build_for` replaces the first; for the second, the
    logs of a step get an axis, as long as Keras needs it.
    """

    _logs_need_an_axis = False

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> tf.Tensor:
        """Return the mean loss of this replica, which Keras would divide by the number of replicas."""
        return unscaled_loss(super().compute_loss(x, y, y_pred, sample_weight, training))

    def train_step(self, data: tuple) -> dict[str, tf.Tensor]:
        """Train on this replica's part of a batch."""
        tokens, targets, counts = data
        with tf.GradientTape() as tape:
            outputs = self(tokens, training=True)
            loss = self.compute_loss(tokens, targets, outputs, counts.get("weights"), training=True)
            scaled = self.optimizer.scale_loss(loss * counts["share"])
        weights = self.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(scaled, weights), weights, strict=True))
        loss_tracker(self).update_state(loss, sample_weight=counts["rows"])
        logs = self.compute_metrics(tokens, targets, outputs)
        for name, value in logs.items():
            if value.shape.rank:
                raise InputError(f"metrics: {name} has {value.shape[0]} values; choose one that has a single value")
        return tf.nest.map_structure(lambda value: tf.reshape(value, [1]), logs) if self._logs_need_an_axis else logs

    def build_for(self, batch: tuple) -> None:
        """Create the variables of losses and metrics from (tokens, targets); a step of many replicas cannot do it."""
        self._logs_need_an_axis = logs_need_an_axis(self.distribute_strategy)
        with self.distribute_strategy.scope():
            build_for_batch(self, batch)
