import numpy as np
import pytest

from tfhub_ft.inference.runtimes.base import Runtime
from tfhub_ft.inference.runtimes.isolated import IsolatedResult, IsolatedRuntime
from tfhub_ft.utils.errors import RunError


class EchoRuntime(Runtime):
    """Returns its inputs; texts as bytes."""

    def __call__(self, batch, signature="serving_default"):
        if "fail" in batch:
            raise ValueError("cannot echo this")
        return {name: array.astype(object) if array.dtype.kind == "S" else array for name, array in batch.items()}


def test_isolated_runtime_returns_outputs_and_errors(tmp_path):
    batch = {"ids": np.array([[1, 2]]), "text": np.array([[b"a"], [b"longer"]])}
    with IsolatedRuntime(EchoRuntime) as runtime:
        outputs = runtime.open(tmp_path)(batch)
        assert outputs["ids"].tolist() == [[1, 2]]
        assert outputs["text"].tolist() == [[b"a"], [b"longer"]]
        result = runtime.measure([batch], [batch], timed=1)
        assert len(result.row_seconds) == len(result.outputs) == 1
        with pytest.raises(RunError, match="cannot be run in an isolated process .*cannot echo this"):
            runtime({"fail": np.array([1])})


def test_isolated_result_reports_latency_in_milliseconds():
    result = IsolatedResult([], 0.0, 0, np.array([0.001, 0.002, 0.003]), 0.0)
    assert result.latency_ms == {"p50": 2.0, "p95": 2.9}
