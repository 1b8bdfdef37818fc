"""Task heads: small layers on the outputs of an encoder."""

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tfhub_ft.models.window_pooling import logits_before_pooling
from tfhub_ft.utils.keras_compat import input_operation

if TYPE_CHECKING:
    import tensorflow as tf

    from tfhub_ft.data.batches import TokenRows

# Enough rows for a regression on one or two inputs.
FITTED_ROWS = 2000


@keras.saving.register_keras_serializable("tfhub_ft")
class ClassificationHead(keras.layers.Layer):
    """Dropout and a linear layer, from a pooled output or a sequence output to logits.

    Args:
        num_classes: int. Number of logits: of classes, of labels, or 1 for a number.
        dropout: float. Dropout rate of the inputs.
        fitted_inputs: int. Number of trailing inputs that are computed by formula and are much larger than the learned
            ones. They are exempt from dropout. Their weights start at zero, because fine-tuning corrects random ones
            too slowly; `tfhub_ft.train` fits them to the training rows first.

    Call arguments:
        inputs: float tensor of shape (batch, hidden) or (batch, length, hidden).

    Returns:
        float32 logits of shape (batch, num_classes) or (batch, length, num_classes).

    Example:
        logits = ClassificationHead(2)(encoded["pooled_output"])

    Reference:
        Devlin et al. 2019, section 4.1, https://arxiv.org/abs/1810.04805
    """

    def __init__(self, num_classes: int, *, dropout: float = 0.1, fitted_inputs: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_classes, self.dropout, self.fitted_inputs = num_classes, dropout, fitted_inputs
        self.drop = keras.layers.Dropout(dropout)
        self._initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        self.dense = keras.layers.Dense(
            num_classes,
            kernel_initializer=self._initial_kernel,  # pyright: ignore[reportArgumentType]
            dtype="float32",
        )

    def _initial_kernel(self, shape: tuple[int, ...], dtype: str | None = None) -> Any:
        is_learned = np.arange(shape[0]) < shape[0] - self.fitted_inputs
        return self._initializer(shape, dtype) * is_learned[:, None].astype(dtype)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.dense.build(input_shape)

    def call(self, inputs: "tf.Tensor", training: bool = False) -> Any:
        import tensorflow as tf

        if not self.fitted_inputs:
            return self.dense(self.drop(inputs, training=training))
        size = inputs.shape[-1]
        assert size is not None
        learned, fitted = tf.split(inputs, [size - self.fitted_inputs, self.fitted_inputs], -1)
        return self.dense(keras.ops.concatenate([self.drop(learned, training=training), fitted], -1))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.num_classes)

    def get_config(self) -> dict[str, Any]:
        names = ("num_classes", "dropout", "fitted_inputs")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("tfhub_ft")
class SplitSegments(keras.layers.Layer):
    """Split rows of two segments into rows of one: all first segments, then all second segments.

    Call arguments:
        inputs: dict of int32 tensors of shape (batch, length): "input_word_ids", "input_mask" and "input_type_ids", as
            a preprocessor packs two segments.

    Returns:
        A dict with the same keys of int32 tensors of shape (2 * batch, longest segment), whose rows start with [CLS]
        and end with [SEP].

    Example:
        halves = SplitSegments()(tokens)
    """

    def call(self, inputs: "dict[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
        import tensorflow as tf

        # TFLite supports dense operations only.
        ids, mask, types = (inputs[name] for name in ("input_word_ids", "input_mask", "input_type_ids"))
        first = tf.reduce_sum(mask * tf.cast(types == 0, tf.int32), -1)
        second = 1 + tf.reduce_sum(mask * tf.cast(types > 0, tf.int32), -1)
        lengths = tf.concat([first, second], 0)
        positions = tf.range(tf.reduce_max(lengths))
        second_positions = tf.clip_by_value(first[:, None] + positions - 1, 0, tf.shape(ids)[1] - 1)
        second_ids = tf.where(positions > 0, tf.gather(ids, second_positions, batch_dims=1), ids[:, :1])
        new_mask = tf.cast(positions < lengths[:, None], tf.int32)
        new_ids = new_mask * tf.concat([ids[:, : tf.size(positions)], second_ids], 0)
        return {"input_word_ids": new_ids, "input_mask": new_mask, "input_type_ids": tf.zeros_like(new_ids)}

    def compute_output_spec(self, inputs: dict[str, keras.KerasTensor]) -> dict[str, keras.KerasTensor]:
        return {name: keras.KerasTensor((None, None), dtype="int32", name=name) for name in inputs}


@keras.saving.register_keras_serializable("tfhub_ft")
class MeanPooling(keras.layers.Layer):
    """Mean of the token vectors of each row.

    Args:
        normalize: bool. Whether to scale the mean to length one, for embeddings that are compared by cosine.

    Call arguments:
        inputs: float tensor of shape (batch, length, hidden).
        mask: int tensor of shape (batch, length), 1 for tokens and 0 for padding.

    Returns:
        float32 tensor of shape (batch, hidden).

    Example:
        embedding = MeanPooling()(encoded["sequence_output"], tokens["input_mask"])

    Reference:
        Reimers and Gurevych 2019, section 3, https://arxiv.org/abs/1908.10084
    """

    def __init__(self, *, normalize: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        self.normalize = normalize

    def call(self, inputs: "tf.Tensor", mask: "tf.Tensor") -> Any:
        import tensorflow as tf

        # TFLite lacks slices that add an axis to tensors of unknown shape.
        weights = tf.expand_dims(tf.cast(mask, tf.float32), -1)
        total = tf.reduce_sum(tf.cast(inputs, tf.float32) * weights, 1)
        return keras.ops.normalize(total, axis=-1) if self.normalize else total / tf.reduce_sum(weights, 1)

    def compute_output_spec(self, inputs: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor((inputs.shape[0], inputs.shape[-1]), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "normalize": self.normalize}


@keras.saving.register_keras_serializable("tfhub_ft")
class CosineSimilarity(keras.layers.Layer):
    """Cosine between the first and the second half of a batch of unit vectors.

    Call arguments:
        inputs: float tensor of shape (2 * batch, hidden), in the order of `SplitSegments`.

    Returns:
        float32 tensor of shape (batch, 1), from -1 to 1.

    Example:
        similarity = CosineSimilarity()(embeddings)
    """

    def call(self, inputs: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        first, second = tf.split(inputs, 2)
        return tf.reduce_sum(first * second, -1, keepdims=True)

    def compute_output_spec(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor((None, 1), dtype="float32")


@keras.saving.register_keras_serializable("tfhub_ft")
class CosineFeature(CosineSimilarity):
    """Cosine between the first and the second half of a batch, stretched into a feature for a linear layer.

    Optimizers change each weight by about the learning rate per step: among hundreds of other features, one between 0
    and 1 would have little influence before training ends.

    Call arguments:
        inputs: float tensor of shape (2 * batch, hidden), unit vectors in the order of `SplitSegments`.

    Returns:
        float32 tensor of shape (batch, 1), 0 at a cosine of 0.5 and 50 at 1.

    Example:
        feature = CosineFeature()(embeddings)
    """

    def call(self, inputs: "tf.Tensor") -> "tf.Tensor":
        return 100.0 * (super().call(inputs) - 0.5)


@keras.saving.register_keras_serializable("tfhub_ft")
class StackHalves(keras.layers.Layer):
    """Stack the first and the second half of a batch along axis 1.

    Call arguments:
        inputs: float tensor of shape (2 * batch, hidden), in the order of `SplitSegments`.

    Returns:
        float tensor of shape (batch, 2, hidden).

    Example:
        pairs = StackHalves()(embeddings)
    """

    def call(self, inputs: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        return tf.stack(tf.split(inputs, 2), 1)

    def compute_output_spec(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor((None, 2, inputs.shape[-1]), dtype=inputs.dtype)


@keras.saving.register_keras_serializable("tfhub_ft")
class ReplyBank(keras.layers.Layer):
    """Cosines of embeddings, unit vectors of shape (batch, hidden), with those of a bank of replies."""

    def __init__(self, num_replies: int, hidden: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_replies, self.hidden = num_replies, hidden
        self.bank = self.add_weight(shape=(num_replies, hidden), trainable=False, name="bank")
        self.built = True

    def call(self, inputs: "tf.Tensor") -> Any:
        return keras.ops.matmul(inputs, keras.ops.transpose(self.bank))

    def compute_output_spec(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor((inputs.shape[0], self.num_replies), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_replies": self.num_replies, "hidden": self.hidden}


def _output_operation(network: "keras.Model") -> Any:
    """Return the layer that computes the logits of rows or windows."""
    return input_operation(logits_before_pooling(network))


def takes_temperature(network: "keras.Model") -> bool:
    """Return whether a network ends in a `ClassificationHead`, which `apply_temperature` can rescale."""
    return isinstance(_output_operation(network), ClassificationHead)


def apply_temperature(network: "keras.Model", temperature: float) -> None:
    """Divide a network's logits by a temperature in the weights of its head, which calibrates all its exports, too.

    The pooled logits of windows are then divided, too.
    """
    dense = _output_operation(network).dense
    dense.set_weights([weight / temperature for weight in dense.get_weights()])


def initialize_head(
    network: keras.Model, tokens: "TokenRows", targets: np.ndarray, activation: str | None, seed: int
) -> None:
    """Initialize the weights of a classification head that can be computed from the training rows.

    With "sigmoid", biases start at the logit of each label's frequency (Lin et al. 2017,
    https://arxiv.org/abs/1708.02002), which training would spend its first thousand steps on. With "softmax", the
    weights of `fitted_inputs` are fitted by logistic regression on some rows.
    """
    head = _output_operation(network)
    if activation == "sigmoid":
        frequencies = (targets[:, :-1].sum(0) + 1) / (len(targets) + 2)
        for layer in network.layers:
            if isinstance(layer, ClassificationHead):
                layer.dense.set_weights([layer.dense.get_weights()[0], np.log(frequencies / (1 - frequencies))])
    elif activation == "softmax" and isinstance(head, ClassificationHead) and head.fitted_inputs:
        rows = np.random.default_rng(seed).permutation(np.flatnonzero(targets >= 0))[:FITTED_ROWS]
        _fit_inputs(network, head, tokens.subset(rows), targets[rows])


def _fit_inputs(network: keras.Model, head: ClassificationHead, tokens: "TokenRows", targets: np.ndarray) -> None:
    """Set the weights of a head's fitted inputs, and its biases, to those of a logistic regression."""
    from sklearn.linear_model import LogisticRegression

    from tfhub_ft.models.forward import make_logits_fn

    if len(np.unique(targets)) < 2:
        return
    inputs = make_logits_fn(keras.Model(network.input, head.input))(tokens)[:, -head.fitted_inputs :]
    scale = inputs.std(0) + 1e-6
    regression = LogisticRegression().fit(inputs / scale, targets)
    coefficients, intercepts = regression.coef_ / scale, regression.intercept_
    if len(regression.classes_) == 2:
        coefficients, intercepts = (np.concatenate([-each, each]) / 2 for each in (coefficients, intercepts))
    kernel, bias = head.dense.get_weights()
    kernel[-head.fitted_inputs :, regression.classes_] = coefficients.T
    bias[regression.classes_] = intercepts
    head.dense.set_weights([kernel, bias])
