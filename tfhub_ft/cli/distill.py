"""`tfhub-ft distill RUN --student layers:N|ENCODER --output-dir RUN2`."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from tfhub_ft.cli.commands import Command, GroupedOption
from tfhub_ft.cli.param_types import PATH, STUDENT
from tfhub_ft.cli.train import given_settings, setting_option, settings_options
from tfhub_ft.settings import OLD_UNLABELED, Distillation, Settings
from tfhub_ft.utils.console import print_next, print_tables

_DISTILLATION = "Distillation"


def _distill(run: str, student: str, output_dir: str, **options: Any) -> None:
    from tfhub_ft.distillation.distill import distill

    student_run = distill(run, student=student, output_dir=output_dir, **given_settings(options))

    from tfhub_ft.evaluation.console_tables import scores_table

    print_tables(scores_table(student_run.metrics))
    print(f"Run: {student_run.path}")
    print_next("export", student_run.path, "--output-dir", Path("saved_models") / student_run.path.resolve().name)


command = Command(
    "distill",
    params=[
        click.Argument(["run"], type=PATH),
        GroupedOption(
            ["--student"],
            type=STUDENT,
            required=True,
            metavar="layers:N|ENCODER",
            group=_DISTILLATION,
            help="Student: layers:N keeps N layers of the teacher, evenly spaced, the last one included; or another"
            " encoder, by catalog name, handle, URL or folder.",
        ),
        GroupedOption(
            ["--output-dir"],
            type=PATH,
            required=True,
            metavar="RUN",
            group=_DISTILLATION,
            help="Run folder of the student, new or empty.",
        ),
        *(setting_option(field, field.default, group=_DISTILLATION) for field in dataclasses.fields(Distillation)),
        GroupedOption([f"--{OLD_UNLABELED}"], type=PATH, hidden=True),
        *settings_options(Settings, [name for name in Settings.names() if name not in ("encoder", "from_run")]),
    ],
    callback=_distill,
    help="""Distill a run into a smaller model.

\b
Example: tfhub-ft distill runs/reviews --student layers:3 --output-dir runs/small
         tfhub-ft distill runs/reviews --student layers:3 --output-dir runs/small --unlabeled more.txt

Data and settings default to those of RUN, except --freeze (none) and --learning-rate (1e-4).
""",
)
