import pytest

from tfhub_ft.benchmarking.plot import draw_comparison


@pytest.mark.parametrize("scores", [{"accuracy": 0.9}, {}])
def test_draw_comparison_labels_every_artifact(scores, tmp_path):
    results = [
        {
            "form": format,
            "path": format,
            "quantization": "none",
            "reads": reads,
            "bytes": 1e6,
            "latency_ms": {"p50": 2.0},
            "scores": scores,
            "agreement": 1.0,
        }
        for format, reads in (("saved_model", "text"), ("tflite", "tokens"), ("tflite_text", "text"))
    ]
    draw_comparison(results, tmp_path / "benchmark.svg", title="reviews")
    picture = (tmp_path / "benchmark.svg").read_text()
    for label in ("SavedModel", "TFLite", "reads text", "reads tokens", "reviews"):
        assert f"<!-- {label} -->" in picture
    assert (f"<!-- {'accuracy' if scores else 'agreement with the original'} -->") in picture
