import json

import numpy as np
import pytest

import tfhub_ft
from tests.conftest import write_csv
from tfhub_ft.data.datasets import Fold, load_dataset
from tfhub_ft.data.memory_rows import take_memory_rows
from tfhub_ft.recipe import load_recipe
from tfhub_ft.training.keras_arguments import KerasArguments
from tfhub_ft.training.repeats import Repeat, check_repeats, train_repeats
from tfhub_ft.training.start import load_rows, read_settings
from tfhub_ft.utils.console import recorded_warnings
from tfhub_ft.utils.errors import InputError, Preempted


def rows_of(dataset):
    return {name: [(row.values["text"], row.values["label"]) for row in s.rows] for name, s in dataset.splits.items()}


def settings_of(path, **settings):
    return read_settings(load_recipe("topic"), None, {"data": path, **settings})[0]


def folds_of(path, count):
    return [load_rows(load_recipe("topic"), settings_of(path), {}, fold=Fold(number, count)) for number in range(count)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folds": 1}, "^--folds 1: must be at least 2; omit it"),
        ({"seeds": 0}, "^--seeds 0: must be at least 2; omit it"),
        ({"seeds": 2.5}, "^seeds: expected an integer, got a float"),
        ({"folds": True}, "^folds: expected an integer, got a bool"),
        ({"folds": 2, "seeds": 2}, "^--folds: cannot be combined with --seeds"),
        ({"folds": 2, "train": "a.csv"}, "^--train: cannot be combined with --folds, which splits all rows; pass one"),
        ({"folds": 2, "train": "a.csv", "validation": "b.csv", "test": "c.csv"}, "^--train: cannot be combined"),
        ({"seeds": 2, "strategy": "multi-worker"}, "^--seeds: not available with several workers"),
        ({"seeds": 3, "seed": 2**31 - 3}, "^--seeds 3: with --seed 2147483645, seeds exceed 2147483646"),
        ({"seeds": 2, "epochs": 0}, "^--epochs 0: must be at least 1"),
        ({"folds": 2, "data": "missing.csv"}, "missing.csv"),
    ],
)
def test_train_refuses_repeats_before_it_writes(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        tfhub_ft.train("topic", output_dir=tmp_path / "run", **arguments)
    assert [*tmp_path.iterdir()] == []


def test_train_refuses_objects_that_train_one_model(tmp_path):
    import keras

    with pytest.raises(InputError, match="^callbacks: cannot be combined with folds or seeds"):
        tfhub_ft.train("topic", output_dir=tmp_path / "run", seeds=2, callbacks=[keras.callbacks.TerminateOnNaN()])
    with pytest.raises(InputError, match="^optimizer: one object trains one model; with folds or seeds, pass a funct"):
        tfhub_ft.train("topic", output_dir=tmp_path / "run", seeds=2, optimizer=keras.optimizers.Adam())


def test_train_refuses_to_resume_repeats_of_a_single_run(tiny_run):
    with pytest.raises(
        InputError, match=r"^--seeds: not found in .*tiny, which has a single run or none; leave the option out"
    ):
        tfhub_ft.train("sentiment", output_dir=tiny_run, seeds=3, resume=True)


def test_train_refuses_to_resume_repeats_without_a_folder():
    with pytest.raises(InputError, match="^--resume: needs --output-dir"):
        tfhub_ft.train("sentiment", seeds=3, resume=True)


def test_check_repeats_returns_the_kind_and_the_count():
    assert check_repeats(None, None) is None
    assert check_repeats(5, None) == ("folds", 5)
    assert check_repeats(None, 3) == ("seeds", 3)


def test_folds_test_each_row_once_and_keep_equal_texts_together(tmp_path):
    rows = [(f"text {number % 40}", "abc"[number % 40 % 3]) for number in range(60)]
    folds = [rows_of(dataset) for dataset in folds_of(write_csv(tmp_path / "rows.csv", rows), 4)]
    assert sorted(row for fold in folds for row in fold["test"]) == sorted(rows)
    for fold in folds:
        assert sorted(row for part in fold.values() for row in part) == sorted(rows)
        texts = [{text for text, _ in part} for part in fold.values()]
        assert not (texts[0] & texts[2] or texts[1] & texts[2] or texts[0] & texts[1])
        assert {label for _, label in fold["test"]} == {label for _, label in fold["train"]} == set("abc")
        assert 12 <= len(fold["test"]) <= 18


def test_folds_have_the_labels_of_all_rows(tmp_path):
    rows = [(f"text {number}", "ab"[number % 2]) for number in range(40)] + [("a rare text", "z")]
    path = write_csv(tmp_path / "rows.csv", rows)
    with recorded_warnings() as warnings:
        datasets = folds_of(path, 5)
    assert {tuple(dataset.labels) for dataset in datasets} == {("a", "b", "z")}
    assert any("labels with fewer rows than folds (z: 1)" in warning for warning in warnings)
    with pytest.raises(InputError, match=r"^--folds 50: .*rows\.csv has too few rows with distinct texts"):
        folds_of(path, 50)


def test_folds_of_rows_in_memory_are_found_again(tmp_path):
    rows = [{"text": f"{label} film {number}", "label": label} for number in range(9) for label in ("good", "bad")]
    plain, objects = take_memory_rows({"data": rows}, ("data",))
    recipe, settings = load_recipe("topic"), settings_of(plain["data"])
    fold = load_rows(recipe, settings, objects, fold=Fold(1, 3))
    splits = fold.described()
    assert len(fold.memory_digests) == 1
    assert {entry["sha256"] for entry in splits.values()} == {*fold.memory_digests}
    again = load_dataset(recipe.task, settings, recipe.demo, labels=fold.labels, splits=splits, objects=objects)
    assert rows_of(again) == rows_of(fold)
    assert again.matches(splits)


def test_repeat_gives_all_seeds_the_rows_of_the_first(tmp_path):
    rows = [(f"text {number}", "ab"[number % 2]) for number in range(60)]
    path = write_csv(tmp_path / "rows.csv", rows)
    repeat = Repeat("seeds", 3, 2, lambda: None)
    third = repeat.load_rows(load_recipe("topic"), settings_of(path, seed=9), {})
    assert rows_of(third) == rows_of(load_rows(load_recipe("topic"), settings_of(path, seed=7), {}))
    assert rows_of(third) != rows_of(load_rows(load_recipe("topic"), settings_of(path, seed=9), {}))


def test_train_repeats_compares_settings_by_their_checked_values(tmp_path):
    started = []

    def train_run(recipe, folder, config, settings, keras_arguments, *, repeat, **flags):
        repeat.begin()
        started.append(settings)
        raise Preempted("stopped")

    def repeat(*, resume=False, **settings):
        arguments = "topic", tmp_path / "run", None, settings, KerasArguments()
        train_repeats(train_run, *arguments, repeats=("seeds", 2), resume=resume, recover=False)

    with pytest.raises(Preempted, match="continue with --resume"):
        repeat(data=tmp_path / "rows.csv", batch_size=np.int64(8), learning_rate="1e-4")
    recorded = {"data": str(tmp_path / "rows.csv"), "batch_size": 8, "learning_rate": 1e-4}
    assert json.loads((tmp_path / "run" / "repeats.json").read_text())["settings"] == recorded
    with pytest.raises(Preempted):
        repeat(resume=True, batch_size=8, learning_rate=0.0001)
    assert started == [{**recorded, "seed": 0}] * 2
    with pytest.raises(InputError, match=r"run: already has a run; choose another folder, or continue with --resume$"):
        repeat(data=tmp_path / "rows.csv")
    with pytest.raises(InputError, match=r"^--batch-size 4: the runs in .*run were started with 8; leave the option"):
        repeat(resume=True, batch_size=4)
