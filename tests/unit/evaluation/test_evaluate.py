import pytest

import tfhub_ft
from tests.conftest import make_reviews, write_csv
from tfhub_ft.run import Run
from tfhub_ft.utils.errors import InputError


def test_evaluate_of_test_rows_returns_the_scores_of_training(tiny_run, reviews_csv, tmp_path):
    run = Run(tiny_run)
    lines = reviews_csv.read_text().splitlines()
    test_lines = [lines[line - 1] for line in run.splits["test"]["lines"]]
    (tmp_path / "test.csv").write_text("\n".join([lines[0], *test_lines]) + "\n")
    scores = tfhub_ft.evaluate(run, data=tmp_path / "test.csv")
    assert scores["confusion_matrix"] == run.metrics["test"]["confusion_matrix"]
    assert scores["log_loss"] == pytest.approx(run.metrics["test"]["log_loss"], abs=1e-5)


def test_evaluate_counts_unseen_labels_as_wrong(tiny_run, tmp_path, capsys):
    rows = make_reviews(40, seed=3)
    known = tfhub_ft.evaluate(tiny_run, data=write_csv(tmp_path / "known.csv", rows))
    path = write_csv(tmp_path / "more.csv", [*rows, *[(f"fine {i}", "neutral") for i in range(10)]])
    scores = tfhub_ft.evaluate(tiny_run, data=path, report=tmp_path / "more.html")
    assert scores["accuracy"] == pytest.approx(known["accuracy"] * 0.8)
    assert scores["unseen_label_rows"] == 10
    warning = f"Warning: {path}: 1 label not seen in training (neutral: 10); their rows count as wrong"
    assert capsys.readouterr().err.count(warning) == 1
    assert "neutral" in (tmp_path / "more.html").read_text(encoding="utf-8")


def test_evaluate_of_a_missing_column_advises_a_name(tiny_run, tmp_path):
    path = write_csv(tmp_path / "more.csv", make_reviews(4), header=("opinion", "label"))
    with pytest.raises(InputError, match="; name one of them with --text-column$"):
        tfhub_ft.evaluate(tiny_run, data=path)


def test_evaluate_rejects_a_damaged_model(tiny_run, reviews_csv, tmp_path):
    import shutil

    shutil.copytree(tiny_run, tmp_path / "run")
    model = tmp_path / "run" / "model.keras"
    model.write_bytes(model.read_bytes()[:1000])
    with pytest.raises(InputError, match="model.keras: cannot be read"):
        tfhub_ft.evaluate(tmp_path / "run", data=reviews_csv)
