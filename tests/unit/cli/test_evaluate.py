import json

from click.testing import CliRunner

from tfhub_ft.cli.evaluate import command
from tfhub_ft.cli.read_options import COLUMNS
from tfhub_ft.settings import TEMPLATES

SCORES = {"accuracy": 0.75, "rows": 4, "per_class": {"bad": {"recall": 0.5}, "good": {"recall": 1.0}}}
READING = {"skip_bad_rows": True, "delimiter": ";", "encoding": None, "header": None, "label_separator": None}
COLUMN_NAMES = {**dict.fromkeys([*COLUMNS, *TEMPLATES.values()]), "label_column": "y"}


def test_evaluate_prints_tables_and_the_report(replace):
    call = replace("tfhub_ft.evaluation.evaluate.evaluate", SCORES)
    options = [
        "--data",
        "more/rows.csv",
        "--report",
        "more.html",
        "--delimiter",
        ";",
        "--skip-bad-rows",
        "--label-column",
        "y",
    ]
    shown = CliRunner().invoke(command, ["runs/one", *options], catch_exceptions=False).stdout
    assert call.args == ("runs/one",)
    assert call.kwargs == {"data": "more/rows.csv", "report": "more.html", **READING, **COLUMN_NAMES}
    for words in ("rows.csv", "0.7500", "good", "Report: more.html"):
        assert words in shown


def test_evaluate_prints_json(replace):
    replace("tfhub_ft.evaluation.evaluate.evaluate", SCORES)
    shown = CliRunner().invoke(command, ["runs/one", "--data", "rows.csv", "--json"], catch_exceptions=False).stdout
    assert json.loads(shown) == SCORES
