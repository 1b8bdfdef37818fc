"""Truncate rows of tokens that have more than an encoder reads."""

from contextvars import ContextVar
from typing import Any

_ROWS_ARE_CUT: ContextVar[bool] = ContextVar("rows_are_cut", default=False)


def truncate(tokens: dict[str, Any], most: int) -> dict[str, Any]:
    """Cut rows of tokens. A row that is cut keeps its last token, [SEP], as rows cut by `HubPreprocessor` do.

    Args:
        tokens: {"input_word_ids", "input_mask", "input_type_ids"}, int32 (batch, length).
        most: the most tokens of a row.

    Returns:
        The tokens, int32 (batch, at most `most`).

    Example:
        logits = network(truncate(tokens, 128))
    """
    import tensorflow as tf

    mask = tokens["input_mask"]
    kept_mask = mask[:, :most]
    counts = tf.reduce_sum(tf.cast(mask, tf.int32), 1, keepdims=True)
    is_last = tf.range(tf.shape(mask)[1])[None] == counts - 1
    # Of the shape of a slice, not of a minimum: TFLite then knows it before it computes.
    is_replaced = (tf.range(tf.shape(kept_mask)[1])[None] == most - 1) & (counts > most)

    def cut(values: Any) -> Any:
        # Summed, not gathered: quantizers of TFLite files take gathers for embeddings.
        last = tf.reduce_sum(tf.where(is_last, values, tf.zeros_like(values)), 1, keepdims=True)
        return tf.where(is_replaced, last, values[:, :most])

    return {name: kept_mask if name == "input_mask" else cut(values) for name, values in tokens.items()}


def call_truncated(network: Any, tokens: dict[str, Any], most: int) -> Any:
    """Call a model from tokens on rows that are cut first, which its encoder then does not cut again.

    Args:
        network: the model.
        tokens: as for `truncate`.
        most: the most tokens of a row, at most as many as the encoder reads.
    """
    before = _ROWS_ARE_CUT.set(True)
    try:
        return network(truncate(tokens, most), training=False)
    finally:
        _ROWS_ARE_CUT.reset(before)


def rows_are_cut() -> bool:
    """Whether the rows of the current call are known to be short enough."""
    return _ROWS_ARE_CUT.get()


def pad_hidden_states(outputs: dict[str, Any], length: Any) -> dict[str, Any]:
    """Pad an encoder's hidden states of tokens, float (batch, tokens, hidden), with zeros to a number of tokens."""
    import tensorflow as tf

    def padded(hidden: Any) -> Any:
        if len(hidden.shape) != 3:
            return hidden
        return tf.pad(hidden, [[0, 0], [0, length - tf.shape(hidden)[1]], [0, 0]])

    return {name: tf.nest.map_structure(padded, output) for name, output in outputs.items()}
