"""The notebooks run from the first cell to the last."""

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture
def run_notebook(tiny_pair, tmp_path, monkeypatch):
    """Run a notebook in an empty folder, and return the outputs of its cells that have some."""
    nbclient = pytest.importorskip("nbclient", reason="needs pip install '.[test]'")
    pytest.importorskip("ipykernel")
    import nbformat

    monkeypatch.setenv("ENCODER", str(tiny_pair))
    monkeypatch.setenv("EPOCHS", "1")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")

    def run(name):
        notebook = nbformat.read(EXAMPLES / name, as_version=4)
        nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
        return [cell.outputs for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]

    return run


def test_keras_notebook_runs(run_notebook, tmp_path):
    *_, (answers, *_), (difference, *_) = run_notebook("keras_code.ipynb")
    assert [line.split()[0] in ("positive", "negative") for line in answers.text.splitlines()] == [True, True]
    assert float(difference.data["text/plain"]) < 1e-5
    assert (tmp_path / "reviews.keras").is_file()


def test_data_frame_notebook_runs(run_notebook, tmp_path):
    pytest.importorskip("pandas")
    *_, predicted, words, highlighted, inspected = run_notebook("explain_dataframe.ipynb")
    assert (tmp_path / "runs" / "explained_reviews" / "report.html").is_file()
    assert "score" in predicted[-1].data["text/plain"]
    assert "attribution" in words[-1].data["text/plain"]
    assert highlighted[-1].data["text/html"].count("<p>") == 8
    assert "<span style=" in highlighted[-1].data["text/html"]
    assert "reasons" in inspected[-1].data["text/plain"]
