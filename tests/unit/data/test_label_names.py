"""Labels that are numbers or booleans have the same names in each format."""

import json

import pytest

from tests.conftest import write_csv
from tfhub_ft.data import sequences
from tfhub_ft.data.datasets import load_dataset
from tfhub_ft.data.label_names import LabelNames, common_names, known_names
from tfhub_ft.data.scored_rows import read_scored_rows
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError

TOPIC = load_recipe("topic")
NUMBER = 24


def write(path, labels):
    """Write rows with these labels in turn to a csv or jsonl file."""
    rows = [(f"text {number}", labels[number % len(labels)]) for number in range(NUMBER)]
    if path.suffix == ".csv":
        return write_csv(path, rows)
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return path


def loaded(recipe=TOPIC, **settings):
    return load_dataset(recipe.task, recipe.settings.replaced(settings), recipe.demo)


@pytest.mark.parametrize(
    ("values", "labels", "note"),
    [
        ([0, 1], ["0", "1"], "labels 0 and 1 are not texts; they are read as names"),
        ([0.0, 1.0], ["0", "1"], "labels 0.0 and 1.0 are read as 0 and 1"),
        (["0", "1"], ["0", "1"], None),
        (["0.0", "1.0"], ["0", "1"], "labels 0.0 and 1.0 are read as 0 and 1"),
        ([False, True], ["false", "true"], "labels false and true are not texts; they are read as names"),
        (["False", "True"], ["false", "true"], "labels False and True are read as false and true"),
        (["TRUE", "FALSE", "true"], ["false", "true"], "labels FALSE and TRUE are read as false and true"),
        ([1, True, 0, False], ["0", "1"], "labels false and true are read as 0 and 1"),
        (["1", "true", "0", "false"], ["0", "1"], "labels false and true are read as 0 and 1"),
        (["1", 1.0, 0, "0.0"], ["0", "1"], "labels 0.0 and 1.0 are read as 0 and 1"),
        ([10, 9.0, -1], ["-1", "9", "10"], "label 9.0 is read as 9"),
        (["spam", "ham"], ["ham", "spam"], None),
        (["True", "False", "half-true"], ["False", "True", "half-true"], None),
        (["01", "1"], ["01", "1"], None),
        (["v1.0", "v2.0"], ["v1.0", "v2.0"], None),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_labels_are_the_same_in_each_format(suffix, values, labels, note, tmp_path, capsys):
    path = write(tmp_path / f"rows{suffix}", values)
    data = loaded(data=path)
    assert data.labels == labels
    assert {row.values["label"] for split in data.splits.values() for row in split.rows} == set(labels)
    if suffix == ".jsonl":
        notes = [line for line in capsys.readouterr().err.splitlines() if "read as" in line]
        assert notes == ([f"{path}: {note}"] if note else [])


def test_many_labels_are_shortened_in_the_note():
    check = LabelNames()
    for number in range(12):
        check(float(number))
    assert check.notes() == [
        "labels 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0 ... are read as 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 ..."
    ]


def test_numbers_that_are_not_whole_are_reported(tmp_path, capsys):
    path = write(tmp_path / "rows.csv", ["0.5", "1.0"])
    assert loaded(data=path).labels == ["0.5", "1.0"]
    warning = f"Warning: {path}: labels such as '0.5' are numbers that are not whole; to predict numbers, train the"
    assert warning in capsys.readouterr().err
    with pytest.raises(InputError, match=r"rows.jsonl, line 1: column 'label' is a number that is not whole \(0.5\)"):
        loaded(data=write(tmp_path / "rows.jsonl", [0.5, 1.0]))


@pytest.mark.parametrize("train", [[0, 1], [False, True], ["0.0", "1.0"], ["False", "True"]])
@pytest.mark.parametrize("test", [[0, 1], [False, True], [0.0, 1.0], ["TRUE", "FALSE"]])
def test_labels_of_files_are_matched(train, test, tmp_path, capsys):
    train, test = write(tmp_path / "train.csv", train), write(tmp_path / "test.jsonl", test)
    data = loaded(train=train, test=test)
    assert {row.values["label"] for row in data.splits["test"].rows} == set(data.labels)
    assert len(data.labels) == 2
    err = capsys.readouterr().err
    assert "not seen in training" not in err
    assert "differ only" not in err
    rows = read_scored_rows(TOPIC.task, TOPIC.settings, data.labels, test)
    assert {row.values["label"] for row in rows} == set(data.labels)


@pytest.mark.parametrize("labels", [["0.0", "1.0"], ["False", "True"]])
def test_labels_of_earlier_runs_are_matched(labels, tmp_path):
    path = write(tmp_path / "rows.csv", labels)
    data = load_dataset(TOPIC.task, TOPIC.settings.replaced({"data": path}), TOPIC.demo, labels=labels)
    assert {row.values["label"] for row in data.splits["train"].rows} == set(labels)
    assert sorted(set(data.targets["train"].tolist())) == [0, 1]


def test_replaced_labels_stay_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(sequences, "IN_MEMORY", 10)
    data = loaded(data=write(tmp_path / "rows.csv", ["0.0", "1.0"]))
    assert data.labels == ["0", "1"]
    assert isinstance(data.splits["train"].rows, sequences.OnDisk)


@pytest.mark.parametrize("values", [["0", "1"], [0, 1], [0.0, 1.0], [False, True]])
@pytest.mark.parametrize("positive", [0, "0", 0.0, False, "false", "0.0"])
def test_positive_label_has_any_spelling(values, positive, tmp_path):
    path = write(tmp_path / "rows.jsonl", values)
    labels = loaded(load_recipe("spam"), data=path, positive_label=positive).labels
    assert labels in (["1", "0"], ["true", "false"])


def test_positive_label_must_be_a_label(tmp_path):
    path = write(tmp_path / "rows.jsonl", [0, 1])
    for positive in ("2", 2.5, "no label"):
        with pytest.raises(InputError, match="--positive-label"):
            loaded(load_recipe("spam"), data=path, positive_label=positive)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["1.0", "2.5"], {}),
        (["1.0", "x"], {"1.0": "1"}),
        (["-0.0", "+1.0"], {"-0.0": "0", "+1.0": "1"}),
        (["2", "true"], {}),
        ([], {}),
    ],
)
def test_common_names_keeps_other_labels(labels, names):
    assert common_names(labels) == names


@pytest.mark.parametrize(
    ("labels", "known", "names"),
    [
        (["true", "2"], ["0", "1"], {"true": "1"}),
        (["true"], ["0", "1", "2"], {}),
        (["1.0", "true"], ["0", "1", "2"], {"1.0": "1"}),
        (["TRUE"], ["false", "true", "mixed"], {}),
        (["1", "0"], ["yes", "no"], {}),
    ],
)
def test_known_names_matches_numbers_and_flags(labels, known, names):
    assert known_names(labels, known) == names
