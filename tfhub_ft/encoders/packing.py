"""Pack segments of tokens into the rows that a BERT reads."""

from typing import Any

TOKEN_INPUTS = ("input_word_ids", "input_mask", "input_type_ids")


def pack_segments(segments: list[Any], length: Any, *, first: int, last: int, padding: int = 0) -> dict[str, Any]:
    """Return one or two segments of tokens, [CLS] before them and [SEP] after each, truncated in turn where too long.

    Args:
        segments: int32, ragged (batch, tokens) each.
        length: int32, the length of a row.
        first: the id of [CLS].
        last: the id of [SEP].
        padding: the id of [PAD].

    Returns:
        {"input_word_ids", "input_mask", "input_type_ids"}, int32 (batch, length).

    Reference:
        The truncation is that of https://www.tensorflow.org/text/api_docs/python/text/RoundRobinTrimmer
    """
    import tensorflow as tf

    length = tf.cast(length, tf.int64)
    room = length - len(segments) - 1
    counts = [segment.row_lengths() for segment in segments]
    if len(segments) == 1:
        kept = [tf.minimum(counts[0], room)]
    else:
        lead = tf.minimum(counts[0], tf.maximum(room - counts[1], (room + 1) // 2))
        kept = [lead, tf.minimum(counts[1], room - lead)]
    # Dense operations: ragged ones are slower, and servers with an older TF Text lack those of TF Text.
    place = tf.range(length)[None, :]
    word_ids = tf.where(place == 0, first, padding) * tf.ones_like(counts[0], tf.int32)[:, None]
    type_ids = tf.zeros_like(word_ids)
    start = tf.ones_like(counts[0])[:, None]
    for number, (segment, count) in enumerate(zip(segments, kept, strict=True)):
        end = start + count[:, None]
        inside = (place >= start) & (place < end)
        values = tf.concat([segment.flat_values, [padding]], 0)
        unused = tf.size(segment.flat_values, tf.int64)
        tokens = tf.gather(values, tf.where(inside, segment.row_starts()[:, None] + place - start, unused))
        word_ids = tf.where(inside, tokens, tf.where(place == end, last, word_ids))
        type_ids = tf.where((place >= start) & (place <= end), number, type_ids)
        start = end + 1
    return {"input_word_ids": word_ids, "input_mask": tf.cast(place < start, tf.int32), "input_type_ids": type_ids}
