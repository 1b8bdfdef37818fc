"""`tfhub-ft compare RUN1 RUN2`."""

from typing import Any

import click

from tfhub_ft.cli.commands import Command
from tfhub_ft.cli.param_types import PATH
from tfhub_ft.cli.read_options import data_option, json_option, reading_options
from tfhub_ft.utils.console import print_json, print_tables


@click.command("compare", cls=Command)
@click.argument("first", type=PATH, metavar="RUN1")
@click.argument("second", type=PATH, required=False, metavar="RUN2")
@data_option(required=False, help="File of labeled rows to score both runs on. [default: the test rows of RUN1]")
@reading_options(labels=True)
@json_option()
def command(first: str, second: str | None, data: str | None, as_json: bool, **reading: Any) -> None:
    """Compare two runs: settings, scores and predictions.

    Example: tfhub-ft compare runs/first runs/second --data more_reviews.csv
    """
    from tfhub_ft.evaluation.compare_runs import compare

    comparison = compare(first, second, data=data, **reading)
    if as_json:
        print_json(comparison)
        return
    from tfhub_ft.evaluation.console_tables import run_comparison_tables

    print_tables(*run_comparison_tables(comparison, first, str(second)))
    if "mcnemar" in comparison:
        only_first, only_second, p = comparison["mcnemar"].values()
        print(
            f"Rows that only {first} predicts correctly: {only_first:,}; only {second}: {only_second:,}."
            f" McNemar's exact test: p = {p:.3g}."
        )
