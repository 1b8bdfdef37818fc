"""Keras layers that encode the windows of rows, and pool their logits."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

from tfhub_ft.utils.keras_compat import input_operation, input_tensors

if TYPE_CHECKING:
    import tensorflow as tf

POOLINGS = ("mean", "max")


@keras.saving.register_keras_serializable("tfhub_ft")
class SelectWindows(keras.layers.Layer):
    """Select the windows of rows that are not padding.

    Call arguments:
        inputs: dict of int32 tensors of shape (batch, windows, length), as `RowWindowPreprocessor` returns it.

    Returns:
        A dict with the same keys of int32 tensors of shape (selected windows, length), and "is_window", a bool tensor
        of shape (batch, windows), true for selected windows.

    Example:
        windows = SelectWindows()(tokens)
    """

    def call(self, inputs: "dict[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
        import tensorflow as tf

        # TFLite lacks ragged operations, and its quantizer treats gathers as embeddings.
        is_window = tf.reduce_max(inputs["input_mask"], -1) > 0
        indices = tf.where(is_window)
        return {**{name: tf.gather_nd(ids, indices) for name, ids in inputs.items()}, "is_window": is_window}

    def compute_output_spec(self, inputs: dict[str, keras.KerasTensor]) -> dict[str, keras.KerasTensor]:
        length, batch = next((ids.shape[2], ids.shape[:2]) for ids in inputs.values())
        tokens = {name: keras.KerasTensor((None, length), dtype="int32", name=name) for name in inputs}
        return {**tokens, "is_window": keras.KerasTensor(batch, dtype="bool", name="is_window")}


@keras.saving.register_keras_serializable("tfhub_ft")
class PoolWindows(keras.layers.Layer):
    """Pool the logits of each row's windows.

    Args:
        pooling: string. "mean" for the mean of the windows' logits, "max" for the highest logit of each class.

    Call arguments:
        logits: float tensor of shape (selected windows, classes).
        is_window: bool tensor of shape (batch, windows), as `SelectWindows` returns it.

    Returns:
        float tensor of shape (batch, classes).

    Example:
        logits = PoolWindows("max")(window_logits, windows["is_window"])
    """

    def __init__(self, pooling: str = "mean", **kwargs: Any):
        super().__init__(**kwargs)
        if pooling not in POOLINGS:
            raise ValueError(f"pooling: expected 'mean' or 'max', got {pooling!r}")
        self.pooling = pooling

    def call(self, logits: "tf.Tensor", is_window: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        indices = tf.cast(tf.where(is_window), tf.int32)
        shape = tf.concat([tf.shape(is_window), tf.shape(logits)[1:]], 0)
        by_row, is_window = tf.scatter_nd(indices, logits, shape), tf.expand_dims(is_window, -1)
        if self.pooling == "max":
            return tf.reduce_max(tf.where(is_window, by_row, logits.dtype.min), 1)
        # Other windows have logits of zero.
        return tf.reduce_sum(by_row, 1) / tf.reduce_sum(tf.cast(is_window, logits.dtype), 1)

    def compute_output_spec(self, logits: keras.KerasTensor, is_window: keras.KerasTensor) -> keras.KerasTensor:
        if len(logits.shape) != 2:
            raise ValueError(f"{self.name}: expected logits of shape (windows, classes), got {logits.shape}")
        return keras.KerasTensor((is_window.shape[0], logits.shape[1]), dtype=logits.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pooling": self.pooling}


def windows_of(tokens: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tokens that an encoder reads, (rows or windows, length), of a batch of rows or of their windows."""
    if len(tokens["input_mask"].shape) == 2:
        return dict(tokens)
    selected = SelectWindows()(dict(tokens))
    return {name: selected[name] for name in tokens}


def logits_before_pooling(network: "keras.Model") -> Any:
    """Return the symbolic logits of a network, of windows if it pools them."""
    (logits,) = network.outputs
    return input_tensors(logits)[0] if isinstance(input_operation(logits), PoolWindows) else logits
