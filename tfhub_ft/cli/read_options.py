"""Options that describe a file of rows."""

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from tfhub_ft.cli.commands import option
from tfhub_ft.cli.param_types import PATH
from tfhub_ft.settings import PRECISIONS

_data = partial(option, group="Data")


def reading_options(*, labels: bool) -> Callable[[Any], Any]:
    """Return a decorator that adds the options that describe a file of rows, which may have labels."""
    header = "as in training" if labels else "header"
    options = [
        _data("--skip-bad-rows", is_flag=True, help="Skip and count rows that cannot be read."),
        _data("--delimiter", metavar="CHAR", help="Delimiter of csv and tsv files: ';', tab ... [default: detected]"),
        _data("--encoding", metavar="NAME", help="Encoding of text files, like cp1252. [default: detected or UTF-8]"),
        _data(
            "--header/--no-header",
            default=None,
            help=f"Whether csv and tsv files start with a header line. [default: {header}]",
        ),
    ]
    if labels:
        help = "Separator of the labels in a multi-label cell. [default: detected]"
        options.append(_data("--label-separator", metavar="TEXT", help=help))

    def add(function: Any) -> Any:
        for each in reversed(options):
            function = each(function)
        return function

    return add


def data_option(*, required: bool, help: str) -> Callable[[Any], Any]:
    """Return the decorator that adds --data."""
    return _data("--data", type=PATH, required=required, metavar="FILE", help=help)


def json_option() -> Callable[[Any], Any]:
    """Return the decorator that adds --json."""
    return option("--json", "as_json", is_flag=True, group="Output", help="Print JSON.")


def precision_option(subject: str) -> Callable[[Any], Any]:
    """Return the decorator that adds --precision, the compute dtype of the subject."""
    help = f"Compute dtype of the {subject}; auto is bfloat16 where the hardware is fast at it."
    return option("--precision", type=click.Choice(PRECISIONS), default="float32", group="Runtime", help=help)
