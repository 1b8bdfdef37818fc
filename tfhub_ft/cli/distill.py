"""`tfhub-ft distill RUN --student layers:N|ENCODER --output-dir RUN2`."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from tfhub_ft.cli.param_types import PATH, STUDENT
from tfhub_ft.cli.train import setting_option
from tfhub_ft.settings import Distillation, Settings
from tfhub_ft.utils.console import print_next, print_tables

OWN = [
    click.Argument(["run"], type=PATH),
    click.Option(
        ["--student"],
        type=STUDENT,
        required=True,
        metavar="layers:N|ENCODER",
        help="N of the run's own layers, every k-th and the last one; or another encoder: a name, a handle, a URL or a"
        " folder.",
    ),
    click.Option(
        ["--output-dir"], type=PATH, required=True, metavar="RUN", help="The student's run folder, new or empty."
    ),
]


def _distill(run: str, student: str, output_dir: str, **given: Any) -> None:
    from tfhub_ft.distillation.distill import distill

    settings = {name: value for name, value in given.items() if value is not None}
    made = distill(run, student=student, output_dir=output_dir, **settings)

    from tfhub_ft.evaluation.console_tables import scores_table

    print_tables(scores_table(made.metrics))
    print(f"Run: {made.path}")
    print_next("export", made.path, "--output-dir", Path("saved_models") / made.path.resolve().name)


HELP = """Teach a smaller model to answer as a run does.

Example: tfhub-ft distill runs/reviews --student layers:3 --output-dir runs/small --unlabelled more.txt

Data and settings that are not given are those of RUN, but for --freeze (none) and --learning-rate (1e-4).
"""

command = click.Command(
    "distill",
    params=[
        *OWN,
        *(setting_option(field, field.default) for field in dataclasses.fields(Distillation)),
        *(setting_option(field, None) for field in dataclasses.fields(Settings) if field.name != "encoder"),
    ],
    callback=_distill,
    help=HELP,
)
