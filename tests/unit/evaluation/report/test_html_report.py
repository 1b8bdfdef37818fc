from types import SimpleNamespace

import numpy as np
import pytest

from tfhub_ft.data.rows import Row
from tfhub_ft.evaluation.report.html_report import Training, write_report
from tfhub_ft.evaluation.scored import Scored, held_out_scores
from tfhub_ft.recipe import load_recipe

LABELS, TARGETS = ["no", "yes"], np.arange(20) % 2


@pytest.fixture
def run(tmp_path):
    recipe = load_recipe("sentiment")
    split = {"file": "reviews.csv", "rows": 1234}
    settings = recipe.settings.replaced({"data": "reviews.csv", "epochs": 7})
    return SimpleNamespace(
        recipe=recipe,
        recipe_name="sentiment",
        path=tmp_path / "run",
        settings=settings,
        splits={"train": split},
        keras_arguments={},
    )


def write(run, path, **options):
    rows = [Row(i, {"text": f"<b>{i}</b>", "label": LABELS[target]}) for i, target in enumerate(TARGETS)]
    logits, task = 3 * np.eye(2)[TARGETS] - np.eye(2)[[1]], run.recipe.task
    scores = held_out_scores(task, logits, TARGETS, LABELS, {})
    scored = Scored(task, rows, logits, TARGETS, LABELS, {}, {}, scores)
    write_report(path, run, scored, of="test rows", scores={"test": scores}, **options)
    return path.read_text(encoding="utf-8")


def test_write_report_shows_the_run_its_scores_and_warnings(run, tmp_path):
    html = write(run, tmp_path / "report.html", warnings=["few rows"])
    for text in ("sentiment: run", "on 20 test rows", "Few rows.", "1,234", "--data reviews.csv --epochs 7"):
        assert text in html
    assert html.count("<span>f1 macro") == 1
    assert "<span>f1<" not in html
    assert "Training</h2>" not in html


def test_write_report_of_training_shows_curves_and_costs(run, tmp_path):
    epochs = [{"epoch": n, "seconds": 2.0, "loss": 1 / n, "val_log_loss": 1 / n, "val_accuracy": 0.5} for n in (1, 2)]
    training = Training(epochs, 2, np.array([5, 9]), 1, "rows", (1000, 10), 10**9)
    html = write(run, tmp_path / "report.html", training=training)
    for text in ("Kept weights: epoch 2 of 2", "10 of 1,000", "1,000 MB", "2.0, 2.0", "1, including validation"):
        assert text in html
