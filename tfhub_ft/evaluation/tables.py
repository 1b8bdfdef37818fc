"""Scores as a person reads them: rich tables."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

CLASSES_SHOWN = 20
FORMS = {"saved_model": "SavedModel", "tflite": "TFLite", "tflite_text": "TFLite", "onnx": "ONNX"}


def headlines(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of the plain numbers among the scores, in the order in which the splits have them."""
    names = dict.fromkeys(name for split in scores.values() for name in split)
    plain = (int, float, type(None))
    return [name for name in names if all(isinstance(split.get(name), plain) for split in scores.values())]


def scores_table(scores: Mapping[str, Mapping[str, Any]]) -> "Table":
    """A table with a column a split and a row a score."""
    from rich.table import Table

    table = Table(title="Scores")
    table.add_column("")
    for split in scores:
        table.add_column(split, justify="right")
    for name in headlines(scores):
        table.add_row(name.replace("_", " "), *(_cell(split.get(name)) for split in scores.values()))
    return table


def classes_table(metrics: Mapping[str, Any]) -> "Table":
    """A table with a row a label: its precision, recall, F1, rows, and what its rows were taken for."""
    from rich.table import Table

    labels = list(metrics["per_class"])
    matrix = metrics.get("confusion_matrix") if len(labels) <= CLASSES_SHOWN else None
    table = Table(title="Labels" + (", and what their rows were taken for" if matrix else ""))
    table.add_column("label")
    columns = list(metrics["per_class"][labels[0]])
    for name in (*columns, *(f"→ {label}" for label in labels if matrix)):
        table.add_column(name, justify="right")
    for number, (label, each) in enumerate(metrics["per_class"].items()):
        taken_for = matrix[number] if matrix else []
        table.add_row(label, *(_cell(value) for value in each.values()), *map(str, taken_for))
    return table


def form_title(form: Mapping[str, Any]) -> str:
    """A few words for a form of an export, such as "TFLite dynamic"."""
    return FORMS[form["form"]] + ("" if form["quantization"] == "none" else f" {form['quantization']}")


def logit_difference(form: Mapping[str, Any]) -> float:
    """The largest difference of a logit from the model's, over all signatures of a form of an export."""
    difference = form["max_logit_difference"]
    return max(difference.values()) if isinstance(difference, dict) else difference


def comparison_table(measured: Sequence[Mapping[str, Any]]) -> "Table":
    """A table with a row for each form that `compare` measured."""
    from rich.table import Table

    scores = list(measured[0]["scores"])
    table = Table(
        title="Forms",
        caption="Memory: the most that a process holds, its runtime included. p50, p95: one row. Rows/s: in batches of"
        f" {measured[0]['batch_size']} of similar length; TFLite from text takes one at a time. From tokens on,"
        " tokenizing is not in the times. Agreement: equal answers, of the first form's.",
    )
    table.add_column("form")
    table.add_column("from")
    figures = ("size MB", "memory MB", "load s", "p50 ms", "p95 ms", "rows/s")
    for name in (*figures, *(score.replace("_", " ") for score in scores), "agreement"):
        table.add_column(name, justify="right")
    for form in measured:
        table.add_row(
            form_title(form),
            form["reads"],
            f"{form['bytes'] / 1e6:.1f}",
            f"{form['peak_memory_bytes'] / 1e6:,.0f}",
            f"{form['load_seconds']:.2f}",
            f"{form['latency_ms']['p50']:.1f}",
            f"{form['latency_ms']['p95']:.1f}",
            f"{form['rows_per_second']:,.0f}",
            *(_cell(form["scores"].get(name)) for name in scores),
            "-" if form["agreement"] is None else f"{form['agreement']:.2%}",
        )
    return table


def _cell(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
