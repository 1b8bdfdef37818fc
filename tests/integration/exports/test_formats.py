"""A new format is one converter and one runtime."""

import json

import tfhub_ft
from tests.integration.exports.frozen_graph import FROZEN_GRAPH
from tfhub_ft.exports.formats import FORMATS


def test_export_supports_new_formats(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setitem(FORMATS, "frozen_graph", FROZEN_GRAPH)
    folder = tfhub_ft.export(
        tiny_run, output_dir=tmp_path / "one", formats=["frozen_graph", "tflite"], quantize=["none"]
    )
    tflite, frozen = json.loads((folder / "export.json").read_text())["forms"]
    assert frozen["path"] == "frozen_graph/one.pb"
    assert set(frozen) == set(tflite) - {"tokenizer"}
    assert frozen["max_logit_difference"] <= frozen["tolerance"] == 1e-4
    assert frozen["agreement"] == 1
    assert "| Frozen graph (reads tokens) | `frozen_graph/one.pb` |" in (folder / "README.md").read_text()
