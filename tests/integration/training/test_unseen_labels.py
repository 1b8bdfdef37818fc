"""Labels of validation and test rows that the training rows lack count as wrong in scores, reports and comparisons."""

import csv
import json
import math

import pytest

import tfhub_ft
from tests.conftest import TINY_SETTINGS, make_reviews
from tfhub_ft.evaluation.compare_runs import compare


def rows_of(recipe, count, seed, new):
    """Rows of a recipe, every fifth with a label called `new`, where it is given."""
    rows = []
    for number, (text, label) in enumerate(make_reviews(count, seed)):
        label = new if new and number % 5 == 0 else label
        if recipe == "multilabel":
            rows.append({"text": text, "labels": [label, "short"] if len(text) < 40 else [label]})
        elif recipe == "ner":
            words = text.split()
            rows.append({"tokens": words, "tags": [f"B-{label}", *["O"] * (len(words) - 1)]})
        else:
            rows.append({"text": text, "label": label})
    return rows


SLOW = [pytest.param(recipe, marks=pytest.mark.slow) for recipe in ("sentiment", "intent", "multilabel")]


@pytest.mark.parametrize("recipe", ["topic", "ner", *SLOW])
def test_labels_not_in_training_count_as_wrong(recipe, tiny_pair, tmp_path, capsys):
    files = {}
    for seed, (name, new) in enumerate([("train", None), ("validation", "fresh"), ("test", "newer")]):
        files[name] = tmp_path / f"{name}.jsonl"
        rows = rows_of(recipe, 80 if name == "train" else 40, seed, new)
        files[name].write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {k: v for k, v in TINY_SETTINGS.items() if k != "dropout"} | {"epochs": 2}
    run = tfhub_ft.train(recipe, **files, encoder=tiny_pair, output_dir=tmp_path / "run", **settings)
    err = capsys.readouterr().err
    for name, label in (("validation", "fresh"), ("test", "newer")):
        warning = f"{files[name]}: 1 label not seen in training ({label}: 8); their rows count as wrong"
        assert err.count(f"Warning: {warning}") == 1
        assert warning in run.warnings
    with (run.path / "history.csv").open() as file:
        assert all(math.isfinite(float(value)) for row in csv.DictReader(file) for value in row.values())
    scores = run.metrics["test"]
    if recipe == "ner":
        unseen = scores["per_class"]["not seen in training"]
        assert (unseen["recall"], unseen["f1"], unseen["rows"]) == (0, 0, 8)
    else:
        assert scores["unseen_label_rows"] == 8
        assert scores.get("accuracy", scores.get("exact_match")) <= 0.8
    assert "newer" in (run.path / "report.html").read_text(encoding="utf-8")
    scored = tfhub_ft.evaluate(run, data=files["test"])
    assert scored.get("unseen_label_rows") == scores.get("unseen_label_rows")
    assert compare(run, run, data=files["test"])["rows"] == 40
    if recipe == "topic":
        tfhub_ft.export(run, output_dir=tmp_path / "export", formats=["tflite"], quantize=["int8"])
