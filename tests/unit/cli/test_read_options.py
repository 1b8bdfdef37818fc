import click
import pytest
from click.testing import CliRunner

from tfhub_ft.cli.read_options import reading_options


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
    assert parsed() == options | ({"label_separator": None} if labels else {})


def test_reading_options_are_parsed(parsed):
    options = parsed("--no-header", "--delimiter", "tab", "--encoding", "cp1252", "--skip-bad-rows")
    assert (options["header"], options["delimiter"], options["encoding"]) == (False, "tab", "cp1252")
    assert options["skip_bad_rows"]
