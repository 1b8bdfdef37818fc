"""`tfhub-ft evaluate RUN --data F`."""

from pathlib import Path
from typing import Any

import click

from tfhub_ft.cli.commands import Command, option
from tfhub_ft.cli.param_types import PATH
from tfhub_ft.cli.read_options import data_option, json_option, reading_options
from tfhub_ft.utils.console import print_json, print_tables


@click.command("evaluate", cls=Command)
@click.argument("run", type=PATH)
@data_option(required=True, help="File of labeled rows to score.")
@reading_options(labels=True)
@option("--report", type=PATH, metavar="FILE.html", group="Output", help="HTML report to write, with plots and errors.")
@json_option()
def command(run: str, data: str, report: str | None, as_json: bool, **reading: Any) -> None:
    """Score a run on a file of labeled rows.

    Example: tfhub-ft evaluate runs/reviews --data more_reviews.csv --report more.html
    """
    from tfhub_ft.evaluation.evaluate import evaluate

    scores = evaluate(run, data=data, report=report, **reading)
    if as_json:
        print_json(scores)
        return
    from tfhub_ft.evaluation.console_tables import classes_table, scores_table

    print_tables(scores_table({Path(data).name: scores}), *([classes_table(scores)] if "per_class" in scores else []))
    if report:
        print(f"Report: {report}")
