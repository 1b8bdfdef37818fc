import json

import numpy as np
import pytest

from tests.conftest import make_reviews, write_csv
from tfhub_ft.data import sequences
from tfhub_ft.data.datasets import load_dataset
from tfhub_ft.data.sequences import OnDisk
from tfhub_ft.recipe import load_recipe


def loaded(recipe, **settings):
    recipe = load_recipe(recipe)
    return load_dataset(recipe.task, recipe.settings.replaced(settings), recipe.demo)


@pytest.mark.parametrize("recipe", ["sentiment", "intent", "multilabel", "similarity", "ner", "chat", "qa", "adapt"])
def test_rows_on_disk_are_the_same_training_data(recipe, monkeypatch):
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


def test_rows_that_stand_in_two_files_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sequences, "IN_MEMORY", 10)
    rows = make_reviews(40)
    train = write_csv(tmp_path / "train.csv", rows)
    test = write_csv(tmp_path / "test.csv", [*rows[:3], ("a text of its own", "positive")])
    validation = write_csv(tmp_path / "validation.csv", [("another", "positive"), ("and another", "negative")])
    loaded("sentiment", train=str(train), validation=str(validation), test=str(test))
    assert "Warning: 3 of 4 test rows also stand in the training rows." in capsys.readouterr().err


def test_what_is_described_can_be_written_and_compared(reviews_csv):
    data = loaded("sentiment", data=str(reviews_csv))
    written = json.loads(json.dumps(data.described()))
    assert data.is_of(written)
    written["train"]["lines"][0] += 1
    assert not data.is_of(written)
