"""Task heads: small layers on an encoder's output."""

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tfhub_ft.utils.keras_compat import input_operation

if TYPE_CHECKING:
    from tfhub_ft.data.batches import TokenRows

# Enough for a regression on one or two inputs.
FITTED_ROWS = 2000


@keras.saving.register_keras_serializable("tfhub_ft")
class ClassificationHead(keras.layers.Layer):
    """Dropout and a linear layer: logits from a pooled output, or from each token of a sequence output.

    Args:
        num_classes: number of logits: classes, labels, or 1 for a number.
        dropout: share of the inputs that are set to zero in training.
        fitted_inputs: number of inputs, the last ones, that are computed by formula and are much larger than the
            learned ones. Their weights start at zero, because fine-tuning is too slow to turn a random weight around;
            tfhub_ft's training fits them on the training rows first. Dropout leaves them alone.

    Call arguments:
        inputs: float of shape (batch, hidden) or (batch, length, hidden).

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
        self.dense = keras.layers.Dense(num_classes, kernel_initializer=self._initial_kernel, dtype="float32")

    def _initial_kernel(self, shape: tuple, dtype: Any = None) -> Any:
        is_learned = keras.ops.arange(shape[0]) < shape[0] - self.fitted_inputs
        return self._initializer(shape, dtype) * keras.ops.cast(is_learned, dtype)[:, None]

    def build(self, input_shape: tuple) -> None:
        self.dense.build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not self.fitted_inputs:
            return self.dense(self.drop(inputs, training=training))
        learned, fitted = keras.ops.split(inputs, [inputs.shape[-1] - self.fitted_inputs], axis=-1)
        return self.dense(keras.ops.concatenate([self.drop(learned, training=training), fitted], axis=-1))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], self.num_classes)

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("num_classes", "dropout", "fitted_inputs")}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("tfhub_ft")
class SplitSegments(keras.layers.Layer):
    """Turns rows of two segments into twice as many rows of one: all first segments, then all second ones.

    Call arguments:
        inputs: {"input_word_ids", "input_mask", "input_type_ids"}, each int32 (batch, length), as a preprocessor packs
            two segments.

    Returns:
        The same names, each int32 (2 * batch, longest segment); each row starts with [CLS] and ends with [SEP].

    Example:
        halves = SplitSegments()(tokens)
    """

    def call(self, inputs: dict[str, Any]) -> dict[str, Any]:
        import tensorflow as tf

        # By dense operations alone: TFLite has no ragged ones.
        ids, mask, types = (inputs[name] for name in ("input_word_ids", "input_mask", "input_type_ids"))
        first = tf.reduce_sum(mask * tf.cast(types == 0, tf.int32), -1)
        second = 1 + tf.reduce_sum(mask * tf.cast(types > 0, tf.int32), -1)
        lengths = tf.concat([first, second], 0)
        places = tf.range(tf.reduce_max(lengths))
        behind = tf.clip_by_value(first[:, None] + places - 1, 0, tf.shape(ids)[1] - 1)
        seconds = tf.where(places > 0, tf.gather(ids, behind, batch_dims=1), ids[:, :1])
        here = tf.cast(places < lengths[:, None], tf.int32)
        packed = here * tf.concat([ids[:, : tf.size(places)], seconds], 0)
        return {"input_word_ids": packed, "input_mask": here, "input_type_ids": tf.zeros_like(packed)}

    def compute_output_spec(self, inputs: dict[str, Any]) -> dict[str, keras.KerasTensor]:
        return {name: keras.KerasTensor((None, None), dtype="int32", name=name) for name in inputs}


@keras.saving.register_keras_serializable("tfhub_ft")
class MeanPooling(keras.layers.Layer):
    """The mean of a row's token vectors.

    Args:
        normalize: whether it is brought to length one, as embeddings are that are compared by their cosine.

    Call arguments:
        inputs: float (batch, length, hidden).
        mask: int (batch, length), 1 where there is a token.

    Returns:
        float32 (batch, hidden).

    Example:
        embedding = MeanPooling()(encoded["sequence_output"], tokens["input_mask"])

    Reference:
        Reimers and Gurevych 2019, section 3, https://arxiv.org/abs/1908.10084
    """

    def __init__(self, *, normalize: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        self.normalize = normalize

    def call(self, inputs: Any, mask: Any) -> Any:
        weights = keras.ops.expand_dims(keras.ops.cast(mask, "float32"), -1)
        total = keras.ops.sum(keras.ops.cast(inputs, "float32") * weights, 1)
        return keras.ops.normalize(total, axis=-1) if self.normalize else total / keras.ops.sum(weights, 1)

    def compute_output_spec(self, inputs: Any, mask: Any) -> keras.KerasTensor:
        return keras.KerasTensor((inputs.shape[0], inputs.shape[-1]), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "normalize": self.normalize}


@keras.saving.register_keras_serializable("tfhub_ft")
class CosineFeature(keras.layers.Layer):
    """The cosine between the first and the second half of a batch, drawn out so that a linear layer can learn from it.

    An optimizer moves each weight by about the learning rate in a step: beside hundreds of other features, one that
    goes from 0 to 1 would hardly count before training ends.

    Call arguments:
        inputs: float (2 * batch, hidden), unit vectors as `SplitSegments` orders the rows.

    Returns:
        float32 (batch, 1), 0 at a cosine of 0.5 and 50 at 1.

    Example:
        feature = CosineFeature()(embeddings)
    """

    def call(self, inputs: Any) -> Any:
        first, second = keras.ops.split(inputs, 2)
        return 100.0 * (keras.ops.sum(first * second, -1, keepdims=True) - 0.5)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor((None, 1), dtype="float32")


@keras.saving.register_keras_serializable("tfhub_ft")
class CosineSimilarity(keras.layers.Layer):
    """The cosine between the first and the second half of a batch of unit vectors.

    Call arguments:
        inputs: float (2 * batch, hidden), as `SplitSegments` orders the rows.

    Returns:
        float32 (batch, 1), from -1 to 1.

    Example:
        similarity = CosineSimilarity()(embeddings)
    """

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        first, second = tf.split(inputs, 2)
        return tf.reduce_sum(first * second, -1, keepdims=True)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor((None, 1), dtype="float32")


@keras.saving.register_keras_serializable("tfhub_ft")
class StackHalves(keras.layers.Layer):
    """Puts the two halves of a batch side by side.

    Call arguments:
        inputs: float (2 * batch, hidden), as `SplitSegments` orders the rows.

    Returns:
        float (batch, 2, hidden).

    Example:
        pairs = StackHalves()(embeddings)
    """

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        return tf.stack(tf.split(inputs, 2), 1)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor((None, 2, inputs.shape[-1]), dtype=inputs.dtype)


@keras.saving.register_keras_serializable("tfhub_ft")
class ReplyBank(keras.layers.Layer):
    """The cosine of embeddings with each of a bank of replies, whose unit vectors are the layer's weight.

    Args:
        num_replies: how many replies the bank has.
        hidden: size of an embedding.

    Call arguments:
        inputs: float unit vectors (batch, hidden).

    Returns:
        float32 (batch, num_replies).

    Example:
        bank = ReplyBank(*vectors.shape)
        bank.set_weights([vectors])
    """

    def __init__(self, num_replies: int, hidden: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_replies, self.hidden = num_replies, hidden
        self.bank = self.add_weight(shape=(num_replies, hidden), trainable=False, name="bank")
        self.built = True

    def call(self, inputs: Any) -> Any:
        return keras.ops.matmul(inputs, keras.ops.transpose(self.bank))

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor((inputs.shape[0], self.num_replies), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_replies": self.num_replies, "hidden": self.hidden}


def takes_temperature(network: "keras.Model") -> bool:
    """Return whether a network's logits come from a `ClassificationHead`, which `apply_temperature` can rescale."""
    return isinstance(input_operation(network.outputs[0]), ClassificationHead)


def apply_temperature(network: "keras.Model", temperature: float) -> None:
    """Divide a network's logits by a temperature, in the weights of its head.

    Everything made of the network afterwards, exports included, has calibrated probabilities.
    """
    head = input_operation(network.outputs[0])
    for weight in (head.dense.kernel, head.dense.bias):
        weight.assign(weight / temperature)


def initialize_head(
    network: keras.Model, tokens: "TokenRows", targets: "np.ndarray", activation: str | None, seed: int
) -> None:
    """Set the weights of an untrained classification head that follow from the training rows.

    With "sigmoid", each label starts at its share of the training rows (Lin et al. 2017,
    https://arxiv.org/abs/1708.02002); otherwise the first thousand steps teach the encoder that rare labels are rare.
    With "softmax", the weights of inputs that are computed by formula, such as a cosine, are fitted by logistic
    regression.

    Args:
        network: from tokens to logits.
        tokens: of the training rows.
        targets: the training targets of the task.
        activation: the task's `output_activation`.
        seed: selects the rows of the regression.
    """
    head = input_operation(network.outputs[0])
    if activation == "sigmoid":
        share = (targets[:, :-1].sum(0) + 1) / (len(targets) + 2)
        for layer in network.layers:
            if isinstance(layer, ClassificationHead):
                layer.dense.bias.assign(np.log(share / (1 - share)))
    elif activation == "softmax" and isinstance(head, ClassificationHead) and head.fitted_inputs:
        rows = np.random.default_rng(seed).permutation(np.flatnonzero(targets >= 0))[:FITTED_ROWS]
        _fit_inputs(network, head, tokens.subset(rows), targets[rows])


def _fit_inputs(network: "keras.Model", head: Any, tokens: "TokenRows", targets: "np.ndarray") -> None:
    """Set the weights of a head's fitted inputs, and its biases, to those of a logistic regression on these rows."""
    from sklearn.linear_model import LogisticRegression

    from tfhub_ft.models.forward import make_logits_fn

    if len(np.unique(targets)) < 2:
        return
    inputs = make_logits_fn(keras.Model(network.input, head.input))(tokens)[:, -head.fitted_inputs :]
    scale = inputs.std(0) + 1e-6
    fitted = LogisticRegression().fit(inputs / scale, targets)
    coefficients, intercepts = fitted.coef_ / scale, fitted.intercept_
    if len(fitted.classes_) == 2:
        coefficients, intercepts = (np.concatenate([-each, each]) / 2 for each in (coefficients, intercepts))
    kernel, bias = head.dense.get_weights()
    kernel[-head.fitted_inputs :, fitted.classes_] = coefficients.T
    bias[fitted.classes_] = intercepts
    head.dense.set_weights([kernel, bias])
