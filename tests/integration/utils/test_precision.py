import numpy as np
import pytest

import tfhub_ft
from tests.conftest import TINY_SETTINGS


@pytest.mark.parametrize("precision", [pytest.param("bfloat16", marks=pytest.mark.slow), "float16"])
def test_train_in_half_precision_keeps_float32_weights(tiny_pair, reviews_csv, tmp_path, precision):
    run = tfhub_ft.train(
        "sentiment", data=reviews_csv, output_dir=tmp_path / "run", encoder=tiny_pair,
        **TINY_SETTINGS, precision=precision,
    )  # fmt: skip
    assert run.metrics["test"]["accuracy"] >= 0.9
    assert {np.dtype(w.dtype) for w in run.load_model().weights} <= {np.dtype(t) for t in ("float32", "bool", "int64")}
