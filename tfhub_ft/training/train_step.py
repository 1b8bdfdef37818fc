"""The network in training, on one replica or on many."""

from typing import Any

import keras
from keras.src.backend.tensorflow.trainer import reduce_per_replica
from keras.src.losses.loss import unscale_loss_for_distribution


class DistributedTrainStep:
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
        return unscale_loss_for_distribution(super().compute_loss(x, y, y_pred, sample_weight, training))

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

        self._loss_tracker.update_state(loss, sample_weight=counts["rows"])
        logs = self.compute_metrics(tokens, targets, outputs)
        return tf.nest.map_structure(lambda value: tf.reshape(value, [1]), logs) if self._logs_need_an_axis else logs

    def build_for(self, batch: tuple[Any, Any]) -> None:
        """Make the variables of losses and metrics, which cannot be made within a step of many replicas.

        Args:
            batch: some tokens and their targets.
        """
        self._logs_need_an_axis = numbers_cannot_be_reduced(self.distribute_strategy)
        with self.distribute_strategy.scope():
            self._symbolic_build(data_batch=batch)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """What Keras would build here, `build_for` has built."""


class TrainStepModel(DistributedTrainStep, keras.Model):
    """The network in training: a functional model from tokens, or features, to what the loss takes."""


def numbers_cannot_be_reduced(strategy: Any) -> bool:
    """Whether Keras fails to reduce the numbers that a step returns; False once it has been mended."""
    import tensorflow as tf

    try:
        reduce_per_replica(tf.zeros(()), strategy, "mean")
    except ValueError:
        return True
    return False
