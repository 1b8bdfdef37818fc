"""Losses and training metrics that Keras does not have in the form that the tasks need."""

from collections.abc import Sequence
from typing import Any

import keras

from tfhub_ft.metrics.scores import OUT_OF_SCOPE


@keras.saving.register_keras_serializable("tfhub_ft")
class WeightedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits, with a weight a class and the focal factor.

    A row with a negative target fits none of the classes: every class should get the same probability (outlier
    exposure).

    Args:
        weights: one a class; None weighs all the same.
        focal_gamma: how far well-classified rows are played down; 0 is plain cross-entropy.

    Call arguments:
        y_true: int (batch,).
        y_pred: float logits (batch, classes).

    Reference:
        Lin et al. 2017, https://arxiv.org/abs/1708.02002; Hendrycks et al. 2019, https://arxiv.org/abs/1812.04606
    """

    def __init__(self, weights: Sequence[float] | None = None, *, focal_gamma: float = 0.0, **kwargs: Any):
        super().__init__(**{"name": "cross_entropy", **kwargs})
        self.weights = None if weights is None else list(map(float, weights))
        self.focal_gamma = focal_gamma

    def call(self, y_true: Any, y_pred: Any) -> Any:
        ops = keras.ops
        y_true = ops.cast(ops.reshape(y_true, [-1]), "int32")
        log_probabilities = ops.log_softmax(ops.cast(y_pred, "float32"))
        known = ops.one_hot(ops.maximum(y_true, 0), log_probabilities.shape[-1])
        truth = ops.where(y_true[:, None] < 0, 1.0 / log_probabilities.shape[-1], known)
        losses = -truth * log_probabilities
        if self.focal_gamma:
            losses *= ops.power(1.0 - ops.exp(log_probabilities), self.focal_gamma)
        if self.weights is not None:
            losses *= ops.convert_to_tensor(self.weights, "float32")
        return ops.sum(losses, -1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weights": self.weights, "focal_gamma": self.focal_gamma}


@keras.saving.register_keras_serializable("tfhub_ft")
class InScopeAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """Accuracy over the rows that are in scope; those with the target `OUT_OF_SCOPE` do not count."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true = keras.ops.reshape(y_true, [-1])
        super().update_state(y_true, y_pred, keras.ops.cast(y_true != OUT_OF_SCOPE, "float32"))


@keras.saving.register_keras_serializable("tfhub_ft")
class TagCrossEntropy(keras.losses.SparseCategoricalCrossentropy):
    """Mean cross-entropy of the words' tags; tokens with a negative target do not count.

    Call arguments:
        y_true: int (batch, length).
        y_pred: float logits (batch, length, tags).
    """

    def __init__(self, name: str = "tag_cross_entropy", **kwargs: Any):
        super().__init__(from_logits=True, ignore_class=-1, name=name, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return super().call(keras.ops.maximum(y_true, -1), y_pred)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        config = super().get_config()
        return {name: value for name, value in config.items() if name not in ("from_logits", "ignore_class")}


@keras.saving.register_keras_serializable("tfhub_ft")
class SpanCrossEntropy(keras.losses.Loss):
    """Mean cross-entropy of where a span starts and where it ends.

    Call arguments:
        y_true: int (batch, 2), the span's first and last token.
        y_pred: float logits (batch, length, 2).
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{"name": "span_cross_entropy", **kwargs})

    def call(self, y_true: Any, y_pred: Any) -> Any:
        ops = keras.ops
        log_probabilities = ops.log_softmax(ops.cast(y_pred, "float32"), axis=1)
        places = ops.cast(y_true, "int32")[:, None, :]
        return -ops.mean(ops.take_along_axis(log_probabilities, places, 1)[:, 0], -1)


@keras.saving.register_keras_serializable("tfhub_ft")
class InBatchNegatives(keras.losses.Loss):
    """Each prompt shall be closer to its own reply than to the batch's others, and each reply to its own prompt.

    Args:
        scale: what cosines are multiplied by before the softmax.

    Call arguments:
        y_true: int (batch,), a number for each distinct reply; an equal reply of another row is no negative.
        y_pred: float unit vectors (batch, 2, hidden), of the prompts and of the replies.

    Reference:
        Henderson et al. 2017, section 4.4, https://arxiv.org/abs/1705.00652
    """

    def __init__(self, scale: float = 20.0, **kwargs: Any):
        super().__init__(**{"name": "in_batch_negatives", **kwargs})
        self.scale = scale

    def call(self, y_true: Any, y_pred: Any) -> Any:
        ops = keras.ops
        cosines = in_batch_cosines(y_true, y_pred)
        own = ops.arange(ops.shape(cosines)[0])
        logits = self.scale * cosines
        forth = ops.take_along_axis(ops.log_softmax(logits), own[:, None], 1)[:, 0]
        back = ops.take_along_axis(ops.log_softmax(ops.transpose(logits)), own[:, None], 1)[:, 0]
        return -(forth + back) / 2

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable("tfhub_ft")
class InBatchRecall(keras.metrics.Mean):
    """The share of prompts whose own reply is the closest one of the batch."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        cosines = in_batch_cosines(y_true, y_pred)
        own = keras.ops.arange(keras.ops.shape(cosines)[0])
        super().update_state(keras.ops.cast(keras.ops.argmax(cosines, -1) == own, "float32"), sample_weight)


def in_batch_cosines(y_true: Any, y_pred: Any) -> Any:
    """Cosines of each prompt with each reply, (batch, batch), far below -1 where another row has the same reply."""
    ops = keras.ops
    replies = ops.reshape(y_true, [-1])
    rows = ops.arange(ops.shape(replies)[0])
    repeated = (replies[:, None] == replies[None, :]) & (rows[:, None] != rows[None, :])
    cosines = ops.matmul(y_pred[:, 0], ops.transpose(y_pred[:, 1]))
    return ops.where(repeated, -100.0, cosines)


@keras.saving.register_keras_serializable("tfhub_ft")
class GuessedCrossEntropy(keras.losses.Loss):
    """Mean cross-entropy of guessed tokens, from the sums of each row: float (batch, 3), loss, right ones, guesses."""

    def __init__(self, **kwargs: Any):
        super().__init__(**{"name": "guessed_cross_entropy", **kwargs})

    def call(self, y_true: Any, y_pred: Any) -> Any:
        # Keras takes the mean over the rows: scaled so that it is the mean over the guesses.
        guesses = keras.ops.maximum(keras.ops.sum(y_pred[:, 2]), 1.0)
        return y_pred[:, 0] * keras.ops.cast(keras.ops.shape(y_pred)[0], "float32") / guesses


@keras.saving.register_keras_serializable("tfhub_ft")
class GuessAccuracy(keras.metrics.Metric):
    """The share of right guesses, from the same sums."""

    def __init__(self, name: str = "guess_accuracy", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.sums = self.add_weight(shape=(3,), initializer="zeros", name="sums")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.sums.assign_add(keras.ops.sum(y_pred, 0))

    def result(self) -> Any:
        return self.sums[1] / keras.ops.maximum(self.sums[2], 1.0)
