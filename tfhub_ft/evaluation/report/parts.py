"""Plots and tables of a report, by task."""

from functools import singledispatch

from tfhub_ft.evaluation.report.plots import Plot
from tfhub_ft.evaluation.report.report_tables import ReportTable
from tfhub_ft.evaluation.scored import Scored
from tfhub_ft.tasks.base import Task

Parts = list[Plot | ReportTable]


@singledispatch
def report_parts(task: Task, scored: Scored) -> Parts:
    """Return the plots and tables of scored rows; each kind of task registers its own function."""
    return []
