import numpy as np
import pytest
import tensorflow as tf

import tfhub_ft
from tests.conftest import TINY_SETTINGS
from tfhub_ft.training.hardware import matrix_products_in, resolve_precision


def test_only_auto_looks_at_the_processor():
    assert resolve_precision("float32") == "float32"
    assert resolve_precision("bfloat16") == "bfloat16"
    assert resolve_precision("auto") in ("float32", "bfloat16")


def test_the_rewriter_is_on_within_the_context_only():
    option = "auto_mixed_precision_onednn_bfloat16"
    with pytest.raises(RuntimeError), matrix_products_in("bfloat16"):
        assert tf.config.optimizer.get_experimental_options()[option]
        raise RuntimeError
    assert not tf.config.optimizer.get_experimental_options().get(option)


def test_training_in_bfloat16_learns_and_keeps_float32_weights(tiny_pair, reviews_csv, tmp_path):
    run = tfhub_ft.train(
        "sentiment", data=reviews_csv, output_dir=tmp_path / "run", encoder=tiny_pair,
        **TINY_SETTINGS, precision="bfloat16",
    )  # fmt: skip
    assert run.metrics["test"]["accuracy"] >= 0.9
    assert {np.dtype(w.dtype) for w in run.load_model().weights} <= {np.dtype("float32"), np.dtype("bool")}
