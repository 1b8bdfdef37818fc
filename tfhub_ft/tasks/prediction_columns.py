"""The columns of predictions in tables and data frames."""

from collections.abc import Collection
from typing import Any

from tfhub_ft.tasks.base import Prediction

DIGITS = 6
# Fields that are lists of objects.
OBJECT_LISTS = ("answers", "entities", "guesses", "replies")


def prediction_columns(prediction: Prediction) -> dict[str, Any]:
    """Return the fields of a prediction, with a column `probability_LABEL` for each of the probabilities."""
    columns = {name: value for name, value in prediction.items() if name != "probabilities"}
    return columns | {f"probability_{label}": value for label, value in prediction.get("probabilities", {}).items()}


def table_cells(columns: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a prediction for a csv file: numbers have six significant digits, and no list is blank."""
    return {name: _table_cell(name, value) for name, value in columns.items()}


def _table_cell(name: str, value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    return "[]" if name in OBJECT_LISTS and value == [] else value


def free_names(names: Collection[str], taken: Collection[str]) -> dict[str, str]:
    """Return a free name for each of these names: input_NAME, or input_input_NAME ..., if NAME is taken."""
    free: dict[str, str] = {}
    used = {*taken}
    for name in names:
        free_name = name
        while free_name in used or (free_name != name and free_name in names):
            free_name = f"input_{free_name}"
        free[name] = free_name
        used.add(free_name)
    return free
