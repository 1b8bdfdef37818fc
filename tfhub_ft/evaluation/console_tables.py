"""Tables of scores for the console and for reports."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


CLASSES_SHOWN = 20
FORMS = {"saved_model": "SavedModel", "tflite": "TFLite", "tflite_text": "TFLite", "onnx": "ONNX"}


TRAINING_COLUMN = "train (running mean)"


def headlines(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of the plain numbers among the scores, in the order in which the splits have them.

    Of scores that are equal by definition, such as F1 and macro F1 of many labels, only the more exact name is there.
    """
    names = dict.fromkeys(name for split in scores.values() for name in split)
    plain = (int, float, type(None))
    names = [name for name in names if all(isinstance(split.get(name), plain) for split in scores.values())]
    held_out = [split for name, split in scores.items() if name != "train"] or list(scores.values())
    return [
        name
        for name in names
        if f"{name}_macro" not in names or any(split.get(name) != split.get(f"{name}_macro") for split in held_out)
    ]


def score_columns(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the columns of scores are called; those of training rows are means over an epoch in which weights moved."""
    return [TRAINING_COLUMN if name == "train" else name for name in scores]


def score_intervals(scores: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Sequence[float]]:
    """The intervals of the last scores."""
    return list(scores.values())[-1].get("intervals", {})


def scores_table(scores: Mapping[str, Mapping[str, Any]]) -> "Table":
    """A table with a row for each score and a column for each split, and the 95% intervals of the last one."""
    from rich.table import Table

    table, intervals = Table(title="Scores"), score_intervals(scores)
    for number, column in enumerate(["", *score_columns(scores), *(["95% interval"] if intervals else [])]):
        table.add_column(column, justify="right" if number else "left")
    for name in headlines(scores):
        interval = [" to ".join(map(format_cell, intervals[name])) if name in intervals else ""] if intervals else []
        table.add_row(name.replace("_", " "), *(format_cell(split.get(name)) for split in scores.values()), *interval)
    return table


def classes_table(metrics: Mapping[str, Any]) -> "Table":
    """A table with a row a label: its precision, recall, F1, rows, and what its rows were taken for."""
    from rich.table import Table

    labels = list(metrics["per_class"])
    matrix = metrics.get("confusion_matrix") if len(labels) <= CLASSES_SHOWN else None
    table = Table(title="Labels" + (", and what their rows were predicted as" if matrix else ""))
    table.add_column("label")
    columns = list(metrics["per_class"][labels[0]])
    for name in (*columns, *(f"as {label}" for label in labels if matrix)):
        table.add_column(name, justify="right")
    for number, (label, each) in enumerate(metrics["per_class"].items()):
        taken_for = matrix[number] if matrix else []
        table.add_row(label, *(format_cell(value) for value in each.values()), *map(str, taken_for))
    return table


def dry_run_tables(told: Mapping[str, Any]) -> "list[Table]":
    """What `dry_run` told: a table of rows, and one of what the training would be."""
    from rich.table import Table

    splits = told["splits"]
    rows = Table("", *splits, title="Rows")
    for name in ("rows", "distinct_texts", "also_in_training"):
        rows.add_row(name.replace("_", " "), *(format_cell(split[name]) for split in splits.values()))
    labels = list(dict.fromkeys(label for split in splits.values() for label in split["labels"]))
    for label in labels[:CLASSES_SHOWN]:
        rows.add_row(f"label {label}", *(format_cell(split["labels"].get(label, 0)) for split in splits.values()))
    if len(labels) > CLASSES_SHOWN:
        rows.add_row(f"and {len(labels) - CLASSES_SHOWN} more labels")

    tokens, weights, epoch = told["tokens"], told["weights"], told["seconds_an_epoch"]
    facts = Table("", "", title="Training", show_header=False)
    lengths = f"half {tokens['p50']:.0f}, 95% {tokens['p95']:.0f}, longest {tokens['longest']:,}"
    for name, value in (
        ("tokens of a row, at most", lengths),
        ("rows that are truncated", f"{tokens['truncated']:,} of {tokens['rows']:,}"),
        ("weights that train", f"{weights['trained']:,} of {weights['all']:,}"),
        ("precision", told["precision"]),
        ("epochs", f"{told['epochs']:,}, of {told['steps_an_epoch']:,} steps each"),
        ("an epoch", "seconds at most, on kept features" if epoch is None else f"about {_duration(epoch)}"),
        ("all of it", f"about {_duration(told['seconds'])}"),
        ("memory", f"{told['peak_memory_bytes'] / 1e6:,.0f} MB so far, the largest batch included"),
        ("settings", ", ".join(f"{name} {value}" for name, value in told["settings"].items()) or "the recipe's own"),
    ):
        facts.add_row(name, value)
    return [rows, facts]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def run_comparison_tables(told: Mapping[str, Any], one: str, other: str) -> "list[Table]":
    """What `compare` told: tables of settings, of scores and of rows whose answer changed."""
    from rich.table import Table
    from rich.text import Text

    settings = Table("", one, other, title="Settings that differ")
    for name, values in told["settings"].items():
        settings.add_row(name, *map(str, values))
    scores = Table("", one, other, "difference", "95% interval", title=f"Scores on {told['rows']:,} rows")
    for name, each in told["scores"].items():
        interval = " to ".join(f"{end:+.4f}" for end in each["interval"])
        difference = f"{each['difference']:+.4f}"
        scores.add_row(
            name.replace("_", " "), format_cell(each["one"]), format_cell(each["other"]), difference, interval
        )
    rows, count = told.get("changed_rows", []), told.get("changed", 0)
    title = f"{count:,} answers changed" + (f", {len(rows)} of them" if len(rows) < count else "")
    changed = Table("text", one, other, title=title)
    for row in rows:
        marked = (f"{row[name]} (right)" if name in row["right"] else row[name] for name in ("one", "other"))
        changed.add_row(Text(row["text"]), *map(Text, marked))
    return [table for table in (settings, scores, changed) if table.row_count]


def form_title(form: Mapping[str, Any]) -> str:
    """A few words for a form of an export, such as "TFLite dynamic"."""
    return FORMS.get(form["form"], form["form"]) + (
        "" if form["quantization"] == "none" else f" {form['quantization']}"
    )


def logit_difference(form: Mapping[str, Any]) -> float:
    """The largest difference of a logit from the model's, over all signatures of a form of an export."""
    difference = form["max_logit_difference"]
    return max(difference.values()) if isinstance(difference, dict) else difference


def benchmark_table(measured: Sequence[Mapping[str, Any]]) -> "Table":
    """A table with a row for each form that `benchmark` measured."""
    from rich.table import Table

    if "tokens_per_second" in measured[0]:
        return _replies_table(measured)
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
            *(format_cell(form["scores"].get(name)) for name in scores),
            "-" if form["agreement"] is None else f"{form['agreement']:.2%}",
        )
    return table


def _replies_table(measured: Sequence[Mapping[str, Any]]) -> "Table":
    from rich.table import Table

    table = Table(
        title="Forms",
        caption="Memory: the most that a process holds, its runtime included. Tokens/s: of one greedy reply at a time."
        f" Replies/s: {measured[0]['batch_size']} at once. Equal replies, and words up to the first other one: of the"
        " first form's.",
    )
    table.add_column("weights")
    figures = ("size MB", "memory MB", "load s", "tokens/s", "replies/s", "perplexity", "equal replies", "equal words")
    for name in figures:
        table.add_column(name, justify="right")
    for form in measured:
        table.add_row(
            "float32" if form["quantization"] == "none" else form["quantization"],
            f"{form['bytes'] / 1e6:,.1f}",
            f"{form['peak_memory_bytes'] / 1e6:,.0f}",
            f"{form['load_seconds']:.2f}",
            f"{form['tokens_per_second']:.1f}",
            f"{form['rows_per_second']:.2f}",
            format_cell(form["scores"]["perplexity"]),
            f"{form['agreement']:.1%}",
            f"{form['same_words']:.1%}",
        )
    return table


def format_cell(value: float | int | None) -> str:
    """Return a score as a table shows it."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
