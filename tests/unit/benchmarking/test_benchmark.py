import numpy as np
import pytest

from tfhub_ft.benchmarking.benchmark import benchmark, spread, timing
from tfhub_ft.inference.runtimes.isolated import IsolatedResult
from tfhub_ft.utils.errors import InputError


def test_spread_returns_values_at_even_steps():
    assert spread(range(9), 3) == [0, 4, 8]
    assert spread("ab", 5) == ["a", "b"]
    assert spread([], 3) == []


def test_timing_reports_rows_per_second():
    result = IsolatedResult([], 0.12345, 10, np.array([0.001]), 2.0)
    expected = {"peak_memory_bytes": 10, "load_seconds": 0.123, "latency_ms": {"p50": 1.0, "p95": 1.0}}
    assert timing(result, 64, 32) == {**expected, "rows_per_second": 32.0, "batch_size": 32}


def test_benchmark_refuses_other_pictures(tmp_path):
    with pytest.raises(InputError, match=r"--picture .*picture\.gif: must end in \.png, \.svg, \.pdf"):
        benchmark(tmp_path, data="rows.csv", picture=tmp_path / "picture.gif")
