"""Options of the commands that read rows from files."""

from collections.abc import Callable
from typing import Any

import click


def reading_options(*, labels: bool) -> Callable[[Any], Any]:
    """The options that say how a file of rows is read.

    Args:
        labels: whether the rows have labels.
    """
    options = [
        click.option("--skip-bad-rows", is_flag=True, help="Count and skip bad rows."),
        click.option(
            "--delimiter", metavar="CHARACTER", help="Delimiter of csv and tsv files, such as ';' or tab. [detected]"
        ),
        click.option("--encoding", metavar="NAME", help="Encoding of text files, such as cp1252. [detected, or UTF-8]"),
        click.option(
            "--header/--no-header",
            default=None,
            help=f"Whether csv and tsv files begin with a header line. [{'as of the run' if labels else 'header'}]",
        ),
    ]
    if labels:
        options.append(
            click.option("--label-separator", metavar="TEXT", help="Separator of several labels in a cell. [detected]")
        )

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add
