import pytest

from tfhub_ft.data.datasets import Split, load_dataset
from tfhub_ft.data.kept_rows import KeptRows
from tfhub_ft.data.rows import Row
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError

RECIPES = [
    "sentiment",
    "intent",
    "multilabel",
    "similarity",
    "regression",
    "ner",
    "retrieval",
    "qa",
    "adapt",
    "dialogue",
    "pair",
]


@pytest.mark.parametrize("name", RECIPES)
def test_kept_rows_round_trip(name, tmp_path):
    recipe = load_recipe(name)
    data = load_dataset(recipe.task, recipe.settings, recipe.demo)
    kept = KeptRows.drawn_from(data.splits, seed=1)
    kept.write(tmp_path / "kept.jsonl")
    assert KeptRows.read(tmp_path / "kept.jsonl", recipe.task.columns(recipe.settings)) == kept
    assert kept.verification
    assert list(kept.test) == list(data.splits["test"].rows)


def test_kept_rows_are_limited(tmp_path):
    rows = [Row(number, {"text": "a" * number}) for number in range(1, 3001)]
    kept = KeptRows.drawn_from({name: Split(tmp_path, rows) for name in ("train", "validation")}, seed=0)
    assert [len(each) for each in (kept.validation, kept.train, kept.calibration, kept.test)] == [1000, 0, 100, 0]


def test_kept_rows_name_a_damaged_file(tmp_path):
    (tmp_path / "kept.jsonl").write_text('{"kept_as": "test", "line": 1, "values": {"te')
    with pytest.raises(InputError, match=r"kept\.jsonl: cannot be read"):
        KeptRows.read(tmp_path / "kept.jsonl", [])


def test_kept_rows_skip_values_without_json(tmp_path):
    KeptRows([Row(1, {"text": {"a", "b"}})], [], [], []).write(tmp_path / "kept.jsonl")
    assert not list(tmp_path.iterdir())
