"""The plots and tables that a report shows of each kind of task."""

from functools import singledispatch
from typing import Any

from tfhub_ft.evaluation.scored import Scored
from tfhub_ft.tasks.base import Task


@singledispatch
def report_parts(task: Task, scored: Scored) -> list[Any]:
    """Return the plots and tables of scored rows. A task of another kind registers its own function."""
    return []
