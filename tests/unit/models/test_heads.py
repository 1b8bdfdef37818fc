import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.models.heads import (
    ClassificationHead,
    CosineFeature,
    CosineSimilarity,
    MeanPooling,
    ReplyBank,
    SplitSegments,
    StackHalves,
)

TOKENS = {
    "input_word_ids": [[101, 5, 6, 102, 7, 102, 0], [101, 8, 102, 9, 10, 11, 102]],
    "input_mask": [[1, 1, 1, 1, 1, 1, 0], [1] * 7],
    "input_type_ids": [[0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1, 1]],
}


def test_split_segments_returns_rows_of_one_segment():
    halves = SplitSegments()({name: tf.constant(ids) for name, ids in TOKENS.items()})
    ids = [[101, 5, 6, 102, 0], [101, 8, 102, 0, 0], [101, 7, 102, 0, 0], [101, 9, 10, 11, 102]]
    np.testing.assert_array_equal(halves["input_word_ids"], ids)
    np.testing.assert_array_equal(halves["input_mask"], np.array(ids) > 0)
    assert not np.any(halves["input_type_ids"])


def test_mean_pooling_ignores_padding_and_normalizes():
    states = np.array([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]], "float32")
    pooled = MeanPooling()(states, np.array([[1, 1, 0]]))
    np.testing.assert_allclose(pooled, [[0.6, 0.8]], rtol=1e-6)


def test_cosine_layers_compare_halves_by_row():
    vectors = np.array([[1, 0], [0, 1], [1, 0], [0.6, 0.8]], "float32")
    np.testing.assert_allclose(CosineSimilarity()(vectors), [[1], [0.8]], rtol=1e-6)
    np.testing.assert_allclose(CosineFeature()(vectors), [[50], [30]], rtol=1e-5)
    np.testing.assert_allclose(StackHalves()(vectors)[1], [[0, 1], [0.6, 0.8]])


def test_reply_bank_returns_cosine_with_each_reply():
    bank = ReplyBank(3, 2)
    bank.set_weights([np.array([[1, 0], [0, 1], [0.6, 0.8]], "float32")])
    np.testing.assert_allclose(bank(np.array([[0, 1]], "float32")), [[0, 1, 0.8]])


@pytest.mark.parametrize("shape", [(2, 4), (2, 3, 4)])
def test_classification_head_returns_logits_of_rows_or_tokens(shape):
    assert ClassificationHead(5)(np.ones(shape, "float32")).shape == (*shape[:-1], 5)


def test_classification_head_exempts_fitted_inputs_in_its_own_dtype():
    head = ClassificationHead(2, fitted_inputs=1, dtype="mixed_bfloat16")
    assert head(np.ones((1, 4), "float32"), training=True).dtype == "float32"


def test_classification_head_exempts_fitted_inputs():
    head = ClassificationHead(2, dropout=0.9, fitted_inputs=1)
    head(np.zeros((1, 4), "float32"))
    kernel, bias = head.dense.get_weights()
    assert np.all(kernel[:-1]) and not np.any(kernel[-1])
    kernel[:-1], kernel[-1] = 0, (-1, 1)
    head.dense.set_weights([kernel, bias])
    inputs = np.tile(np.array([[5, 5, 5, 7]], "float32"), (50, 1))
    np.testing.assert_allclose(head(inputs, training=True), np.tile([[-7, 7]], (50, 1)))


def test_classification_head_config_round_trip():
    head = ClassificationHead(3, dropout=0.2, fitted_inputs=2)
    assert ClassificationHead.from_config(head.get_config()).fitted_inputs == 2
