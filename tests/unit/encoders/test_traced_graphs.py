import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.encoders.traced_graphs import TracedGraphs
from tfhub_ft.utils.errors import InputError


class Scaled(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.graphs, self.factor = TracedGraphs(), 1.0

    def call(self, inputs):
        self.graphs.record()
        return inputs * self.factor


def test_retrace_updates_functions_of_keras():
    layer, inputs = Scaled(), keras.Input((1,))
    model = keras.Model(inputs, layer(inputs))
    assert model.predict(np.ones((1, 1)), verbose=0) == 1
    layer.factor = 2.0
    layer.graphs.retrace()
    assert model.predict(np.ones((1, 1)), verbose=0) == 2


def test_retrace_all_refuses_functions_of_the_caller():
    layer = Scaled()
    function = tf.function(layer)
    function(tf.ones((1, 1)))
    with pytest.raises(InputError, match="mine: a tf.function that traced the layer"):
        layer.graphs.retrace_all("mine")
    del function
    layer.graphs.retrace_all("mine")
