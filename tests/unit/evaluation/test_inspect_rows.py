import csv
import json
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as parquet
import pytest

import tfhub_ft
from tests.conftest import make_reviews, write_csv
from tfhub_ft.data.rows import Row
from tfhub_ft.evaluation.inspect_rows import FAR, UNCERTAIN, UNKNOWN, WRONG, findings
from tfhub_ft.tasks.classification import Classification
from tfhub_ft.tasks.intent import Intent
from tfhub_ft.tasks.multilabel import Multilabel
from tfhub_ft.tasks.regression import Regression
from tfhub_ft.utils.errors import InputError


def run_of(labels, **thresholds):
    return SimpleNamespace(labels=labels, thresholds=thresholds, path="run")


def labeled(*labels, field="label"):
    return [Row(number, {field: label}) for number, label in enumerate(labels)]


def logits_of(probabilities):
    return np.log(np.float64(probabilities))


PROBABILITIES = [[0.83, 0.17], [0.8, 0.2], [0.85, 0.15], [0.45, 0.55], [0.1, 0.9]]


def test_findings_of_labels_are_wrong_or_uncertain():
    found = findings(Classification(), logits_of(PROBABILITIES), labeled("a", "a", "b", "b", "c"), run_of(["a", "b"]))
    assert found.reasons == [[], [], [WRONG], [UNCERTAIN], [UNKNOWN]]
    np.testing.assert_allclose(found.scores, [0.17, 0.2, 0.85, 0.45, 1.0])
    np.testing.assert_allclose(found.label_probabilities, [0.83, 0.8, 0.15, 0.55, np.nan])
    np.testing.assert_allclose(found.prediction_probabilities, [0.83, 0.8, 0.85, 0.55, 0.9])
    assert found.predictions == ["a", "a", "a", "b", "b"]


def test_findings_without_labels_are_uncertain_rows():
    found = findings(Classification(), logits_of(PROBABILITIES), None, run_of(["a", "b"]))
    assert found.reasons == [[], [], [], [UNCERTAIN], []]
    np.testing.assert_allclose(found.scores, [0.17, 0.2, 0.15, 0.45, 0.1])
    assert found.label_probabilities is None


def test_findings_follow_the_threshold_of_a_label():
    found = findings(Classification(), logits_of(PROBABILITIES), None, run_of(["a", "b"], threshold=0.85))
    assert found.predictions == ["a", "a", "a", "a", "b"]
    assert found.reasons == [[], [], [], [], [UNCERTAIN]]


def test_findings_of_intents_know_rows_out_of_scope():
    run = run_of(["book", "cancel", "other"], threshold=0.5)
    probabilities = [[0.94, 0.06], [0.9, 0.1], [0.95, 0.05], [0.4, 0.6]]
    found = findings(Intent(), logits_of(probabilities), labeled("book", "book", "other", "cancel"), run)
    assert found.reasons == [[], [], [WRONG], [UNCERTAIN]]
    np.testing.assert_allclose(found.scores[[0, 2]], [0.06, 0.95])


def test_findings_of_many_labels_name_them():
    run = run_of(["joy", "fear"], thresholds=[0.5, 0.3])
    logits = np.array([[8.0, -8], [8, -8], [8, -9], [9, 9], [8, -0.8]])
    rows = labeled(("joy",), ("joy",), ("fear", "joy"), (), ("joy", "rage"), field="labels")
    found = findings(Multilabel(), logits, rows, run)
    assert found.reasons[:2] == [[], []]
    assert found.reasons[2] == ["label 'fear' looks wrong"]
    assert found.reasons[3] == ["label 'joy' looks missing", "label 'fear' looks missing"]
    assert found.reasons[4] == [UNKNOWN, UNCERTAIN]
    assert found.predictions[3] == ["joy", "fear"]
    assert found.scores[0] < 0.01
    assert found.scores[2] > 0.99


def test_findings_of_numbers_are_outliers():
    rows = labeled(0.0, 1.0, 2.0, 3.0, 5.0, field="score")
    found = findings(Regression(("text",)), np.float32([[0.02], [0.2], [0.38], [0.6], [0.1]]), rows, run_of(["0", "5"]))
    assert found.reasons == [[], [], [], [], [FAR]]
    assert found.scores[4] == pytest.approx(0.9)
    assert found.predictions[4] == pytest.approx(0.5)


@pytest.fixture
def rows_csv(tiny_run, tmp_path):
    """Reviews, line 9 with the wrong label, one twice with different labels, and one whose label the run lacks."""
    rows = make_reviews(40, seed=5)
    scores = [prediction["score"] for prediction in tfhub_ft.predict(tiny_run, [text for text, _ in rows])]
    rows.insert(7, rows.pop(int(np.argmax(scores))))
    text, label = rows[7]
    rows[7] = (text, "negative" if label == "positive" else "positive")
    twice = ("the good service and a dull room", "positive"), ("The good service and a dull ROOM ", "negative")
    return write_csv(tmp_path / "rows.csv", [*rows, *twice, ("a good story", "neutral")])


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_inspect_writes_all_rows_by_importance(tiny_run, rows_csv, tmp_path, suffix):
    output = tmp_path / f"out.{suffix}"
    rows = tfhub_ft.inspect(tiny_run, data=rows_csv, output=output)
    assert len(rows) == 43
    assert list(rows[0]) == [
        *("line", "text", "label", "prediction", "label_probability", "prediction_probability", "reasons", "score")
    ]
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    by_line = {row["line"]: row for row in rows}
    assert WRONG in by_line[9]["reasons"]
    assert by_line[9] in rows[:10]
    assert "same text with another label in line 43" in by_line[42]["reasons"]
    assert "same text with another label in line 42" in by_line[43]["reasons"]
    assert by_line[42]["score"] == by_line[43]["score"] >= 0.5
    assert by_line[44]["reasons"][0] == UNKNOWN
    if suffix == "parquet":
        assert parquet.read_table(output).to_pylist() == rows
    elif suffix == "jsonl":
        assert list(map(json.loads, output.open())) == rows
    else:
        written = list(csv.DictReader(output.open()))
        assert [row["line"] for row in written] == [str(row["line"]) for row in rows]
        assert written[0]["reasons"] == ", ".join(rows[0]["reasons"])


def test_inspect_takes_rows_in_memory_and_many_files(tiny_run, tmp_path):
    rows = make_reviews(6, seed=2)
    frame = [{"text": text, "label": label} for text, label in rows]
    in_memory = tfhub_ft.inspect(tiny_run, data=frame)
    for number in range(2):
        write_csv(tmp_path / f"part-{number}.csv", rows[number * 3 : number * 3 + 3])
    in_files = tfhub_ft.inspect(tiny_run, data=str(tmp_path / "part-*.csv"))
    assert [row["text"] for row in in_files] == [row["text"] for row in in_memory]
    assert {row["file"] for row in in_files} == {str(tmp_path / "part-0.csv"), str(tmp_path / "part-1.csv")}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_inspect_keeps_the_other_columns(tiny_run, tmp_path, suffix):
    rows = [{"id": n, "review": text, "score": 5, "class": label} for n, (text, label) in enumerate(make_reviews(6))]
    data = tmp_path / f"rows.{suffix}"
    if suffix == "jsonl":
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        write_csv(data, [tuple(row.values()) for row in rows], header=tuple(rows[0]))
    inspected = tfhub_ft.inspect(tiny_run, data=data, output=tmp_path / "out.csv")
    assert list(inspected[0])[-4:] == ["reasons", "score", "id", "input_score"]
    assert sorted(str(row["id"]) for row in inspected) == ["0", "1", "2", "3", "4", "5"]
    by_text = {row["review"]: str(row["id"]) for row in rows}
    assert all(str(row["id"]) == by_text[row["text"]] for row in inspected)
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [str(row["id"]) for row in inspected]


def test_inspect_of_rows_without_labels_finds_uncertain_ones(tiny_run, tmp_path, capsys):
    texts = [text for text, _ in make_reviews(20, seed=4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "rows.txt").write_text("\n".join(texts))
    by_json, by_line = (tfhub_ft.inspect(tiny_run, data=tmp_path / name) for name in ("rows.jsonl", "rows.txt"))
    assert "without labels; only uncertain predictions are found" in capsys.readouterr().err
    assert [row["text"] for row in by_json] == [row["text"] for row in by_line]
    assert by_json[0]["label"] is None
    assert "label_probability" not in by_json[0]
    assert by_json[0]["score"] <= 0.5
    assert {reason for row in by_json for reason in row["reasons"]} <= {UNCERTAIN}


def test_inspect_warns_of_training_rows(tiny_run, reviews_csv, tmp_path, capsys):
    tfhub_ft.inspect(tiny_run, data=reviews_csv)
    assert "contains about 100% of the rows that" in capsys.readouterr().err
    tfhub_ft.inspect(
        tiny_run, data=write_csv(tmp_path / "new.csv", [("we love it", "positive"), ("so sad", "negative")])
    )
    assert "trained on" not in capsys.readouterr().err


def test_inspect_refuses_other_outputs_and_recipes(tiny_run, tiny_chat_run, reviews_csv, tmp_path):
    with pytest.raises(InputError, match=r"--output rows.xlsx: must end in .csv, .tsv, .jsonl or .parquet"):
        tfhub_ft.inspect(tiny_run, data=reviews_csv, output="rows.xlsx")
    with pytest.raises(InputError, match="--output"):
        tfhub_ft.inspect(tiny_run, data=reviews_csv, output=reviews_csv)
    with pytest.raises(InputError, match="predicts neither labels nor a number of a row, which inspect needs"):
        tfhub_ft.inspect(tiny_chat_run, data=reviews_csv)
    with pytest.raises(InputError, match="not found"):
        tfhub_ft.inspect(tiny_run, data=tmp_path / "none.csv")


def test_inspect_refuses_rows_without_numbers(tiny_run, tmp_path, monkeypatch):
    run = tfhub_ft.Run(tiny_run)
    names = ("delimiter", "encoding", "score_column", "text_column", "text", "long_texts")
    monkeypatch.setattr(run, "settings", SimpleNamespace(**dict.fromkeys(names), header=True))
    monkeypatch.setattr(run, "recipe", SimpleNamespace(task=Regression(("text",))))
    (tmp_path / "rows.csv").write_text("text\ngood\n")
    with pytest.raises(InputError, match="column of the numbers not found"):
        tfhub_ft.inspect(run, data=tmp_path / "rows.csv")
