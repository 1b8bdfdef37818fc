"""The network in training, on one replica or on many."""

from typing import Any

import keras

from tfhub_ft.utils.keras_compat import PrebuiltModel, build_for_batch, logs_need_an_axis, loss_tracker, unscaled_loss


class DistributedTrainStep(PrebuiltModel):
    """What makes a keras.Model learn the same on many replicas as on one, however a batch divides.

    Its batches are (tokens, targets, {"share": what this replica has of what the batch's loss is the mean of, "rows":
    what its loss counts in the epoch's mean}), both float32 (). The mean losses of all replicas, each times its share,
    add up to the mean loss of the batch, and so do the gradients.

    Keras 3.15 cannot train with MultiWorkerMirroredStrategy: before the first step it reduces a dictionary of values
    of replicas, and after each step it reduces numbers along an axis that they do not have. The first is left out
    here, as `build_for` builds what it would have built; for the second, what a step returns gets an axis, as long as
    Keras needs it.
    """

    _logs_need_an_axis = False

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The mean loss of this replica's part, which Keras would divide by the number of replicas."""
        return unscaled_loss(super().compute_loss(x, y, y_pred, sample_weight, training))

    def train_step(self, data: tuple[Any, Any, dict[str, Any]]) -> dict[str, Any]:
        """Learn from this replica's part of a batch."""
        import tensorflow as tf

        tokens, targets, counts = data
        with tf.GradientTape() as tape:
            outputs = self(tokens, training=True)
            loss = self.compute_loss(tokens, targets, outputs, training=True)
            scaled = self.optimizer.scale_loss(loss * counts["share"])
        weights = self.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(scaled, weights), weights, strict=True))
        return self._noted(tokens, targets, outputs, loss, counts)

    def _noted(self, tokens: Any, targets: Any, outputs: Any, loss: Any, counts: dict[str, Any]) -> dict[str, Any]:
        import tensorflow as tf

        loss_tracker(self).update_state(loss, sample_weight=counts["rows"])
        logs = self.compute_metrics(tokens, targets, outputs)
        return tf.nest.map_structure(lambda value: tf.reshape(value, [1]), logs) if self._logs_need_an_axis else logs

    def build_for(self, batch: tuple[Any, Any]) -> None:
        """Make the variables of losses and metrics, which cannot be made within a step of many replicas.

        Args:
            batch: some tokens and their targets.
        """
        self._logs_need_an_axis = logs_need_an_axis(self.distribute_strategy)
        with self.distribute_strategy.scope():
            build_for_batch(self, batch)


class TrainStepModel(DistributedTrainStep, keras.Model):
    """The network in training: a functional model from tokens, or features, to what the loss takes."""
