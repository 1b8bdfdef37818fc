"""`tfhub-ft evaluate RUN --data F`."""

from pathlib import Path
from typing import Any

import click

from tfhub_ft.cli.param_types import PATH
from tfhub_ft.cli.read_options import reading_options
from tfhub_ft.utils.console import print_json, print_tables


@click.command("evaluate")
@click.argument("run", type=PATH)
@click.option("--data", type=PATH, required=True, metavar="FILE", help="File with the rows to score.")
@reading_options(labels=True)
@click.option("--report", type=PATH, metavar="FILE.html", help="Write a report with pictures and the mistakes, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(run: str, data: str, report: str | None, as_json: bool, **reading: Any) -> None:
    """Score a run on other rows.

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
