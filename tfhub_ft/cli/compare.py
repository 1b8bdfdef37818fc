"""`tfhub-ft compare RUN1 RUN2`."""

from typing import Any

import click

from tfhub_ft.cli.param_types import PATH
from tfhub_ft.cli.read_options import reading_options
from tfhub_ft.utils.console import print_json, print_tables


@click.command("compare")
@click.argument("one", type=PATH)
@click.argument("other", type=PATH, required=False)
@click.option(
    "--data", type=PATH, metavar="FILE", help="Rows to score both on. [default: the test rows of the first run]"
)
@reading_options(labels=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(one: str, other: str | None, data: str | None, as_json: bool, **reading: Any) -> None:
    """Compare two runs: settings, scores on the same rows, predictions that changed.

    Example: tfhub-ft compare runs/first runs/second --data more_reviews.csv
    """
    from tfhub_ft.evaluation.compare_runs import compare

    compared = compare(one, other, data=data, **reading)
    if as_json:
        print_json(compared)
        return
    from tfhub_ft.evaluation.console_tables import run_comparison_tables

    print_tables(*run_comparison_tables(compared, one, other))
    if "mcnemar" in compared:
        first, second, p = compared["mcnemar"].values()
        print(f"Right about {first:,} rows alone: {one}; about {second:,}: {other}. McNemar's exact test: p = {p:.3g}.")
