import keras
import numpy as np
import pytest

from tfhub_ft.data.batches import TokenRows
from tfhub_ft.models.frozen_features import FeatureRows, FrozenFeatureExtractor, Pooler, make_score_fn


@pytest.fixture
def tokens():
    return TokenRows(np.arange(1, 7, dtype="int32"), np.zeros(6, "int8"), np.array([0, 2, 3, 6]))


@pytest.fixture
def network():
    """A network without an encoder, whose logit is the sum of a row's token ids."""
    names = ("input_word_ids", "input_mask", "input_type_ids")
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
    ids = keras.ops.cast(inputs["input_word_ids"], "float32")
    return keras.Model(inputs, keras.ops.sum(ids, -1, keepdims=True))


def test_of_returns_none_without_encoder(network, tokens):
    assert FrozenFeatureExtractor.of(network, tokens) is None


def test_make_score_fn_computes_logits_without_encoder(network, tokens):
    np.testing.assert_allclose(make_score_fn(network, "float32")(tokens), [[3], [3], [15]])


def test_feature_rows_batch_returns_features(tokens):
    features = np.arange(6, dtype="float32").reshape(3, 2)
    rows = FeatureRows(tokens.word_ids, tokens.type_ids, tokens.starts, features=features)
    np.testing.assert_array_equal(rows.batch(np.array([2, 0])), [[4, 5], [0, 1]])
    assert rows.signature.shape == (None, 2)
    assert list(rows.lengths) == [2, 1, 3]


def test_pooler_applies_tanh_to_linear_layer():
    pooler = Pooler(keras.Variable(np.eye(2, dtype="float32")), keras.Variable(np.ones(2, "float32")))
    np.testing.assert_allclose(pooler(np.array([[0.0, -1.0]], "float32")), np.tanh([[1, 0]]), rtol=1e-6)
