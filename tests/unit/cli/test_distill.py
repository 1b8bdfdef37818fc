from pathlib import Path
from types import SimpleNamespace

from click.testing import CliRunner

from tfhub_ft.cli.distill import command
from tfhub_ft.settings import OLD_UNLABELED


def test_distill_passes_given_settings(replace):
    run = SimpleNamespace(path=Path("runs/small"), metrics={"test": {"accuracy": 0.75}})
    call = replace("tfhub_ft.distillation.distill.distill", run)
    options = ["--student", "layers:3", "--output-dir", "runs/small", "--alpha", "0.5", "--epochs", "2"]
    done = CliRunner().invoke(command, ["runs/one", *options], catch_exceptions=False)
    assert call.args == ("runs/one",)
    assert call.kwargs == {"student": "layers:3", "output_dir": "runs/small", "alpha": 0.5, "epochs": 2}
    for words in ("0.7500", "Run: runs/small", "tfhub-ft export runs/small --output-dir saved_models/small"):
        assert words in done.output


def test_distill_accepts_the_old_spelling_of_unlabeled(replace):
    run = SimpleNamespace(path=Path("runs/small"), metrics={"test": {"accuracy": 0.75}})
    call = replace("tfhub_ft.distillation.distill.distill", run)
    options = ["--student", "layers:3", "--output-dir", "runs/small", f"--{OLD_UNLABELED}", "more.txt"]
    CliRunner().invoke(command, ["runs/one", *options], catch_exceptions=False)
    assert call.kwargs[OLD_UNLABELED] == "more.txt"


def test_distill_requires_a_student():
    done = CliRunner().invoke(command, ["runs/one", "--output-dir", "runs/small"])
    assert done.exit_code == 2
    assert "--student" in done.output
