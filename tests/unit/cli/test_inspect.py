import json

from click.testing import CliRunner

from tfhub_ft.cli.inspect import command

ROW = {"line": 7, "text": "so\ngood", "label": "bad", "prediction": "good", "score": 0.91}
ROWS = [
    {**ROW, "reasons": ["label looks wrong", "same text with another label in line 9"]},
    {**ROW, "line": 9, "reasons": []},
]


def test_inspect_prints_reasons_and_rows(replace):
    call = replace("tfhub_ft.evaluation.inspect_rows.inspect", ROWS)
    arguments = ["runs/one", "--data", "rows.csv", "--output", "out.csv", "--label-column", "y"]
    shown = CliRunner().invoke(command, arguments, catch_exceptions=False).stdout
    assert call.args == ("runs/one",)
    assert call.kwargs["data"] == "rows.csv"
    assert call.kwargs["output"] == "out.csv"
    assert call.kwargs["label_column"] == "y"
    for words in ("all rows", "label looks wrong", "same text with another label", "0.910", "so good"):
        assert words in shown
    assert shown.endswith("out.csv: 2 rows\n")


def test_inspect_prints_json(replace):
    replace("tfhub_ft.evaluation.inspect_rows.inspect", ROWS)
    shown = CliRunner().invoke(command, ["runs/one", "--data", "rows.csv", "--json"], catch_exceptions=False).stdout
    assert json.loads(shown) == ROWS
