import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.data.batches import StackedWindows, TrainingBatches, length_buckets, tokenize
from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor
from tfhub_ft.encoders.row_window_preprocessor import RowWindowPreprocessor

TEXTS = [(" ".join(["film"] * words),) for words in (3, 40, 1, 14, 15, 200, 30, 8)] * 3


@pytest.fixture(scope="module")
def layer(tiny_pair):
    return RowWindowPreprocessor(str(tiny_pair), seq_length=16, overlap=4, max_windows=12)


@pytest.fixture(scope="module")
def tokens(layer):
    return tokenize(layer, TEXTS)


def assert_batches_equal(batch, expected):
    for name, ids in expected.items():
        np.testing.assert_array_equal(batch[name], ids)


def test_batch_equals_the_layer(layer, tokens):
    assert isinstance(tokens, StackedWindows)
    assert tokens.truncated_rows == 3
    for rows in ([0, 2, 7], [1], [5, 0, 1], list(range(8))):
        expected = layer([TEXTS[row][0] for row in rows])
        batch = tokens.batch(np.array(rows))
        several = expected["input_mask"].shape[1] > 1
        # Batches of several windows have the length of whole windows.
        padding = [(0, 0), (0, 0), (0, 16 - expected["input_mask"].shape[2] if several else 0)]
        assert_batches_equal(batch, {name: np.pad(ids, padding) for name, ids in expected.items()})


def test_subset_keeps_windows(tokens):
    rows = np.array([5, 0, 1])
    subset = tokens.subset(rows)
    assert_batches_equal(subset.batch(np.arange(3)), tokens.batch(rows))
    assert subset.truncated.tolist() == [True, False, False]
    assert len(tokens.batch(rows[:0], (32,))["input_mask"]) == 0


def test_padded_lengths_count_whole_windows(tokens):
    assert tokens.padded_lengths[[0, 2, 3]].tolist() == [5, 3, 16]
    assert tokens.padded_lengths[4] == 2 * 16
    assert tokens.padded_lengths[5] == 12 * 16


@pytest.mark.parametrize("buckets", [False, True])
def test_training_batches_are_bounded_by_tokens(tokens, buckets):
    lengths = length_buckets(tokens.padded_lengths, 16) if buckets else ()
    assert all(length % 16 == 0 for length in lengths if length > 16)
    training = TrainingBatches(tokens, np.arange(len(TEXTS)), batch_size=8, seed=1, buckets=lengths)
    counts = set()
    for epoch in range(3):
        training.epoch = epoch
        order = training.order()
        assert set(np.concatenate(order).tolist()) == set(range(len(TEXTS)))
        counts.add(len(order))
        for batch, targets, _ in training.dataset():
            rows, windows, length = batch["input_mask"].shape
            # One row may be longer than a batch of short rows.
            assert rows == 1 or rows * windows * length <= 8 * 16
            assert rows <= 8 and len(targets) == rows
    assert counts == {len(training)}


def test_one_bucket_leaves_the_number_of_windows_open(layer):
    full = tokenize(layer, [TEXTS[3]] * 4)
    lengths = length_buckets(full.padded_lengths, 16)
    assert lengths == [16]
    training = TrainingBatches(full, np.arange(4), batch_size=2, seed=0, buckets=lengths)
    assert [batch["input_mask"].shape for batch, _, _ in training.dataset()] == [(2, 1, 16)] * 2


def test_batches_of_short_rows_equal_those_without_windows(tiny_pair, layer):
    texts = [text for text in TEXTS if len(text[0].split()) <= 14]
    without = tokenize(HubPreprocessor(str(tiny_pair), seq_length=16), texts)
    orders = [
        TrainingBatches(rows, np.zeros(len(texts)), batch_size=4, seed=2).order()
        for rows in (tokenize(layer, texts), without)
    ]
    for one, other in zip(*orders, strict=True):
        np.testing.assert_array_equal(one, other)


def test_by_length_bounds_batches(tokens):
    rows = list(tokens.by_length(8))
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(TEXTS)))
    assert [len(batch) for batch in rows][:3] == [1, 1, 1]
    assert all(len(batch) * tokens.padded_lengths[batch].max() <= 8 * 16 for batch in rows if len(batch) > 1)


def test_tokens_of_windows_are_cached(tiny_pair, layer, tokens, tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_FT_CACHE", str(tmp_path))
    monkeypatch.setattr("tfhub_ft.data.token_cache.CACHED_FROM", 10)
    first = tokenize(layer, TEXTS)
    monkeypatch.setattr(layer, "without_padding", None)
    again = tokenize(layer, TEXTS)
    for rows in (first, again):
        assert_batches_equal(rows.batch(np.arange(8)), tokens.batch(np.arange(8)))
    assert isinstance(tf.nest.flatten(again.signature)[0], tf.TensorSpec)
