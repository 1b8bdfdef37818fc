"""Truncate rows of tokens to the maximum length of an encoder."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import tensorflow as tf

_ROWS_ARE_TRUNCATED: ContextVar[bool] = ContextVar("rows_are_truncated", default=False)


def truncate(tokens: "dict[str, tf.Tensor]", max_length: int) -> "dict[str, tf.Tensor]":
    """Truncate int32 tokens (..., length), keeping the last token of each row, [SEP], as `HubPreprocessor` does."""
    import tensorflow as tf

    mask, first_tokens = tokens["input_mask"], cast("Any", (..., slice(max_length)))
    truncated_mask = mask[first_tokens]
    counts = tf.reduce_sum(tf.cast(mask, tf.int32), -1, keepdims=True)
    is_last = tf.range(tf.shape(mask)[-1]) == counts - 1
    # The shape of a slice, not a minimum: TFLite knows it before it computes.
    is_replaced = (tf.range(tf.shape(truncated_mask)[-1]) == max_length - 1) & (counts > max_length)

    def truncated(values: "tf.Tensor") -> "tf.Tensor":
        # A sum, not a gather: TFLite's quantizer treats gathers as embeddings.
        last = tf.reduce_sum(tf.where(is_last, values, tf.zeros_like(values)), -1, keepdims=True)
        return tf.where(is_replaced, last, values[first_tokens])

    return {name: truncated_mask if name == "input_mask" else truncated(values) for name, values in tokens.items()}


def call_truncated(network: Callable[..., Any], tokens: "dict[str, tf.Tensor]", max_length: int) -> Any:
    """Call a token model on truncated rows, which its encoder then does not truncate again."""
    before = _ROWS_ARE_TRUNCATED.set(True)
    try:
        return network(truncate(tokens, max_length), training=False)
    finally:
        _ROWS_ARE_TRUNCATED.reset(before)


def rows_are_truncated() -> bool:
    """Return whether the rows of the current call are already truncated."""
    return _ROWS_ARE_TRUNCATED.get()


def pad_hidden_states(outputs: dict[str, Any], length: "tf.Tensor") -> dict[str, Any]:
    """Pad hidden states (batch, tokens, hidden) with zeros to `length` tokens."""
    import tensorflow as tf

    def padded(hidden: "tf.Tensor") -> "tf.Tensor":
        if len(hidden.shape) != 3:
            return hidden
        return tf.pad(hidden, tf.convert_to_tensor([[0, 0], [0, length - tf.shape(hidden)[1]], [0, 0]]))

    return {name: tf.nest.map_structure(padded, output) for name, output in outputs.items()}
