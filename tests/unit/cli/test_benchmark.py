import json

from click.testing import CliRunner

from tfhub_ft.cli.benchmark import command

MEASURED = [
    {
        "form": "saved_model", "quantization": "none", "reads": "text", "bytes": 5e6, "peak_memory_bytes": 9e8,
        "load_seconds": 0.5, "latency_ms": {"p50": 1.25, "p95": 2.5}, "rows_per_second": 1234.0, "batch_size": 32,
        "scores": {"accuracy": 0.75}, "agreement": None,
    }
]  # fmt: skip


def test_benchmark_prints_a_row_per_artifact(replace):
    call = replace("tfhub_ft.benchmarking.benchmark.benchmark", MEASURED)
    options = ["--data", "rows.csv", "--picture", "a.svg"]
    shown = CliRunner().invoke(command, ["exports/one", *options], catch_exceptions=False).stdout
    assert call.args == ("exports/one",)
    assert (call.kwargs["data"], call.kwargs["picture"]) == ("rows.csv", "a.svg")
    for words in ("SavedModel", "5.0", "900", "1,234", "0.7500"):
        assert words in shown


def test_benchmark_prints_json(replace):
    replace("tfhub_ft.benchmarking.benchmark.benchmark", MEASURED)
    shown = CliRunner().invoke(command, ["exports/one", "--data", "rows.csv", "--json"], catch_exceptions=False).stdout
    assert json.loads(shown) == MEASURED
