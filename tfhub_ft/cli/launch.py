"""`tfhub-ft launch --workers N -- train RECIPE`."""

import sys

import click

from tfhub_ft.cli.commands import Command, option


@click.command("launch", cls=Command)
@option("--workers", type=click.IntRange(min=1), required=True, group="Runtime", help="Number of processes.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="-- train RECIPE [OPTIONS]")
def command(workers: int, arguments: tuple[str, ...]) -> None:
    """Train with several processes on this machine.

    Example: tfhub-ft launch --workers 2 -- train sentiment --output-dir runs/two

    Each process gets its share of the GPUs and of every batch. When one fails, the others are stopped, and
    its exit code is returned.
    """
    from tfhub_ft.training.launch import launch

    sys.exit(launch(arguments, workers))
