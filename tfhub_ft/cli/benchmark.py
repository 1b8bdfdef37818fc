"""`tfhub-ft benchmark EXPORT_DIR --data F`."""

from typing import Any

import click

from tfhub_ft.cli.param_types import PATH
from tfhub_ft.cli.read_options import reading_options
from tfhub_ft.utils.console import print_json, print_tables


@click.command("benchmark")
@click.argument("export_dir", type=PATH)
@click.option("--data", type=PATH, required=True, metavar="FILE", help="File with rows to score, as for evaluate.")
@reading_options(labels=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--picture", type=PATH, metavar="FILE", help="Where the picture goes: png, svg or pdf. [EXPORT_DIR/benchmark.png]"
)
def command(export_dir: str, data: str, as_json: bool, picture: str | None, **reading: Any) -> None:
    """Measure every form of an export: bytes, memory, load time, latency, throughput, scores, agreement.

    It also writes benchmark.json and a picture, benchmark.png, into EXPORT_DIR.

    Example: tfhub-ft benchmark saved_models/reviews --data more_reviews.csv
    """
    from tfhub_ft.benchmarking.benchmark import benchmark

    measured = benchmark(export_dir, data=data, picture=picture, **reading)
    if as_json:
        print_json(measured)
        return
    from tfhub_ft.evaluation.console_tables import benchmark_table

    print_tables(benchmark_table(measured))
