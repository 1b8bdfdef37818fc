import json

import numpy as np
import pytest

from tests.conftest import make_reviews, write_csv
from tfhub_ft.data import sequences
from tfhub_ft.data.datasets import load_dataset
from tfhub_ft.data.sequences import OnDisk
from tfhub_ft.metrics import UNSEEN
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError


def loaded(recipe, **settings):
    recipe = load_recipe(recipe)
    return load_dataset(recipe.task, recipe.settings.replaced(settings), recipe.demo)


@pytest.mark.parametrize(
    "recipe", ["sentiment", "intent", "multilabel", "similarity", "regression", "ner", "retrieval", "qa", "adapt"]
)
def test_load_dataset_reads_the_same_rows_from_disk(recipe, monkeypatch):
    in_memory = loaded(recipe, seed=3)
    monkeypatch.setattr(sequences, "IN_MEMORY", 10)
    on_disk = loaded(recipe, seed=3)
    assert on_disk.described() == in_memory.described()
    assert on_disk.labels == in_memory.labels
    for name, split in on_disk.splits.items():
        assert isinstance(split.rows, OnDisk)
        assert list(split.rows) == in_memory.splits[name].rows
        for one, other in zip(on_disk.targets[name], in_memory.targets[name]):
            np.testing.assert_array_equal(one, other)


def test_load_dataset_warns_of_texts_in_two_splits(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sequences, "IN_MEMORY", 10)
    rows = make_reviews(40)
    train = write_csv(tmp_path / "train.csv", rows)
    test = write_csv(
        tmp_path / "test.csv", [*rows[:2], (f" {rows[2][0].upper()} ", rows[2][1]), ("a text of its own", "positive")]
    )
    validation = write_csv(tmp_path / "validation.csv", [("another", "positive"), ("and another", "negative")])
    loaded("sentiment", train=str(train), validation=str(validation), test=str(test))
    assert "Warning: 3 of 4 test rows repeat a text of the training rows" in capsys.readouterr().err


def test_columns_of_files_may_have_other_names(tmp_path):
    rows = make_reviews(12)
    files = {
        "train": write_csv(tmp_path / "train.csv", rows, ("text", "label")),
        "validation": write_csv(tmp_path / "validation.csv", rows, ("headline", "verdict")),
        "test": write_csv(tmp_path / "test.csv", rows, ("sentence", "y")),
    }
    names = {"validation_text_column": "headline", "validation_label_column": "verdict", "test_label_column": "y"}
    data = loaded("topic", **files, **names)
    assert [row.values for row in data.splits["validation"].rows] == [row.values for row in data.splits["test"].rows]
    names = {"validation_text": "{headline}!", "validation_label_column": "verdict", "test_label_column": "y"}
    data = loaded("topic", text="{text}!", label_column="label", **files, **names, test_text_column="sentence")
    texts = {name: split.rows[0].values["text"] for name, split in data.splits.items()}
    assert texts == {"train": f"{rows[0][0]}!", "validation": f"{rows[0][0]}!", "test": rows[0][0]}


@pytest.mark.parametrize(
    ("recipe", "header", "names"),
    [
        ("pair", ("one", "two", "y"), {"first_column": "one", "second_column": "two", "label_column": "y"}),
        ("similarity", ("one", "two", "y"), {"first_text": "{one}", "second_column": "two", "score_column": "y"}),
    ],
)
def test_columns_of_pairs_may_have_other_names(recipe, header, names, tmp_path):
    rows = [(f"a {number}", f"b {number}", str(number % 2)) for number in range(12)]
    train = write_csv(tmp_path / "train.csv", rows, ("sentence1", "sentence2", "label"))
    test = write_csv(tmp_path / "test.csv", rows, header)
    options = {f"test_{name}": value for name, value in names.items()}
    data = loaded(recipe, train=train, test=test, **options)
    assert data.splits["test"].rows[0].values["sentence1"] == "a 0"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": "train"}, "--test-label-column: requires --test; pass both"),
        ({"train": "train"}, "--test-label-column: requires --test; pass both"),
        ({"train": "train", "test": "test", "test_label_column": "z"}, "name one of them with --test-label-column"),
        ({"train": "train", "test": "test", "test_text": "{z}"}, "column 'z' of --test-text '{z}' not found"),
    ],
)
def test_other_names_of_columns_need_their_file(settings, message, tmp_path):
    files = {name: write_csv(tmp_path / f"{name}.csv", make_reviews(12)) for name in ("train", "test")}
    settings = {name: files.get(value, value) for name, value in settings.items()}
    with pytest.raises(InputError) as caught:
        loaded("topic", **{"test_label_column": "label", **settings})
    assert message in str(caught.value)


def write_multilabel(path, labels):
    rows = [{"text": f"text {number}", "labels": each} for number, each in enumerate(labels)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_load_dataset_keeps_rare_labels_in_training(tmp_path, capsys):
    labels = [["ab"[number % 2], "c"] for number in range(60)]
    labels[7].append("once")
    path = write_multilabel(tmp_path / "rows.jsonl", labels)
    data = loaded("multilabel", data=path)
    assert any("once" in row.values["labels"] for row in data.splits["train"].rows)
    assert data.labels == ["a", "b", "c", "once"]
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Warning")]
    assert warnings == [
        "Warning: 1 label without validation rows (once: 1), 1 label without test rows (once: 1): the scores do not"
        " cover them; the counts are training rows"
    ]


def test_load_dataset_counts_unseen_labels_as_wrong(tmp_path, capsys):
    train = write_csv(tmp_path / "train.csv", make_reviews(40))
    test = write_csv(tmp_path / "test.csv", [*make_reviews(4, seed=1), ("meh", "neutral"), ("so so", "neutral")])
    data = loaded("sentiment", train=str(train), test=str(test))
    assert data.targets["test"].tolist() == [1, 0, 1, 0, UNSEEN, UNSEEN]
    assert f"Warning: {test}: 1 label not seen in training (neutral: 2)" in capsys.readouterr().err


def test_load_dataset_drops_rare_labels_from_every_file(tmp_path, capsys):
    rows = [*make_reviews(40), ("meh", "neutral"), ("so so", "neutral")]
    train = write_csv(tmp_path / "train.csv", rows)
    test = write_csv(tmp_path / "test.csv", [*make_reviews(4, seed=1), ("well", "neutral")])
    data = loaded("sentiment", train=str(train), test=str(test), min_label_rows=3)
    assert data.labels == ["negative", "positive"]
    assert [len(data.splits[name].rows) for name in ("train", "validation", "test")] == [34, 6, 4]
    assert data.described()["train"]["dropped_labels"] == {"neutral": 2}
    err = capsys.readouterr().err
    assert f"{train}: dropped 1 rare label by number of rows: neutral: 2" in err
    assert f"{test}: dropped 1 rare label by number of rows: neutral: 1" in err
    assert "Warning" not in err


def weighted(path, weights, header="text,label,importance"):
    rows = [f"{text},{label},{weight}" for (text, label), weight in zip(make_reviews(len(weights)), weights)]
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return str(path)


def test_load_dataset_keeps_weights_with_their_rows(tmp_path):
    path = weighted(tmp_path / "rows.csv", [number / 4 for number in range(40)])
    data = loaded("sentiment", data=path, weight_column="importance")
    expected = [(row.line - 2) / 4 for row in data.splits["train"].rows]
    assert data.weights.tolist() == expected
    assert data.weights.dtype == np.float32
    assert loaded("sentiment", data=path).weights is None


def test_load_dataset_reads_no_weights_of_other_files(tmp_path):
    train = weighted(tmp_path / "train.csv", [1.5] * 40)
    test = write_csv(tmp_path / "test.csv", make_reviews(4, seed=1))
    data = loaded("sentiment", train=train, validation=str(test), test=str(test), weight_column="importance")
    assert data.weights.tolist() == [1.5] * 40
    assert all("weight" not in row.values for row in data.splits["test"].rows)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("-0.5", r"line 2: column 'importance' is -0\.5, a negative weight; weights are numbers of at least 0"),
        ("high", "line 2: column 'importance' is 'high', not a number"),
        ("nan", "line 2: column 'importance' is 'nan', not a finite number"),
        ("inf", "line 2: column 'importance' is 'inf', not a finite number"),
        ("", "line 2: column 'importance' is empty"),
    ],
)
def test_load_dataset_refuses_bad_weights(tmp_path, weight, message):
    path = weighted(tmp_path / "rows.csv", [weight, *[1] * 39])
    with pytest.raises(InputError, match=rf"rows\.csv, {message}"):
        loaded("sentiment", data=path, weight_column="importance")
    data = loaded("sentiment", data=path, weight_column="importance", skip_bad_rows=True)
    assert sum(len(split.rows) for split in data.splits.values()) == 39


def test_load_dataset_refuses_missing_and_zero_weights(tmp_path):
    path = weighted(tmp_path / "rows.csv", [0] * 40)
    with pytest.raises(InputError, match=r"rows\.csv: every training row has the weight 0 in column 'importance'; at"):
        loaded("sentiment", data=path, weight_column="importance")
    with pytest.raises(InputError, match="column 'weights' not found; the columns are .*--weight-column"):
        loaded("sentiment", data=path, weight_column="weights")
    with pytest.raises(InputError, match="label and weight are both read from 'label'; name another with --weight-col"):
        loaded("sentiment", data=path, weight_column="label")


def test_load_dataset_repeats_the_split_of_a_run(tmp_path, capsys):
    path = write_multilabel(tmp_path / "rows.jsonl", [["a"], ["b"], []] * 20)
    recipe = load_recipe("multilabel")
    settings = recipe.settings.replaced({"data": path})
    described = loaded("multilabel", data=path).described()
    # As another version may have split the rows.
    described["train"]["lines"], described["test"]["lines"] = [*range(1, 51)], [51, 60]
    described["validation"]["lines"] = [*range(52, 60)]
    for name in described:
        described[name]["rows"] = len(described[name]["lines"])
    capsys.readouterr()
    data = load_dataset(recipe.task, settings, recipe.demo, labels=["a", "b"], splits=described)
    assert data.matches(described)
    assert [row.line for row in data.splits["test"].rows] == [51, 60]
    assert capsys.readouterr().err == ""
    write_multilabel(tmp_path / "rows.jsonl", [["a"], ["b"], []] * 19)
    assert not load_dataset(recipe.task, settings, recipe.demo, labels=["a"], splits=described).matches(described)


def test_dataset_matches_its_written_description(reviews_csv):
    data = loaded("sentiment", data=str(reviews_csv))
    written = json.loads(json.dumps(data.described()))
    assert data.matches(written)
    written["train"]["lines"][0] += 1
    assert not data.matches(written)


def test_load_dataset_reads_the_files_of_a_pattern(tmp_path, reviews_csv):
    recipe = load_recipe("sentiment")
    rows = make_reviews(160)
    for number in range(3):
        write_csv(tmp_path / f"part-{number}.csv", rows[number * 60 : number * 60 + 60])
    whole = load_dataset(recipe.task, recipe.settings.replaced({"data": str(reviews_csv)}), recipe.demo)
    parts = load_dataset(recipe.task, recipe.settings.replaced({"data": str(tmp_path / "part-*.csv")}), recipe.demo)
    for name, split in whole.splits.items():
        assert [row.values for row in parts.splits[name].rows] == [row.values for row in split.rows]
    described = parts.described()["test"]
    assert [rows[number][0] for number in described["numbers"]] == [
        row.values["text"] for row in parts.splits["test"].rows
    ]
    assert len(described["sha256"]) == 3
    assert parts.matches(json.loads(json.dumps(parts.described())))
    (tmp_path / "part-3.csv").write_text("text,label\nanother good film,positive\n")
    again = load_dataset(recipe.task, recipe.settings.replaced({"data": str(tmp_path / "part-*.csv")}), recipe.demo)
    assert not again.matches(parts.described())


def test_load_dataset_names_the_file_of_a_bad_row(tmp_path):
    recipe = load_recipe("sentiment")
    write_csv(tmp_path / "part-0.csv", make_reviews(20))
    (tmp_path / "part-1.csv").write_text("text,label\n,positive\n")
    with pytest.raises(InputError, match=r"part-1\.csv, line 2"):
        load_dataset(recipe.task, recipe.settings.replaced({"train": str(tmp_path / "part-*.csv")}), recipe.demo)
    with pytest.raises(InputError, match="no file matches"):
        load_dataset(recipe.task, recipe.settings.replaced({"train": str(tmp_path / "none-*.csv")}), recipe.demo)


def test_columns_of_entities_may_have_other_names(tmp_path):
    lines = [json.dumps({"text": f"Ana flew {number}", "label": [[0, 3, "a"]]}) for number in range(12)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    (tmp_path / "test.jsonl").write_text(lines[0].replace('"text"', '"body"').replace('"label"', '"marks"'))
    names = {"test_text_column": "body", "test_entities_column": "marks"}
    data = loaded("ner", train=tmp_path / "train.jsonl", test=tmp_path / "test.jsonl", **names)
    assert data.splits["test"].rows[0].values == {"tokens": ["Ana", "flew", "0"], "tags": ["B-a", "O", "O"]}
