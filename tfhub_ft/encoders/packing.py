"""Pack segments of tokens into the inputs of a BERT."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

TOKEN_INPUTS = ("input_word_ids", "input_mask", "input_type_ids")
LONG_TEXTS = ("truncate", "head-tail", "windows")
MAX_WINDOWS = 32


def max_text_overlap(seq_length: int) -> int:
    """Return the maximum number of tokens that neighboring windows of a text share: half of a window."""
    return (seq_length - 2) // 2


def split_head_and_tail(room: int) -> tuple[int, int]:
    """Return how many first and last tokens are kept of a text with more than `room` tokens.

    The ratio is that of 128 first to 382 last tokens.

    Reference:
        Sun et al. 2019, section 5.3, https://arxiv.org/abs/1905.05583
    """
    head = room * 128 // 510
    return head, room - head


def pack_segments(
    segments: "list[tf.RaggedTensor]", length: "tf.Tensor", *, first: int, last: int, padding: int = 0
) -> "dict[str, tf.Tensor]":
    """Return int32 inputs (batch, length) of one or two segments, ragged int32 (batch, tokens).

    `first`, `last` and `padding` are the ids of [CLS], [SEP] and [PAD]. Segments are truncated in turn, as by
    https://www.tensorflow.org/text/api_docs/python/text/RoundRobinTrimmer.
    """
    import tensorflow as tf

    length = tf.cast(length, tf.int64)
    room = length - len(segments) - 1
    counts = [segment.row_lengths() for segment in segments]
    if len(segments) == 1:
        lengths = [tf.minimum(counts[0], room)]
    else:
        first_length = tf.minimum(counts[0], tf.maximum(room - counts[1], (room + 1) // 2))
        lengths = [first_length, tf.minimum(counts[1], room - first_length)]
    # Dense operations: ragged ones are slower, and those of TF Text are missing on servers with an older version.
    position = tf.range(length)[None, :]
    word_ids = tf.where(position == 0, first, padding) * tf.ones_like(counts[0], tf.int32)[:, None]
    type_ids = tf.zeros_like(word_ids)
    start = tf.ones_like(counts[0])[:, None]
    for number, (segment, count) in enumerate(zip(segments, lengths, strict=True)):
        end = start + count[:, None]
        inside = (position >= start) & (position < end)
        values = tf.concat([segment.flat_values, [padding]], 0)
        unused = tf.size(segment.flat_values, tf.int64)
        tokens = tf.gather(values, tf.where(inside, segment.row_starts()[:, None] + position - start, unused))
        word_ids = tf.where(inside, tokens, tf.where(position == end, last, word_ids))
        type_ids = tf.where((position >= start) & (position <= end), number, type_ids)
        start = end + 1
    return {"input_word_ids": word_ids, "input_mask": tf.cast(position < start, tf.int32), "input_type_ids": type_ids}
