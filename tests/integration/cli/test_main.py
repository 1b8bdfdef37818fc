import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TINY_SETTINGS, make_reviews, write_csv
from tests.unit.cli.test_main import refused
from tfhub_ft.settings import option_name

HELPS = [["--help"], ["train", "--help"], ["train", "sentiment", "--help"], ["encoders", "--help"]]


def tfhub_ft(*arguments, cwd=None, stdin=None, **environment):
    """Run the command in a new process."""
    command = [sys.executable, "-c", "from tfhub_ft.cli.main import main; main()", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, input=stdin, env={**os.environ, **environment}
    )


def options(settings):
    return [str(part) for name, value in settings.items() for part in (option_name(name), value)]


@pytest.mark.parametrize("arguments", [*HELPS, ["recipes"], ["encoders", "list"], ["--version"]])
def test_help_and_tables_import_nothing_heavy(arguments):
    script = (
        "import sys\nfrom tfhub_ft.cli.main import main\nsys.argv[1:] = " + repr(arguments) + "\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code\n"
        "heavy = {'tensorflow', 'keras', 'matplotlib', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.sample
def test_importing_the_commands_imports_nothing_heavy():
    script = (
        "import importlib, sys\nfrom tfhub_ft.cli.main import COMMANDS\n"
        "for name in COMMANDS.values():\n    importlib.import_module(name)\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'matplotlib', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.sample
def test_train_evaluate_predict_export(tiny_pair, tmp_path, here):
    write_csv(tmp_path / "rows.csv", make_reviews(160))
    settings = options({**TINY_SETTINGS, "encoder": tiny_pair, "data": "rows.csv", "output_dir": "runs/one"})
    trained = tfhub_ft("train", "sentiment", *settings, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "accuracy" in trained.stdout
    assert "Epoch" not in trained.stdout
    assert "Epoch 1/4" in trained.stderr

    scored = here("evaluate", "runs/one", "--data", "rows.csv", "--json")
    assert json.loads(scored.stdout)["rows"] == 160

    answered = tfhub_ft("predict", "runs/one", "good film so nice", "bad room so awful", cwd=tmp_path)
    assert [line.split("\t")[0] for line in answered.stdout.splitlines()] == ["positive", "negative"]

    exported = here("export", "runs/one", "--output-dir", "saved_models/one")
    assert exported.stdout.startswith("saved_models/one/1: ")
    piped = tfhub_ft("predict", "saved_models/one/1", "--json", cwd=tmp_path, stdin="good film so nice\n")
    assert json.loads(piped.stdout)["label"] == "positive"

    filed = here("predict", "saved_models/one", "--input", "rows.csv", "--output", "answers.csv")
    assert filed.stdout == "answers.csv: 160 predictions\n"
    assert len(Path(tmp_path / "answers.csv").read_text().splitlines()) == 161

    refused(here("train", "sentiment", *settings), "runs/one", "already has a run")


def test_quiet_only_prints_results(tiny_run, tmp_path):
    write_csv(tmp_path / "rows.csv", make_reviews(8))
    done = tfhub_ft("evaluate", tiny_run, "--data", tmp_path / "rows.csv", "--json", "--quiet")
    assert done.stderr == ""
    assert json.loads(done.stdout)["rows"] == 8


def test_debug_shows_the_traceback(tmp_path):
    done = tfhub_ft("predict", "none", "a text", "--debug", cwd=tmp_path)
    assert "Traceback" in done.stderr


@pytest.mark.sample
@pytest.mark.parametrize("module", ["tfhub_ft", "tfhub_ft.cli.main"])
def test_python_m_runs_the_command_line(module):
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("tfhub-ft, version ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["encoders", "fetch"], "Error: No such command 'fetch'."),
        (["train", "sentiment", "--epochs"], "Error: Option '--epochs' requires an argument."),
    ],
)
def test_usage_errors_are_one_line(arguments, line):
    done = tfhub_ft(*arguments)
    assert done.returncode == 2
    (error,) = done.stderr.splitlines()
    assert error.startswith(line)
