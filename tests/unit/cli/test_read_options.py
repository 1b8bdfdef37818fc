import click
import pytest
from click.testing import CliRunner

from tfhub_ft.cli.read_options import COLUMNS, reading_options
from tfhub_ft.recipe import RECIPES, load_recipe
from tfhub_ft.settings import TEMPLATES, names_columns


@pytest.fixture(params=[True, False])
def labels(request):
    return request.param


@pytest.fixture
def parsed(labels):
    def parse(*arguments):
        seen = {}
        command = click.command()(reading_options(labels=labels)(lambda **options: seen.update(options)))
        assert CliRunner().invoke(command, arguments).exit_code == 0
        return seen

    return parse


def test_reading_options_default_to_those_of_the_run(parsed, labels):
    options = {"skip_bad_rows": False, "delimiter": None, "encoding": None, "header": None}
    columns = dict.fromkeys([*COLUMNS, *TEMPLATES.values()])
    assert parsed() == options | ({"label_separator": None, **columns} if labels else {})


def test_columns_are_those_of_all_recipes():
    names = {name for recipe in RECIPES for name in load_recipe(recipe).settings.names() if names_columns(name)}
    names = {name for name in names if not name.startswith(("validation_", "test_"))}
    assert names == {*COLUMNS, *TEMPLATES.values()}


def test_reading_options_are_parsed(parsed):
    options = parsed("--no-header", "--delimiter", "tab", "--encoding", "cp1252", "--skip-bad-rows")
    assert (options["header"], options["delimiter"], options["encoding"]) == (False, "tab", "cp1252")
    assert options["skip_bad_rows"]
