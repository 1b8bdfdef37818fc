import os
import re

import click
import pytest
from click.testing import CliRunner

from tfhub_ft.cli.commands import Command, Group, GroupedOption, is_debug, option
from tfhub_ft.cli.main import COMMANDS, group
from tfhub_ft.cli.predict import command as predict_command
from tfhub_ft.utils.trust import trusts_all

GENERAL_OPTIONS = ("--quiet", "--debug", "--trust")


pytestmark = pytest.mark.usefixtures("general_options")


def headings(help_text):
    return [line[:-1] for line in help_text.splitlines() if line.endswith(":") and not line.startswith(" ")]


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS), ["encoders", "list"], ["train", "spam"]])
def test_every_command_lists_the_general_options(words):
    help_text = CliRunner().invoke(group, [*words, "--help"]).output
    for name in GENERAL_OPTIONS:
        assert re.search(rf"^  {name} ", help_text, re.MULTILINE)


@pytest.mark.parametrize("arguments", [["--trust", "list"], ["list", "--trust"]])
def test_general_options_work_before_and_after_a_subcommand(arguments):
    @click.group(cls=Group)
    def tool():
        pass

    @tool.command("list")
    def list_():
        print(trusts_all(), is_debug())

    assert CliRunner().invoke(tool, arguments).output == "True False\n"


def test_debug_restores_the_log_of_tensorflow(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")

    @click.command(cls=Command)
    def tool():
        print(is_debug(), os.environ.get("TF_CPP_MIN_LOG_LEVEL"))

    assert CliRunner().invoke(tool, ["--debug"]).output == "True None\n"


def test_debug_works_where_a_recipe_file_cannot_be_loaded(tmp_path):
    (tmp_path / "mine.py").write_text("import nothing_like_this")
    arguments = ["train", str(tmp_path / "mine.py")]
    assert CliRunner().invoke(group, [*arguments, "--", "--debug"]).exit_code
    assert not is_debug()
    assert CliRunner().invoke(group, [*arguments, "--debug"]).exit_code
    assert is_debug()


def test_help_lists_options_by_group_and_general_ones_last():
    @click.command(cls=Command)
    @option("--rows", group="Data", help="Rows.")
    @option("--units", group="Model", help="Units.")
    @option("--columns", group="Data", help="Columns.")
    def tool():
        pass

    help_text = CliRunner().invoke(tool, ["--help"]).output
    assert headings(help_text) == ["Data", "Model", "General"]
    assert help_text.index("--rows") < help_text.index("--columns") < help_text.index("--units")


def test_help_of_a_recipe_starts_with_the_most_used_options():
    help_text = CliRunner().invoke(group, ["train", "sentiment", "--help"]).output
    assert headings(help_text) == ["Most used", "Data", "Model", "Training", "Fine-tuning method", "Runtime", "General"]
    most_used = help_text.split("Most used:")[1].split("\nData:")[0]
    assert 10 <= most_used.count("\n  --") <= 18
    assert "--data" in most_used
    assert "[default: minilm-l6]" in most_used


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["model", "--", "--quiet", "-5 degrees"], ("--quiet", "-5 degrees")),
        (["model", "--text-column", "--trust", "a text"], ("a text",)),
    ],
)
def test_predict_takes_texts_that_look_like_options(arguments, texts, monkeypatch):
    seen = {}
    monkeypatch.setattr(predict_command, "callback", lambda **values: seen.update(values))
    assert CliRunner().invoke(predict_command, arguments).exit_code == 0
    assert seen["texts"] == texts
    assert not trusts_all()


def test_predict_error_says_how_to_pass_a_text_with_a_dash():
    output = CliRunner().invoke(predict_command, ["model", "-5 degrees"]).output
    assert "Put -- before texts that start with a dash" in output


def test_grouped_option_has_its_group():
    assert GroupedOption(["--rows"], group="Data").group == "Data"
