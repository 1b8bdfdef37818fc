"""The notebook runs from the first cell to the last."""

from pathlib import Path

import pytest

FILE = Path(__file__).parents[3] / "examples" / "keras_code.ipynb"


def test_notebook_runs(tiny_pair, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="needs pip install '.[test]'")
    pytest.importorskip("ipykernel")
    import nbformat

    monkeypatch.setenv("ENCODER", str(tiny_pair))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    notebook = nbformat.read(FILE, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    *_, answers, difference = (cell.outputs[0] for cell in notebook.cells if cell.cell_type == "code" and cell.outputs)
    assert [line.split()[0] in ("positive", "negative") for line in answers.text.splitlines()] == [True, True]
    assert float(difference.data["text/plain"]) < 1e-5
    assert (tmp_path / "reviews.keras").is_file()
