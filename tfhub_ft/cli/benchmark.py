"""`tfhub-ft benchmark EXPORT_DIR --data F`."""

from typing import Any

import click

from tfhub_ft.cli.commands import Command, option
from tfhub_ft.cli.param_types import PATH
from tfhub_ft.cli.read_options import data_option, json_option, reading_options
from tfhub_ft.utils.console import print_json, print_tables


@click.command("benchmark", cls=Command)
@click.argument("export_dir", type=PATH)
@data_option(required=True, help="File of labeled rows to score.")
@reading_options(labels=True)
@option(
    "--picture",
    type=PATH,
    metavar="FILE",
    group="Output",
    help="Plot to write, as png, svg or pdf. [default: EXPORT_DIR/benchmark.png]",
)
@json_option()
def command(export_dir: str, data: str, picture: str | None, as_json: bool, **reading: Any) -> None:
    """Measure the size, speed and scores of an export's artifacts.

    Measures size, memory, load time, latency, throughput, scores and agreement with the first artifact. Writes
    benchmark.json and benchmark.png into EXPORT_DIR.

    Example: tfhub-ft benchmark saved_models/reviews --data more_reviews.csv
    """
    from tfhub_ft.benchmarking.benchmark import benchmark

    results = benchmark(export_dir, data=data, picture=picture, **reading)
    if as_json:
        print_json(results)
        return
    from tfhub_ft.evaluation.console_tables import benchmark_table

    print_tables(benchmark_table(results))
