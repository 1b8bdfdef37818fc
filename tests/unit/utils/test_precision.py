import pytest
import tensorflow as tf
from tfhub_ft.recipes import sentiment

from tfhub_ft.utils.precision import matrix_products_in, resolve_precision, rewritten_graphs


def test_resolve_precision_keeps_explicit_dtypes():
    assert resolve_precision("float32") == "float32"
    assert resolve_precision("bfloat16") == "bfloat16"
    assert resolve_precision("auto") in ("float32", "bfloat16")


def test_rewritten_graphs_restores_options():
    option = "auto_mixed_precision_onednn_bfloat16"
    with pytest.raises(RuntimeError), rewritten_graphs("bfloat16"):
        assert tf.config.optimizer.get_experimental_options()[option]
        raise RuntimeError
    assert not tf.config.optimizer.get_experimental_options().get(option)


@pytest.mark.parametrize("implementation", ["native", "graph"])
def test_matrix_products_in_restores_dtypes(tiny_pair, implementation):
    model = sentiment.build_model(str(tiny_pair), 2, seq_length=32, implementation=implementation)
    encoder, option = model.get_layer("token_model").get_layer("encoder"), "auto_mixed_precision_onednn_bfloat16"
    with matrix_products_in("bfloat16", model):
        rewritten = tf.config.optimizer.get_experimental_options().get(option, False)
        assert (encoder.compute_dtype, rewritten) == (("bfloat16", False) if encoder.is_native else ("float32", True))
        assert tf.config.experimental.tensor_float_32_execution_enabled()
    with matrix_products_in("float32", model):
        assert not tf.config.experimental.tensor_float_32_execution_enabled()
    assert encoder.compute_dtype == "float32"
    assert not tf.config.optimizer.get_experimental_options().get(option)
