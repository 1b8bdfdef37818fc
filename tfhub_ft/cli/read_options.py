"""Options that describe a file of rows."""

from collections.abc import Callable
from typing import Any

import click

from tfhub_ft.cli.commands import option
from tfhub_ft.settings import PRECISIONS

DATA = "Data"


def reading_options(*, labels: bool) -> Callable[[Any], Any]:
    """Return a decorator that adds the options that describe a file of rows.

    Args:
        labels: whether the rows have labels.
    """
    header = "as in training" if labels else "header"
    options = [
        option("--skip-bad-rows", is_flag=True, group=DATA, help="Skip and count rows that cannot be read."),
        option(
            "--delimiter",
            metavar="CHARACTER",
            group=DATA,
            help="Delimiter of csv and tsv files, such as ';' or tab. [default: detected]",
        ),
        option(
            "--encoding",
            metavar="NAME",
            group=DATA,
            help="Encoding of text files, such as cp1252. [default: detected, or UTF-8]",
        ),
        option(
            "--header/--no-header",
            default=None,
            group=DATA,
            help=f"Whether csv and tsv files start with a header line. [default: {header}]",
        ),
    ]
    if labels:
        options.append(
            option(
                "--label-separator",
                metavar="TEXT",
                group=DATA,
                help="Separator of the labels in a multi-label cell. [default: detected]",
            )
        )

    def add(function: Any) -> Any:
        for each in reversed(options):
            function = each(function)
        return function

    return add


def json_option() -> Callable[[Any], Any]:
    """Return the decorator that adds --json."""
    return option("--json", "as_json", is_flag=True, group="Output", help="Print JSON.")


def precision_option(subject: str) -> Callable[[Any], Any]:
    """Return the decorator that adds --precision.

    Args:
        subject: what is computed in it.
    """
    return option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default="float32",
        show_default=True,
        group="Runtime",
        help=f"Compute dtype of the {subject}; auto is bfloat16 where the hardware is fast at it.",
    )
