import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.language_models.weight_quantization import Int8Weight, QuantizedWeights


@pytest.fixture
def layer():
    layer = keras.layers.Dense(5)
    layer.build((None, 30))
    return layer


def test_int8_weight_restores_values_to_half_a_step(layer):
    weight = Int8Weight(layer.kernel)
    assert weight.values.shape == (3, 64) and weight.values.dtype == tf.int8
    restored = (tf.cast(weight.values, tf.float32) * weight.scales).numpy().reshape(-1)[:150]
    difference = np.abs(restored - np.asarray(layer.kernel).reshape(-1))
    assert difference.max() <= weight.scales.numpy().max() / 2 + 1e-6


@pytest.mark.parametrize(
    ("quantization", "dtypes"),
    [("none", ["float32", "float32"]), ("bfloat16", ["float32", "bfloat16"]), ("int8", ["float32", "int8", "float32"])],
)
def test_quantized_weights_track_matrices_and_vectors(layer, quantization, dtypes):
    tracked = QuantizedWeights(layer, quantization).tracked
    assert [each.dtype.name for each in tracked if isinstance(each, tf.Variable)] == dtypes
