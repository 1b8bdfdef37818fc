import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.encoders.text_layer import TextLayer, flat
from tfhub_ft.utils.errors import InputError


class Lengths(TextLayer):
    def call(self, inputs):
        segments = inputs if isinstance(inputs, list) else [inputs]
        return [tf.strings.length(flat(segment)) for segment in segments]


@pytest.fixture
def layer():
    return Lengths(name="lengths")


@pytest.mark.parametrize("batch", [["a", "bc"], ("a", "bc"), np.array(["a", "bc"]), tf.constant([["a"], ["bc"]])])
def test_text_layer_accepts_batches(layer, batch):
    assert layer(batch)[0].numpy().tolist() == [1, 2]


def test_text_layer_accepts_a_single_string(layer):
    assert layer("abc")[0].numpy().tolist() == [3]


def test_text_layer_accepts_pairs(layer):
    first, second = layer([["a", "bc"], ["abc", ""]])
    assert (first.numpy().tolist(), second.numpy().tolist()) == ([1, 2], [3, 0])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["a", None], "lengths: expected strings, got NoneType in row 1"),
        ([["a"], ["b", "c"]], "lengths: expected two batches of the same size"),
        ([["a"], ["b"], ["c"]], "lengths: expected one batch of texts, or two for pairs, got 3"),
        (tf.constant([1]), r"lengths: expected strings of shape \(batch,\), got int32"),
        (tf.constant([["a", "b"]]), r"lengths: expected strings of shape \(batch,\), got string of shape \(1, 2\)"),
    ],
)
def test_text_layer_refuses_other_inputs(layer, inputs, message):
    with pytest.raises(InputError, match=message):
        layer(inputs)


def test_text_layer_refuses_symbolic_numbers(layer):
    with pytest.raises(InputError, match="lengths: expected strings of shape"):
        layer(keras.Input((), dtype="int32"))


def test_flat_reshapes_to_one_axis():
    for texts in (tf.constant("a"), tf.constant(["a"]), tf.constant([["a"]])):
        assert flat(texts).shape == [1]
