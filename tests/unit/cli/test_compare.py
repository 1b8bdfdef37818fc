import json

from click.testing import CliRunner

from tfhub_ft.cli.compare import command

DIFFERENCE = {"one": 0.5, "other": 0.75, "difference": 0.25, "interval": [-0.1, 0.6]}
COMPARED = {
    "rows": 4,
    "settings": {"epochs": [1, 2]},
    "scores": {"accuracy": DIFFERENCE},
    "mcnemar": {"one": 1, "other": 2, "p": 0.5},
}


def test_compare_prints_differences(replace):
    call = replace("tfhub_ft.evaluation.compare_runs.compare", COMPARED)
    shown = CliRunner().invoke(command, ["runs/one", "runs/two", "--no-header"], catch_exceptions=False).stdout
    assert call.args == ("runs/one", "runs/two")
    assert (call.kwargs["data"], call.kwargs["header"]) == (None, False)
    for words in ("epochs", "+0.2500", "only runs/one predicts correctly: 1; only runs/two: 2.", "p = 0.5"):
        assert words in " ".join(shown.split())


def test_compare_prints_json(replace):
    replace("tfhub_ft.evaluation.compare_runs.compare", COMPARED)
    shown = CliRunner().invoke(command, ["runs/one", "runs/two", "--json"], catch_exceptions=False).stdout
    assert json.loads(shown) == COMPARED
