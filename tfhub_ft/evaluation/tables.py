"""Scores as a person reads them: rich tables."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

HEADLINES = ("rows", "accuracy", "precision", "recall", "f1", "f1_macro", "roc_auc", "average_precision", "log_loss")
CLASSES_SHOWN = 20


def scores_table(scores: Mapping[str, Mapping[str, Any]]) -> "Table":
    """A table with a column a split and a row a score."""
    from rich.table import Table

    table = Table(title="Scores")
    table.add_column("")
    for split in scores:
        table.add_column(split, justify="right")
    for name in HEADLINES:
        if any(name in split for split in scores.values()):
            table.add_row(name.replace("_", " "), *(_cell(split.get(name)) for split in scores.values()))
    return table


def classes_table(metrics: Mapping[str, Any]) -> "Table":
    """A table with a row a label: its precision, recall, F1, rows, and what its rows were taken for."""
    from rich.table import Table

    labels = list(metrics["per_class"])
    confusion = len(labels) <= CLASSES_SHOWN
    table = Table(title="Labels" + (", and what their rows were taken for" if confusion else ""))
    table.add_column("label")
    for name in ("precision", "recall", "f1", "rows", *(f"→ {label}" for label in labels if confusion)):
        table.add_column(name, justify="right")
    for (label, each), taken_for in zip(metrics["per_class"].items(), metrics["confusion_matrix"], strict=True):
        table.add_row(label, *(_cell(value) for value in each.values()), *(str(n) for n in taken_for if confusion))
    return table


def _cell(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
