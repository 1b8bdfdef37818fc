import json

import pytest
from click.testing import CliRunner

from tfhub_ft.cli.main import COMMANDS, group
from tfhub_ft.settings import TextSettings, option_name


def refused(done, *words):
    """Check for exit code 2, one error line that contains the words, and no other output."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("Error: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in line


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name):
    result = CliRunner().invoke(group, [name, "--help"])
    assert result.exit_code == 0
    assert f"tfhub-ft {name}" in result.output.split("Usage:")[1].split("\n", 1)[1]


def test_each_setting_is_an_option_of_the_recipe():
    shown = CliRunner().invoke(group, ["train", "sentiment", "--help"]).output
    for name in TextSettings.names():
        assert option_name(name) in shown


def test_tables_print_as_json():
    recipes = json.loads(CliRunner().invoke(group, ["recipes", "--json"]).output)
    assert recipes[0]["name"] == "sentiment"
    encoders = json.loads(CliRunner().invoke(group, ["encoders", "list", "--json"]).output)
    assert encoders[0]["name"] == "minilm-l6"
    assert "bert-base-uncased" in CliRunner().invoke(group, ["encoders", "show", "bert-base-uncased"]).output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "sentimant"], ["sentimant", "did you mean sentiment"]),
        (["train", "sentiment", "--epochs", "-1"], ["--epochs", "at least 1"]),
        (["train", "sentiment", "--seq-length", "2"], ["--seq-length", "at least 3"]),
        (["train", "sentiment", "--data", "none.csv"], ["none.csv"]),
        (["train", "sentiment", "--encoder", "bert-bse-uncased"], ["bert-base-uncased"]),
        (["train", "sentiment", "--epochs", "many"], ["--epochs"]),
        (["train", "sentiment", "--epoch", "3"], ["--epoch"]),
        (["train", "sentiment", "--config", "none.yaml"], ["none.yaml"]),
        (["train", "sentiment", "--resume"], ["--output-dir"]),
        (["predict", "none", "a text"], ["none", "not found"]),
        (["predict", "none", "--output", "a.xlsx", "a text"], ["a.xlsx", ".jsonl"]),
        (["evaluate", "none", "--data", "rows.csv"], ["none", "not found"]),
        (["export", "none", "--output-dir", "out"], ["none", "not found"]),
        (["distill", "none", "--student", "layers:2", "--output-dir", "out"], ["none", "not found"]),
        (["distill", "none", "--output-dir", "out"], ["--student"]),
        (["benchmark", "none", "--data", "rows.csv"], ["none", "export.json", "tfhub-ft export"]),
        (["benchmark", "none", "--data", "rows.csv", "--picture", "a.txt"], ["a.txt", ".png"]),
        (["encoders", "show", "bert-base"], ["bert-base"]),
        (["encoders", "verify", "none"], ["none"]),
        (["encoders", "convert", "none", "out"], ["none"]),
        (["nothing"], ["nothing"]),
    ],
)
def test_wrong_command_line_is_one_line_and_writes_nothing(tmp_path, here, arguments, words):
    refused(here(*arguments), *words)
    assert not list(tmp_path.iterdir())


def test_missing_network_names_the_pull_command(tmp_path, monkeypatch, here):
    monkeypatch.setenv("TFHUB_FT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFHUB_FT_MIRROR", "http://127.0.0.1:9")
    done = here("train", "sentiment", "--encoder", "bert-base-uncased", "--output-dir", tmp_path / "run")
    refused(done, "tfhub-ft encoders pull bert-base-uncased")
    assert not (tmp_path / "run").exists()


def test_main_leaves_file_patterns_to_the_command(monkeypatch, here):
    # On Windows, click would expand patterns that it reads from sys.argv by itself.
    seen = []
    monkeypatch.setattr(group, "main", lambda args=None, **_: seen.append(args))
    here("predict", "run", "--input", "part-*.csv")
    assert seen == [["predict", "run", "--input", "part-*.csv"]]


def test_misspelled_command_is_answered_with_the_nearest():
    assert "Did you mean train?" in CliRunner().invoke(group, ["trian"]).output
    assert "Did you mean list?" in CliRunner().invoke(group, ["encoders", "listing"]).output
