"""Rows in memory in place of files: splits, fingerprints and copies."""

import json

import numpy as np
import pytest

from tests.conftest import make_reviews, write_csv
from tfhub_ft.data import sequences
from tfhub_ft.data.datasets import load_dataset
from tfhub_ft.data.memory_rows import MemoryRows, is_in_memory, take_memory_rows
from tfhub_ft.recipe import load_recipe
from tfhub_ft.run import Run
from tfhub_ft.training.start import load_rows, start_training
from tfhub_ft.utils.errors import InputError

ROWS = [{"text": text, "label": label} for text, label in make_reviews(40)]
RECIPES = ["sentiment", "intent", "multilabel", "similarity", "ner", "retrieval", "qa", "adapt", "dialogue", "pair"]


def loaded(recipe, **settings):
    recipe = load_recipe(recipe)
    settings, objects = take_memory_rows(settings, ("data", "train", "validation", "test"))
    return load_rows(recipe, recipe.settings.replaced(settings), objects)


def parts(dataset):
    return {name: [row.values for row in split.rows] for name, split in dataset.splits.items()}


def digest_of(rows, recipe="sentiment", **settings):
    return loaded(recipe, data=rows, **settings).described()["train"]["sha256"]


def create_run(folder, **settings):
    """Return a run that is about to train."""
    with start_training("sentiment", folder, None, settings) as start:
        dataset = start.load_dataset()
        splits = dataset.described(folder)
        copied = {name: split.rows for name, split in dataset.splits.items()} if start.settings.copy_data else None
        return Run.create(folder, "sentiment", start.settings, dataset.labels, splits, None, copied), dataset


@pytest.mark.parametrize("name", RECIPES)
def test_load_rows_splits_objects_as_a_file(name):
    """The demo rows, as values of any JSON type and as a frame, give the splits, labels and targets of their file."""
    recipe = load_recipe(name)
    file = load_dataset(recipe.task, recipe.settings, recipe.demo)
    rows = {row.line: row.values for split in file.splits.values() for row in split.rows}
    dicts = [json.loads(json.dumps(rows[line])) for line in sorted(rows)]
    frame = pytest.importorskip("pandas").DataFrame(dicts)
    for data in (loaded(name, data=dicts), loaded(name, data=frame)):
        assert parts(data) == parts(file)
        assert data.labels == file.labels
        for split, targets in data.targets.items():
            for one, other in zip(targets, file.targets[split], strict=True):
                np.testing.assert_array_equal(one, other)
    assert loaded(name, data=dicts).described() == {
        split: {**entry, "file": "list in memory"} for split, entry in loaded(name, data=frame).described().items()
    }


def test_load_rows_takes_an_object_for_each_split(tmp_path):
    test = write_csv(tmp_path / "test.csv", make_reviews(10, seed=1))
    data = loaded("sentiment", train=ROWS, validation=ROWS[:6], test=str(test))
    assert [len(split.rows) for split in data.splits.values()] == [40, 6, 10]
    files = [entry["file"] for entry in data.described().values()]
    assert files == ["list in memory", "list in memory", str(test)]
    assert "lines" not in data.described()["train"]
    with pytest.raises(InputError, match=r"^list \(validation\), position 1 \(from 0\): column 'text' is empty"):
        loaded("sentiment", train=ROWS, validation=[ROWS[0], {"text": "", "label": "positive"}])


def test_load_rows_keeps_many_rows_on_disk(monkeypatch):
    expected = loaded("sentiment", data=ROWS)
    monkeypatch.setattr(sequences, "IN_MEMORY", 10)
    data = loaded("sentiment", data=pytest.importorskip("pandas").DataFrame(ROWS))
    assert parts(data) == parts(expected)
    assert isinstance(data.splits["train"].rows, sequences.OnDisk)
    assert data.memory_digests == expected.memory_digests


def test_digest_depends_on_the_values_that_are_read_alone():
    pandas = pytest.importorskip("pandas")
    digest = digest_of(ROWS)
    frame = pandas.DataFrame(ROWS)
    assert digest_of(frame) == digest_of(frame.assign(other=1)) == digest
    assert digest_of(frame.rename(columns={"text": "review"})) == digest
    assert digest_of(([row["text"] for row in ROWS], [row["label"] for row in ROWS])) == digest
    assert digest_of(frame[::-1]) != digest
    assert digest_of(ROWS[:-1]) != digest
    changed = [*ROWS[:-1], {**ROWS[-1], "text": f"{ROWS[-1]['text']}."}]
    assert digest_of(changed) != digest


def test_numbers_and_booleans_are_the_labels_of_a_jsonl_file(tmp_path):
    for values in ([0, 1], [0.0, 1.0], [False, True]):
        rows = [{"text": row["text"], "label": values[number % 2]} for number, row in enumerate(ROWS)]
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        file = loaded("topic", data=str(path))
        for data in (
            rows,
            pytest.importorskip("pandas").DataFrame(rows),
            pytest.importorskip("polars").DataFrame(rows),
        ):
            assert loaded("topic", data=data).labels == file.labels
            assert parts(loaded("topic", data=data)) == parts(file)


def test_skip_bad_rows_skips_rows_of_objects(capsys):
    rows = [*ROWS, {"text": None, "label": "positive"}, ("only one",)]
    data = loaded("sentiment", data=rows, skip_bad_rows=True)
    assert sum(len(split.rows) for split in data.splits.values()) == 40
    assert "list: skipped 2 bad rows (first: position 40 (from 0): column 'text' is null" in capsys.readouterr().err


def test_names_in_memory_are_not_read_as_files():
    assert is_in_memory(MemoryRows(ROWS).recorded_name)
    assert not any(map(is_in_memory, ("rows.csv", "", None)))
    with pytest.raises(InputError, match=r"^--data list in memory: not a file; pass the rows in Python, as data="):
        loaded("sentiment", data="list in memory")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": ROWS, "train": ROWS}, "--data: cannot be combined with --train"),
        ({"data": ROWS, "test": "test.csv"}, "--data: cannot be combined with --train"),
        ({"validation": ROWS}, "--validation: requires --train"),
        ({"data": 3}, r"data: expected a path \(str or Path\) or rows in memory, a DataFrame"),
        ({"train": (row for row in ROWS)}, "train: got a generator, which can be read only once"),
        ({"text_column": ROWS}, "--text-column: expected a string, got a list"),
    ],
)
def test_start_training_refuses_other_objects(settings, message):
    with pytest.raises(InputError, match=f"^{message}"), start_training("sentiment", None, None, settings) as start:
        start.load_dataset()


def test_resume_takes_equal_rows_of_any_type(tmp_path):
    pandas = pytest.importorskip("pandas")
    _, expected = create_run(tmp_path / "run", data=pandas.DataFrame(ROWS))

    def resumed(**settings):
        with start_training("sentiment", tmp_path / "run", None, settings, resume=True) as start:
            return start.load_dataset()

    for rows in (pandas.DataFrame(ROWS), ROWS):
        assert parts(resumed(data=rows)) == parts(expected)
    missing = "data was a DataFrame in memory, and --copy-data was not set; pass the same rows again"
    with pytest.raises(InputError, match=missing):
        resumed()
    for other in (ROWS[:30], ROWS[::-1], [*ROWS, ROWS[0]]):
        with pytest.raises(
            InputError, match="^list: has other rows than the run was trained on; pass them in the same"
        ):
            resumed(data=other)
    with pytest.raises(InputError, match="^--data rows.csv: the run in .* was started with DataFrame in memory"):
        resumed(data="rows.csv")
    with pytest.raises(InputError, match="--data: cannot be combined with --train"):
        resumed(train=ROWS)


def test_resume_takes_all_rows_in_memory_or_their_copy(tmp_path):
    _, expected = create_run(tmp_path / "run", train=ROWS, test=ROWS[:9], copy_data=True)

    def resumed(**settings):
        with start_training("sentiment", tmp_path / "run", None, settings, resume=True) as start:
            return start.load_dataset()

    assert parts(resumed()) == parts(resumed(train=ROWS, test=ROWS[:9])) == parts(expected)
    with pytest.raises(InputError, match="test was a list in memory, and only train was passed; pass the same"):
        resumed(train=ROWS)


def test_resume_refuses_rows_in_memory_for_a_run_on_files(tmp_path):
    create_run(tmp_path / "run", data=str(write_csv(tmp_path / "rows.csv", make_reviews(40))))
    with (
        pytest.raises(InputError, match="^--data list in memory: the run in .* was started with .*rows.csv"),
        start_training("sentiment", tmp_path / "run", None, {"data": ROWS}, resume=True),
    ):
        pass


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_load_rows_of_a_run_finds_its_copy(tmp_path, kind):
    file = write_csv(tmp_path / "rows.csv", make_reviews(40))
    _, expected = create_run(tmp_path / "run", data=str(file) if kind == "file" else ROWS, copy_data=True)
    file.unlink()
    moved = Run((tmp_path / "run").rename(tmp_path / "moved"))
    data = moved.load_rows()
    assert {name: list(split.rows) for name, split in data.splits.items()} == {
        name: list(split.rows) for name, split in expected.splits.items()
    }
    assert data.labels == expected.labels
    assert moved.splits["train"]["copy"]["file"] == "rows/train.jsonl"
    # The entries of a student have neither the places nor the copies of its teacher.
    assert data.matches(moved.splits)
    assert not {"copy", "relative"} & {*data.described(tmp_path)["train"]}
    # A copy is a file of rows as any other.
    again = loaded("sentiment", train=str(moved.path / "rows" / "train.jsonl"), seed=1)
    assert again.labels == expected.labels
    (moved.path / "rows" / "test.jsonl").write_text("")
    with pytest.raises(InputError, match=r"its training rows are not found: .*test\.jsonl has changed"):
        moved.load_rows()
    (moved.path / "rows" / "test.jsonl").unlink()
    with pytest.raises(InputError, match=r"its training rows are not found: .*test\.jsonl is missing"):
        moved.load_rows()


@pytest.mark.parametrize("name", RECIPES)
def test_copies_of_rows_round_trip(name, tmp_path):
    recipe = load_recipe(name)
    settings = recipe.settings.replaced({"copy_data": True})
    data = load_dataset(recipe.task, settings, recipe.demo)
    copied = {split: each.rows for split, each in data.splits.items()}
    run = Run.create(tmp_path / "run", name, settings, data.labels, data.described(tmp_path), None, copied)
    again = run.load_rows()
    assert {split: list(each.rows) for split, each in again.splits.items()} == copied
    for split, targets in again.targets.items():
        for one, other in zip(targets, data.targets[split], strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_run_that_was_killed_while_it_copied_rows_starts_again(tmp_path):
    run, _ = create_run(tmp_path / "run", data=ROWS, copy_data=True)
    (run.path / "recipe.yaml").unlink()
    assert Run.is_partial(run.path)


def test_load_rows_reads_the_same_order_for_each_fold():
    """A stream can be read only once, and a shuffled dataset has another order each time."""
    import tensorflow as tf

    from tfhub_ft.data.datasets import Fold

    pyarrow = pytest.importorskip("pyarrow")
    texts, labels = [row["text"] for row in ROWS], [row["label"] for row in ROWS]
    recipe = load_recipe("sentiment")
    for rows in (
        tf.data.Dataset.from_tensor_slices((texts, labels)).shuffle(40),
        pyarrow.Table.from_pylist(ROWS).to_reader(),
    ):
        settings, objects = take_memory_rows({"data": rows}, ("data",))
        test_texts = []
        for number in range(4):
            data = load_rows(recipe, recipe.settings.replaced(settings), objects, fold=Fold(number, 4))
            test_texts += [row.values["text"] for row in data.splits["test"].rows]
        assert sorted(test_texts) == sorted(texts)
