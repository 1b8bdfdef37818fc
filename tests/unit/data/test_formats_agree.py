"""The same rows in every format are the same rows of a run."""

import json

import pandas as pd
import pytest

from tests.conftest import make_reviews
from tfhub_ft.data.datasets import load_dataset
from tfhub_ft.recipe import load_recipe

FRAME = pd.DataFrame(make_reviews(60, seed=3), columns=["text", "label"]).assign(id=range(60))


def write_folder(path):
    for number, (text, label) in enumerate(zip(FRAME["text"], FRAME["label"])):
        (path / label).mkdir(parents=True, exist_ok=True)
        (path / label / f"{number}.txt").write_text(text)


WRITERS = {
    "rows.tsv": lambda path: FRAME.to_csv(path, sep="\t", index=False),
    "rows.csv.gz": lambda path: FRAME.to_csv(path, index=False),
    "rows.jsonl": lambda path: FRAME.to_json(path, orient="records", lines=True),
    "rows.json": lambda path: FRAME.to_json(path, orient="records", indent=2),
    "list.jsonl": lambda path: path.write_text(json.dumps(FRAME.to_dict("records"))),
    "pretty.jsonl": lambda path: path.write_text(
        "\n".join(json.dumps(row, indent=2) for row in FRAME.to_dict("records"))
    ),
    "rows.parquet": lambda path: FRAME.to_parquet(path),
    "categories.parquet": lambda path: FRAME.astype({"label": "category"}).to_parquet(path, row_group_size=7),
    "rows.feather": lambda path: FRAME.to_feather(path),
    "rows.xlsx": lambda path: FRAME.to_excel(path, index=False),
    "folder": write_folder,
}


def splits_of(path):
    recipe = load_recipe("sentiment")
    data = load_dataset(recipe.task, recipe.settings.replaced({"data": path}), recipe.demo)
    return data.labels, {name: [row.values for row in split.rows] for name, split in data.splits.items()}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    FRAME.to_csv(path, index=False)
    return splits_of(path)


@pytest.mark.parametrize("name", WRITERS)
def test_format_gives_the_splits_of_a_csv_file(name, expected, tmp_path):
    WRITERS[name](tmp_path / name)
    assert splits_of(tmp_path / name) == expected
    assert sum(map(len, expected[1].values())) == 60
