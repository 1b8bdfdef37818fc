import pytest
import tensorflow as tf
from tensorflow.config.experimental import enable_tensor_float_32_execution, tensor_float_32_execution_enabled

from tfhub_ft.utils.devices import pin_to_cpu, tensor_float_32


def test_pin_to_cpu_places_operations_on_cpu():
    @tf.function
    def on_a_gpu(x):
        with tf.device("GPU:0"):
            return pin_to_cpu(tf.square)(x) + 1

    graph = on_a_gpu.get_concrete_function(tf.TensorSpec([], tf.float32)).graph
    placed = {op.type: op.device[-5:] for op in graph.get_operations()}
    assert (placed["Square"], placed["AddV2"]) == ("CPU:0", "GPU:0")


def test_tensor_float_32_is_restored():
    with pytest.raises(RuntimeError), tensor_float_32(allowed=False):
        assert not tensor_float_32_execution_enabled()
        raise RuntimeError
    assert tensor_float_32_execution_enabled()


def test_tensor_float_32_respects_outer_ban():
    enable_tensor_float_32_execution(False)
    try:
        with tensor_float_32(allowed=True):
            assert not tensor_float_32_execution_enabled()
    finally:
        enable_tensor_float_32_execution(True)
