"""Losses and training metrics that Keras lacks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras

from tfhub_ft.metrics import OUT_OF_SCOPE

if TYPE_CHECKING:
    import tensorflow as tf

# Type checkers infer None for the functions of keras.ops.
ops: Any = keras.ops


# The smallest 1 - p of a focal loss: below it the gradient of a power under 1 overflows.
FOCAL_FLOOR = 1e-7


class _ClassLoss(keras.losses.Loss):
    """A loss with class weights, focal loss and label smoothing."""

    default_name: str

    def __init__(
        self,
        weights: Sequence[float] | None = None,
        *,
        focal_gamma: float = 0.0,
        label_smoothing: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**{"name": self.default_name, **kwargs})
        self.weights = None if weights is None else list(map(float, weights))
        self.focal_gamma, self.label_smoothing = focal_gamma, label_smoothing

    def cross_entropy(self, log_probabilities: "tf.Tensor", truth: "tf.Tensor") -> "tf.Tensor":
        """Return the focal cross-entropy of each class, -(1 - p)^gamma * q * log(p), where q is the smoothed truth."""
        losses = -truth * log_probabilities
        if self.focal_gamma:
            others = ops.maximum(-ops.expm1(log_probabilities), FOCAL_FLOOR)
            losses *= ops.power(others, self.focal_gamma)
        return losses

    def sparse_cross_entropy(self, y_true: "tf.Tensor", y_pred: "tf.Tensor") -> "tf.Tensor":
        """Return the weighted loss of class indices, int (...,), where that of negative ones is of a uniform truth."""
        log_probabilities = ops.log_softmax(ops.cast(y_pred, "float32"))
        classes = log_probabilities.shape[-1]
        known = ops.one_hot(ops.maximum(y_true, 0), classes)
        if self.label_smoothing:
            known = (1 - self.label_smoothing) * known + self.label_smoothing / classes
        truth = ops.where(ops.expand_dims(y_true, -1) < 0, 1.0 / classes, known)
        losses = ops.sum(self.cross_entropy(log_probabilities, truth), -1)
        if self.weights is None:
            return losses
        # The weight of negative indices is the last one, which may be missing.
        weights = ops.convert_to_tensor([*self.weights, 1.0][: classes + 1], "float32")
        return losses * ops.take(weights, ops.where(y_true < 0, classes, y_true))

    def get_config(self) -> dict[str, Any]:
        config = {"weights": self.weights, "focal_gamma": self.focal_gamma, "label_smoothing": self.label_smoothing}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("tfhub_ft")
class WeightedCrossEntropy(_ClassLoss):
    """Cross-entropy of logits with class weights, focal loss and label smoothing.

    The loss of a row with the class y, of K classes with the probabilities p, is

        weights[y] * sum over the classes c of q[c] * (1 - p[c])^focal_gamma * -log(p[c])

    where q[c] is label_smoothing / K, plus 1 - label_smoothing for c = y. The loss of a batch is the mean over its
    rows, as in `keras.losses`, not divided by the sum of the weights. For rows with a negative target, q is uniform
    (outlier exposure).

    Args:
        weights: Weight of each class, and optionally of rows with a negative target; None for equal weights.
        focal_gamma: Focal loss gamma, which down-weights easy examples; 0 for plain cross-entropy.
        label_smoothing: Share of the target that is spread over all classes.
        **kwargs: Arguments of `keras.losses.Loss`.

    Call arguments:
        y_true: Class indices, int (batch,).
        y_pred: Logits, float (batch, classes).

    Example:
        model.compile("adamw", loss=WeightedCrossEntropy([1.0, 5.0], focal_gamma=2.0))

    Reference:
        - Focal loss: [Lin et al., 2017](https://arxiv.org/abs/1708.02002)
        - Label smoothing: [Szegedy et al., 2015](https://arxiv.org/abs/1512.00567), section 7
        - Outlier exposure: [Hendrycks et al., 2019](https://arxiv.org/abs/1812.04606)
    """

    default_name = "cross_entropy"

    def call(self, y_true: "tf.Tensor", y_pred: "tf.Tensor") -> "tf.Tensor":
        return self.sparse_cross_entropy(ops.cast(ops.reshape(y_true, [-1]), "int32"), y_pred)


@keras.saving.register_keras_serializable("tfhub_ft")
class WeightedBinaryCrossEntropy(_ClassLoss):
    """Mean cross-entropy of independent labels with positive weights, focal loss and label smoothing.

    The loss of a label that is present (y = 1) or absent (y = 0), with the probability p, is

        (weights if y else 1) * (q * (1 - p)^focal_gamma * -log(p) + (1 - q) * p^focal_gamma * -log(1 - p))

    where q is (1 - label_smoothing) * y + label_smoothing / 2, as in `keras.losses.BinaryCrossentropy`.

    Args:
        weights: Weight of each label where it is present; None for 1.
        focal_gamma: Focal loss gamma, which down-weights easy examples; 0 for plain cross-entropy.
        label_smoothing: Share of the target that is spread over both values.
        **kwargs: Arguments of `keras.losses.Loss`.

    Call arguments:
        y_true: 1 for the labels of a row and 0 for all others, (batch, labels).
        y_pred: Logits, float (batch, labels).

    Example:
        model.compile("adamw", loss=WeightedBinaryCrossEntropy([1.0, 5.0], focal_gamma=2.0))

    Reference:
        - Focal loss: [Lin et al., 2017](https://arxiv.org/abs/1708.02002)
        - Label smoothing: [Szegedy et al., 2015](https://arxiv.org/abs/1512.00567), section 7
    """

    default_name = "binary_cross_entropy"

    def call(self, y_true: "tf.Tensor", y_pred: "tf.Tensor") -> "tf.Tensor":
        logits, is_present = ops.cast(y_pred, "float32"), ops.cast(y_true, "float32")
        truth = (1 - self.label_smoothing) * is_present + self.label_smoothing / 2
        losses = self.cross_entropy(ops.log_sigmoid(logits), truth)
        losses += self.cross_entropy(ops.log_sigmoid(-logits), 1 - truth)
        if self.weights is not None:
            losses *= ops.where(is_present > 0, ops.convert_to_tensor(self.weights, "float32"), 1.0)
        return ops.mean(losses, -1)


@keras.saving.register_keras_serializable("tfhub_ft")
class InScopeAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """Accuracy of the rows that are in scope, those whose target is not -1.

    The arguments are those of `keras.metrics.SparseCategoricalAccuracy`.

    Example:
        model.compile("adamw", loss=WeightedCrossEntropy(), metrics=[InScopeAccuracy(name="accuracy")])
    """

    def update_state(self, y_true: "tf.Tensor", y_pred: "tf.Tensor", sample_weight: object = None) -> None:
        y_true = ops.reshape(y_true, [-1])
        super().update_state(y_true, y_pred, ops.cast(y_true != OUT_OF_SCOPE, "float32"))


@keras.saving.register_keras_serializable("tfhub_ft")
class TagCrossEntropy(_ClassLoss):
    """Mean cross-entropy of the tags of words; tokens with a negative target are ignored.

    The loss of a word is that of a row in `WeightedCrossEntropy`.

    Args:
        weights: Weight of each tag; None for equal weights.
        focal_gamma: Focal loss gamma, which down-weights easy examples; 0 for plain cross-entropy.
        label_smoothing: Share of the target that is spread over all tags.
        **kwargs: Arguments of `keras.losses.Loss`.

    Call arguments:
        y_true: Tag indices, int (batch, length).
        y_pred: Logits, float (batch, length, tags).

    Example:
        model.compile("adamw", loss=TagCrossEntropy())
    """

    default_name = "tag_cross_entropy"

    def call(self, y_true: "tf.Tensor", y_pred: "tf.Tensor") -> "tf.Tensor":
        y_true = ops.cast(y_true, "int32")
        is_word = ops.cast(y_true >= 0, "float32")
        # Scaled so that Keras' mean over tokens is the mean over words.
        tokens = ops.cast(ops.size(is_word), "float32")
        return self.sparse_cross_entropy(y_true, y_pred) * is_word * tokens / ops.maximum(ops.sum(is_word), 1.0)


@keras.saving.register_keras_serializable("tfhub_ft")
class SpanCrossEntropy(keras.losses.Loss):
    """Mean cross-entropy of the start and the end of a span.

    Args:
        **kwargs: Arguments of `keras.losses.Loss`.

    Call arguments:
        y_true: First and last token of the span, int (batch, 2).
        y_pred: Logits, float (batch, length, 2).

    Example:
        model.compile("adamw", loss=SpanCrossEntropy())
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{"name": "span_cross_entropy", **kwargs})

    def call(self, y_true: "tf.Tensor", y_pred: "tf.Tensor") -> "tf.Tensor":
        log_probabilities = ops.log_softmax(ops.cast(y_pred, "float32"), axis=1)
        positions = ops.cast(y_true, "int32")[:, None, :]
        return -ops.mean(ops.take_along_axis(log_probabilities, positions, 1)[:, 0], -1)


@keras.saving.register_keras_serializable("tfhub_ft")
class InBatchNegatives(keras.losses.Loss):
    """Softmax loss of each prompt over the replies of the batch, and of each reply over the prompts.

    Equal replies of other rows are not negatives.

    Args:
        scale: Factor of the cosines before the softmax.
        **kwargs: Arguments of `keras.losses.Loss`.

    Call arguments:
        y_true: A number for each distinct reply, int (batch,).
        y_pred: Unit vectors of prompts and replies, float (batch, 2, hidden).

    Example:
        model.compile("adamw", loss=InBatchNegatives(scale=20.0), metrics=[InBatchRecall(name="recall")])

    Reference:
        - [Henderson et al., 2017](https://arxiv.org/abs/1705.00652), section 4.4
    """

    def __init__(self, scale: float = 20.0, **kwargs: Any):
        super().__init__(**{"name": "in_batch_negatives", **kwargs})
        self.scale = scale

    def call(self, y_true: "tf.Tensor", y_pred: "tf.Tensor") -> "tf.Tensor":
        logits = self.scale * _in_batch_cosines(y_true, y_pred)
        diagonal = ops.arange(ops.shape(logits)[0])[:, None]
        by_prompt = ops.take_along_axis(ops.log_softmax(logits), diagonal, 1)[:, 0]
        by_reply = ops.take_along_axis(ops.log_softmax(ops.transpose(logits)), diagonal, 1)[:, 0]
        return -(by_prompt + by_reply) / 2

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable("tfhub_ft")
class InBatchRecall(keras.metrics.Mean):
    """Share of prompts whose own reply is the closest of the batch.

    The arguments are those of `keras.metrics.Mean`.

    Example:
        model.compile("adamw", loss=InBatchNegatives(), metrics=[InBatchRecall(name="recall")])
    """

    def update_state(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, y_true: "tf.Tensor", y_pred: "tf.Tensor", sample_weight: object = None
    ) -> None:
        cosines = _in_batch_cosines(y_true, y_pred)
        diagonal = ops.arange(ops.shape(cosines)[0])
        super().update_state(ops.cast(ops.argmax(cosines, -1) == diagonal, "float32"), sample_weight)


def _in_batch_cosines(y_true: "tf.Tensor", y_pred: "tf.Tensor") -> "tf.Tensor":
    """Return the cosine of each prompt and reply, (batch, batch), -100 for equal replies of other rows."""
    replies = ops.reshape(y_true, [-1])
    rows = ops.arange(ops.shape(replies)[0])
    repeated = (replies[:, None] == replies[None, :]) & (rows[:, None] != rows[None, :])
    cosines = ops.matmul(y_pred[:, 0], ops.transpose(y_pred[:, 1]))
    return ops.where(repeated, -100.0, cosines)


@keras.saving.register_keras_serializable("tfhub_ft")
class GuessedCrossEntropy(keras.losses.Loss):
    """Mean cross-entropy of guessed tokens, for models that return sums for each row.

    Args:
        **kwargs: Arguments of `keras.losses.Loss`.

    Call arguments:
        y_true: Ignored.
        y_pred: Sums of cross-entropy, of correct guesses and of guesses, float (batch, 3).

    Example:
        model.compile("adamw", loss=GuessedCrossEntropy(), metrics=[GuessAccuracy()])
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{"name": "guessed_cross_entropy", **kwargs})

    def call(self, y_true: "tf.Tensor", y_pred: "tf.Tensor") -> "tf.Tensor":
        # Scaled so that Keras' mean over rows is the mean over guesses.
        guesses = ops.maximum(ops.sum(y_pred[:, 2]), 1.0)
        return y_pred[:, 0] * ops.cast(ops.shape(y_pred)[0], "float32") / guesses


@keras.saving.register_keras_serializable("tfhub_ft")
class GuessAccuracy(keras.metrics.Metric):
    """Accuracy of guessed tokens, from the sums that `GuessedCrossEntropy` takes.

    Args:
        name: Name of the metric.
        **kwargs: Arguments of `keras.metrics.Metric`.

    Example:
        model.compile("adamw", loss=GuessedCrossEntropy(), metrics=[GuessAccuracy(name="masked_accuracy")])
    """

    def __init__(self, name: str = "guess_accuracy", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.sums = self.add_weight(shape=(3,), initializer="zeros", name="sums")

    def update_state(self, y_true: "tf.Tensor", y_pred: "tf.Tensor", sample_weight: object = None) -> None:
        self.sums.assign_add(ops.sum(y_pred, 0))

    def result(self) -> "tf.Tensor":
        return self.sums[1] / ops.maximum(self.sums[2], 1.0)
