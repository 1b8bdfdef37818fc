import numpy as np
import pytest
import tensorflow as tf
from tfhub_ft.recipes import sentiment

import tfhub_ft
from tests.conftest import TINY_SETTINGS
from tfhub_ft.utils.precision import matrix_products_in, resolve_precision, rewritten_graphs


def test_only_auto_looks_at_the_processor():
    assert resolve_precision("float32") == "float32"
    assert resolve_precision("bfloat16") == "bfloat16"
    assert resolve_precision("auto") in ("float32", "bfloat16")


def test_the_rewriter_is_on_within_the_context_only():
    option = "auto_mixed_precision_onednn_bfloat16"
    with pytest.raises(RuntimeError), rewritten_graphs("bfloat16"):
        assert tf.config.optimizer.get_experimental_options()[option]
        raise RuntimeError
    assert not tf.config.optimizer.get_experimental_options().get(option)


@pytest.mark.parametrize("implementation", ["native", "graph"])
def test_a_network_is_in_another_precision_within_the_context_only(tiny_pair, implementation):
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


@pytest.mark.parametrize("precision", [pytest.param("bfloat16", marks=pytest.mark.slow), "float16"])
def test_training_in_half_precision_learns_and_keeps_float32_weights(tiny_pair, reviews_csv, tmp_path, precision):
    run = tfhub_ft.train(
        "sentiment", data=reviews_csv, output_dir=tmp_path / "run", encoder=tiny_pair,
        **TINY_SETTINGS, precision=precision,
    )  # fmt: skip
    assert run.metrics["test"]["accuracy"] >= 0.9
    assert {np.dtype(w.dtype) for w in run.load_model().weights} <= {np.dtype(t) for t in ("float32", "bool", "int64")}
