"""Rare labels are dropped, and labels without training, validation or test rows are named."""

import pytest

from tfhub_ft.data.labels import (
    count_labels,
    drop_labels,
    rare_labels,
    warn_of_missing_labels,
    warn_of_spellings,
    warn_of_unseen_labels,
)
from tfhub_ft.data.rows import Row
from tfhub_ft.tasks.classification import Classification
from tfhub_ft.tasks.multilabel import Multilabel
from tfhub_ft.tasks.regression import Regression
from tfhub_ft.tasks.token_classification import TokenClassification
from tfhub_ft.utils.errors import InputError

ONE = [Row(i, {"text": f"t{i}", "label": label}) for i, label in enumerate("aaabbc", 2)]
SEVERAL = [Row(i, {"text": f"t{i}", "labels": tuple(labels)}) for i, labels in enumerate(["ab", "a", "", "abc"], 2)]
TAGS = [Row(2, {"tokens": ["x", "y", "z"], "tags": ["B-a", "I-a", "B-b"]}), Row(3, {"tokens": ["x"], "tags": ["B-a"]})]


def test_count_labels_counts_rows():
    assert count_labels(Classification(), ONE) == {"a": 3, "b": 2, "c": 1}
    assert count_labels(Multilabel(), SEVERAL) == {"a": 3, "b": 2, "c": 1}
    assert count_labels(TokenClassification(), TAGS) == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Positive", "positive"),
        ("very good", "very  good"),
        ("very good", "very\u00a0good"),
        ("good", "go\u200bod"),
        ("good", "good\ufeff"),
        ("1", "1.0"),
        ("1", "true"),
        ("False", "0"),
        ("yes", "TRUE"),
        ("-2", "-2.00"),
        ("Straße", "STRASSE"),
        ("\uff11", "1"),
    ],
)
def test_warn_of_spellings_names_similar_labels(one, other, capsys):
    warn_of_spellings({one: 1200, other: 3, "another": 2}, "f.csv")
    err = capsys.readouterr().err
    assert err.startswith("Warning: f.csv: labels that differ only in case, white space or the spelling of numbers")
    assert f"with their rows: {one!r} (1,200) and {other!r} (3);" in err
    assert err.count("\n") == 1


def test_warn_of_spellings_ignores_different_labels(capsys):
    labels = ["good", "not good", "1", "10", "1_0", "-1", "nano", "café", "cafe", "inf", "C", "C#"]
    warn_of_spellings(dict.fromkeys(labels, 1), "f.csv")
    assert capsys.readouterr().err == ""


def test_warn_of_spellings_names_possible_missing_values(capsys):
    warn_of_spellings({"None": 12, "NA": 3, "null": 1, "n/a": 2, "a": 9}, "f.csv", wanted=["null", None])
    assert capsys.readouterr().err == (
        "Warning: f.csv: labels that may be missing values, with their rows: None: 12, NA: 3, n/a: 2; they are kept"
        " as labels; remove the rows if their labels are missing\n"
    )


def test_rare_labels_rejects_a_limit_above_all_counts():
    assert rare_labels({"a": 3, "b": 2, "c": 1}, 3, "f.csv") == {"b": 2, "c": 1}
    assert rare_labels({"a": 3}, 0, "f.csv") == {}
    with pytest.raises(InputError, match="--min-label-rows 9: no label of f.csv has that many rows .*'a', has 3"):
        rare_labels({"a": 3, "b": 2}, 9, "f.csv")


@pytest.mark.parametrize(
    ("task", "rows", "kept"),
    [
        (Classification(), ONE, ["a", "a", "a"]),
        (Multilabel(), SEVERAL, [("a",), ("a",), (), ("a",)]),
        (TokenClassification(), TAGS, [["B-a", "I-a", "O"], ["B-a"]]),
    ],
)
def test_drop_labels_removes_rows_labels_or_tags(task, rows, kept, capsys):
    left = drop_labels(task, rows, ["b", "c"], "f.csv")
    assert [list(row.values.values())[1] for row in left] == kept
    assert [row.line for row in left] == [row.line for row in rows][: len(left)]
    assert capsys.readouterr().err.startswith("f.csv: dropped ")
    assert drop_labels(task, rows, ["d"], "f.csv") is rows


def test_drop_labels_logs_counts_and_rejects_dropping_all(capsys):
    drop_labels(Classification(), ONE, ["b", "c"], "f.csv")
    assert capsys.readouterr().err == "f.csv: dropped 2 rare labels by number of rows: b: 2, c: 1\n"
    with pytest.raises(InputError, match="f.csv: every row has a label that --min-label-rows drops"):
        drop_labels(Classification(), ONE, ["a", "b", "c"], "f.csv")


def test_warn_of_unseen_labels_names_labels_and_rows(capsys):
    warn_of_unseen_labels(Classification(), {"a": 5, "x": 1, "y": 1200}, ["a", "b"], "test.csv")
    warn_of_unseen_labels(TokenClassification(), {"x": 2}, ["O", "B-a", "I-a"], "test.conll")
    warn_of_unseen_labels(Classification(), {"a": 5}, ["a", "b"], "test.csv")
    warn_of_unseen_labels(Regression(), {"x": 2}, ["0.0", "1.0"], "test.csv")
    warn_of_unseen_labels(Classification(), {"A": 5}, ["a", "b"], "test.csv")
    assert capsys.readouterr().err.splitlines() == [
        "Warning: test.csv: 2 labels not seen in training (y: 1,200, x: 1); their rows count as wrong",
        "Warning: test.conll: 1 label not seen in training (x: 2); their rows count as wrong",
        "Warning: test.csv: 1 label not seen in training (A: 5); their rows count as wrong; 'A' is 'a' in training",
    ]


def test_warn_of_missing_labels_names_labels_and_rows(capsys):
    counts = {"train": {"a": 9, "b": 1, "c": 2}, "validation": {"a": 2}, "test": {"a": 2, "c": 1}}
    warn_of_missing_labels(Classification(), counts, ["a", "b", "c"])
    warn_of_missing_labels(Classification(), {**counts, "validation": counts["train"], "test": counts["train"]}, ["a"])
    assert capsys.readouterr().err.splitlines() == [
        "Warning: 2 labels without validation rows (c: 2, b: 1), 1 label without test rows (b: 1): the scores do not"
        " cover them; the counts are training rows"
    ]
