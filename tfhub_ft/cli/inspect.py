"""`tfhub-ft inspect RUN --data F`."""

from collections import Counter
from typing import Any

import click

from tfhub_ft.cli.commands import Command, option
from tfhub_ft.cli.param_types import PATH
from tfhub_ft.cli.read_options import data_option, json_option, reading_options
from tfhub_ft.utils.console import print_json, print_tables

ROWS_SHOWN, CHARACTERS = 10, 60


@click.command("inspect", cls=Command)
@click.argument("run", type=PATH)
@data_option(required=True, help="File of rows, with labels or without.")
@reading_options(labels=True)
@option("--output", type=PATH, metavar="FILE", group="Output", help="File to write: csv, tsv, jsonl or parquet.")
@json_option()
def command(run: str, data: str, output: str | None, as_json: bool, **reading: Any) -> None:
    """Find rows that deserve a look: wrong labels, duplicates with different labels, uncertain predictions.

    The rows should not be those that the run was trained on. The output has all rows, the most important first.

    Example: tfhub-ft inspect runs/reviews --data more_reviews.csv --output rows.csv
    """
    from tfhub_ft.evaluation.inspect_rows import inspect

    rows = inspect(run, data=data, output=output, **reading)
    if as_json:
        print_json(rows)
        return
    from rich.table import Table

    counts = Counter(kind for row in rows for kind in {_kind(reason) for reason in row["reasons"]})
    summary = Table("", "rows", title="Reasons")
    for name, count in [("all rows", len(rows)), *counts.most_common()]:
        summary.add_row(name, f"{count:,}")
    print_tables(summary)
    if shown := [row for row in rows[:ROWS_SHOWN] if row["reasons"]]:
        names = [name for name in ("file", "line", "label", "prediction", "score") if name in shown[0]]
        table = Table(*names, "reasons", "text", title="Most important rows")
        for row in shown:
            # The texts are between the line and the label.
            texts = [*row.values()][list(row).index("line") + 1 : list(row).index("label")]
            text = " │ ".join(" ".join(text.split()) for text in texts)
            text = text if len(text) <= CHARACTERS else f"{text[: CHARACTERS - 1]}…"
            table.add_row(*(_cell(row[name]) for name in names), ", ".join(row["reasons"]), text)
        print_tables(table)
    if output:
        print(f"{output}: {len(rows):,} rows")


def _kind(reason: str) -> str:
    """Return a reason without the label or the line that it names."""
    if reason.startswith("same text"):
        return "same text with another label"
    return f"label {' '.join(reason.split()[-2:])}" if reason.startswith("label '") else reason


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value)
