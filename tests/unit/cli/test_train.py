from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from tfhub_ft.cli.train import command, recipe_argument
from tfhub_ft.recipe import RECIPES, load_recipe

METRICS = {"train": {"accuracy": 1.0}, "test": {"accuracy": 0.75}}


def invoke(*arguments):
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def test_train_passes_given_settings(replace):
    summary = {"accuracy": {"mean": 0.7, "deviation": 0.05, "interval": (0.58, 0.82)}}
    runs = [{"name": f"seed {number}", "test": {"accuracy": 0.75 - number / 10}} for number in range(3)]
    run = SimpleNamespace(
        path=Path("runs/one"),
        metrics=METRICS,
        labels=["a", "b"],
        thresholds={},
        recipe=load_recipe("sentiment"),
        repeats={"kind": "seeds", "split": "test", "metric": "accuracy", "kept": 1, "runs": runs, "summary": summary},
    )
    call = replace("tfhub_ft.training.train.train", run)
    shown = invoke("sentiment", "--output-dir", "runs/one", "--epochs", "2", "--no-cache-features").output
    assert call.args == ("sentiment",)
    how = {"output_dir": "runs/one", "config": None, "resume": False, "recover": False}
    assert call.kwargs == how | {"epochs": 2, "cache_features": False}
    for words in (
        "0.5800 to 0.8200",
        "Kept: seed 1, the median accuracy",
        "0.7500",
        "Run: runs/one",
        "Report: runs/one/report.html",
        "tfhub-ft predict runs/one",
    ):
        assert words in shown


def test_train_passes_seeds_and_the_run_to_continue_from(replace, tmp_path):
    recipe = load_recipe("topic")
    run = SimpleNamespace(path=tmp_path, metrics=METRICS, labels=[], thresholds={}, recipe=recipe, repeats={})
    call = replace("tfhub_ft.training.train.train", run)
    invoke("topic", "--seeds", "3", "--from", str(tmp_path))
    assert (call.kwargs["seeds"], call.kwargs["from_run"]) == (3, str(tmp_path))
    assert "folds" not in call.kwargs
    assert "--from RUN" in invoke("topic", "--help").output
    assert "--from" not in invoke("dialogue", "--help").output


def test_train_help_lists_every_recipe():
    shown = invoke("--help").output
    for name in RECIPES:
        assert name in shown
        assert f"Example: tfhub-ft train {name}" in invoke(name, "--help").output


@pytest.mark.parametrize(("name", "argument"), [("spam", "spam"), ("./mine.py", Path("mine.py"))])
def test_recipe_argument_is_a_name_or_a_path(name, argument):
    assert recipe_argument(name) == argument
