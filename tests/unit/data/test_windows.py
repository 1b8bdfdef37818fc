import numpy as np
import tensorflow as tf

from tfhub_ft.data.windows import TokenTargets, window_rows
from tfhub_ft.encoders.window_preprocessor import WindowPreprocessor


def test_window_rows_cuts_long_rows_into_windows(tiny_pair):
    layer = WindowPreprocessor(str(tiny_pair), seq_length=16, overlap=3)
    texts = [("good film",), ("the food was bad and the room was small and cold and wet and dear",)] * 100
    tokens = window_rows(
        layer, texts, lambda some: (*layer.split_words(tf.constant([text for (text,) in some])), None), kind="texts"
    )
    assert len(tokens) > 200
    assert tokens.lengths.max() <= 16
    assert set(tokens.row.tolist()) == set(range(200))
    starts, ends = tokens.words_of(1)
    assert [texts[1][0][a:b] for a, b in zip(starts, ends)] == texts[1][0].split()
    assert tokens.starts_word.sum() == sum(len(text.split()) for (text,) in texts)
    batch = tokens.batch(np.array([0, 1]))
    assert batch["input_word_ids"].shape == (2, tokens.lengths[:2].max())


def test_token_targets_pads_with_minus_one():
    targets = TokenTargets(np.array([1, 2, 3, 4], "int32"), np.array([0, 3, 4]))
    assert targets.shape == (2, None)
    np.testing.assert_array_equal(targets[np.array([1, 0])], [[4, -1, -1], [1, 2, 3]])
