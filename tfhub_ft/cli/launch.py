"""`tfhub-ft launch`: a training as several processes on this machine."""

import sys

import click


@click.command("launch")
@click.option("--workers", type=click.IntRange(min=1), required=True, help="How many processes.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="-- train RECIPE [OPTIONS]")
def command(workers: int, arguments: tuple[str, ...]) -> None:
    """Train with several processes on this machine, each with its share of the GPUs.

    Example: tfhub-ft launch --workers 2 -- train sentiment --output-dir runs/two

    They share out each batch, are ended together, and leave the first one's exit code that is not 0.
    """
    from tfhub_ft.training.launch import launch

    sys.exit(launch(arguments, workers))
