import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text as text

from tfhub_ft.encoders.packing import TOKEN_INPUTS, pack_segments


@pytest.mark.parametrize("length", [3, 4, 5, 6, 7, 8, 9, 20])
def test_pack_segments_truncates_like_tf_text(length):
    lengths = [(0, 0), (1, 9), (9, 1), (3, 4), (4, 3), (5, 5), (0, 7)]
    one, two = (tf.ragged.constant([list(range(10, 10 + pair[side])) for pair in lengths], tf.int32) for side in (0, 1))
    for segments in ([one], [one, two]):
        trimmed = text.RoundRobinTrimmer(length - len(segments) - 1).trim(segments)
        combined, types = text.combine_segments(trimmed, start_of_sequence_id=2, end_of_segment_id=3)
        word_ids, _ = text.pad_model_inputs(combined, length, pad_value=1)
        type_ids, mask = text.pad_model_inputs(types, length)
        packed = pack_segments(segments, tf.constant(length), first=2, last=3, padding=1)
        for name, expected in zip(TOKEN_INPUTS, (word_ids, mask, type_ids), strict=True):
            np.testing.assert_array_equal(packed[name], expected)
            assert packed[name].dtype == tf.int32
