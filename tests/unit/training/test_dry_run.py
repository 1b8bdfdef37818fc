import pytest

from tests.conftest import write_csv
from tfhub_ft.data.datasets import load_dataset
from tfhub_ft.recipe import load_recipe
from tfhub_ft.training.dry_run import dry_run
from tfhub_ft.utils.errors import InputError


@pytest.mark.parametrize(
    ("recipe", "labels"),
    [
        ("sentiment", {"negative", "positive"}),
        ("ner", {"person", "place", "organization"}),
        ("qa", {"answer", "no answer"}),
        ("multilabel", {"app", "delivery", "packaging", "price", "quality", "support"}),
        ("similarity", set()),
    ],
)
def test_stratify_key_names_the_labels_of_rows(recipe, labels):
    recipe = load_recipe(recipe)
    rows = load_dataset(recipe.task, recipe.settings, recipe.demo).splits["train"].rows
    assert set().union(*map(recipe.task.stratify_key, rows)) == labels


def test_dry_run_names_a_bad_row(tmp_path):
    write_csv(tmp_path / "rows.csv", [("", "a")])
    with pytest.raises(InputError, match="rows.csv, line 2"):
        dry_run("sentiment", data=tmp_path / "rows.csv")
