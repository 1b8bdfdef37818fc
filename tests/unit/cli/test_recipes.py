import json

from click.testing import CliRunner

from tfhub_ft.cli.recipes import command
from tfhub_ft.recipe import RECIPES


def test_recipes_lists_each_recipe_with_its_encoders():
    table = CliRunner().invoke(command).output
    rows = json.loads(CliRunner().invoke(command, ["--json"]).output)
    assert [row["name"] for row in rows] == list(RECIPES)
    for row in rows:
        assert set(row) == {"name", "summary", "task", "recommended"}
        assert row["name"] in table
        assert all(name in table for name in row["recommended"])
