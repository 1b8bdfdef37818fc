import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.data.batches import TokenRows
from tfhub_ft.models.forward import logits_of_replicas, make_logits_fn


@pytest.fixture
def tokens():
    lengths = np.random.default_rng(0).integers(1, 30, 150)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return TokenRows(np.arange(1, starts[-1] + 1, dtype="int32"), np.zeros(starts[-1], "int8"), starts)


@pytest.fixture
def network():
    """A network whose logit is the sum of a row's token ids."""
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("input_word_ids", "input_mask")}
    inputs["input_type_ids"] = keras.Input((None,), dtype="int32", name="input_type_ids")
    ids = keras.ops.cast(inputs["input_word_ids"], "float32")
    return keras.Model(inputs, keras.ops.sum(ids, -1, keepdims=True))


def sums(tokens):
    return [[tokens.batch(np.array([row]))["input_word_ids"].sum()] for row in range(len(tokens))]


@pytest.mark.parametrize("batch_size", [1, 64, 1000])
def test_make_logits_fn_keeps_the_order_of_rows(tokens, network, batch_size):
    logits = make_logits_fn(network, batch_size=batch_size)(tokens)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, sums(tokens))


def test_make_logits_fn_of_several_models_causes_no_warning(tokens, network, monkeypatch):
    warnings = []
    monkeypatch.setattr(tf.get_logger(), "warning", lambda message, *_: warnings.append(message))
    for _ in range(6):
        make_logits_fn(network)(tokens)
    assert warnings == []


def test_logits_of_replicas_returns_all_rows(tokens, network):
    strategy, order = tf.distribute.get_strategy(), list(tokens.by_length(64))
    np.testing.assert_allclose(logits_of_replicas(strategy, network, tokens.batch, order), sums(tokens))
