"""`tfhub-ft compare EXPORT_DIR --data F`."""

from typing import Any

import click

from tfhub_ft.cli.param_types import PATH
from tfhub_ft.cli.read_options import reading_options
from tfhub_ft.utils.console import print_json, print_tables


@click.command("compare")
@click.argument("export_dir", type=PATH)
@click.option("--data", type=PATH, required=True, metavar="FILE", help="File with rows to score, as for evaluate.")
@reading_options(labels=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--picture", type=PATH, metavar="FILE", help="Where the picture goes: png, svg or pdf. [EXPORT_DIR/compare.png]"
)
def command(export_dir: str, data: str, as_json: bool, picture: str | None, **reading: Any) -> None:
    """Measure every form of an export: bytes, memory, load time, latency, throughput, scores, agreement.

    It also writes compare.json and a picture, compare.png, into EXPORT_DIR.

    Example: tfhub-ft compare saved_models/reviews --data more_reviews.csv
    """
    from tfhub_ft.benchmark.benchmark import compare

    measured = compare(export_dir, data=data, picture=picture, **reading)
    if as_json:
        print_json(measured)
        return
    from tfhub_ft.evaluation.console_tables import comparison_table

    print_tables(comparison_table(measured))
