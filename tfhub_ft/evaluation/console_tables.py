"""Tables of scores, dry runs, comparisons and benchmarks for the console."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfhub_ft.metrics import Scores

if TYPE_CHECKING:
    from rich.table import Table

CLASSES_SHOWN = 20
FORMAT_NAMES = {"saved_model": "SavedModel", "tflite": "TFLite", "tflite_text": "TFLite", "onnx": "ONNX"}
TRAINING_COLUMN = "train (running mean)"


def headlines(scores: Mapping[str, Scores]) -> list[str]:
    """Return the names of the scores that are numbers, in the order of the splits.

    Of scores that are equal by definition, such as F1 and macro F1 of more than two labels, only the macro score is
    returned.
    """
    names = dict.fromkeys(name for split in scores.values() for name in split)
    number = (int, float, type(None))
    held_out = [split for name, split in scores.items() if name != "train"] or list(scores.values())
    return [
        name
        for name in names
        if all(isinstance(split.get(name), number) for split in scores.values())
        and (f"{name}_macro" not in names or any(split.get(name) != split.get(f"{name}_macro") for split in held_out))
    ]


def _table(
    title: str, columns: Iterable[str], rows: Iterable[Sequence[str]], *, left: int = 1, caption: str | None = None
) -> "Table":
    """Return a table whose first columns are aligned to the left, all others to the right."""
    from rich.table import Table

    table = Table(title=title, caption=caption)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right")
    for row in rows:
        table.add_row(*row)
    return table


def score_cells(scores: Mapping[str, Scores]) -> tuple[list[str], list[list[str | float | None]]]:
    """Return the columns and rows of a table with a row for each score and the intervals of the last split."""
    intervals = list(scores.values())[-1].get("intervals", {})
    columns = ["", *(TRAINING_COLUMN if name == "train" else name for name in scores)]
    rows = [[_words(name), *(split.get(name) for split in scores.values())] for name in headlines(scores)]
    if intervals:
        columns.append("95% interval")
        for name, row in zip(headlines(scores), rows, strict=True):
            row.append(format_interval(intervals[name]) if name in intervals else None)
    return columns, rows


def scores_table(scores: Mapping[str, Scores]) -> "Table":
    """Return a table with a row for each score, a column for each split and the intervals of the last split."""
    columns, rows = score_cells(scores)
    return _table("Scores", columns, [[format_cell(value) for value in row] for row in rows])


def repeats_cells(repeats: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of a table with a row for each seed or fold, and the summary of all."""
    runs, split, summary = repeats["runs"], repeats["split"], repeats["summary"]
    names = list(runs[0][split])
    rows = [
        [
            each["name"] + (" (kept)" if number == repeats["kept"] else ""),
            *(format_cell(each[split].get(n)) for n in names),
        ]
        for number, each in enumerate(runs)
    ]
    for title in ("mean", "deviation"):
        rows.append([title, *(format_cell(summary[n][title] if n in summary else None) for n in names)])
    rows.append(["95% interval", *(format_interval(summary[n]["interval"]) if n in summary else "-" for n in names)])
    return ["", *map(_words, names)], rows


def repeats_caption(repeats: Mapping[str, Any]) -> str:
    """Return a sentence about which run was kept, and what the interval is."""
    return (
        f"Scores of the {repeats['split']} rows. The run of {repeats['runs'][repeats['kept']]['name']} has the median"
        f" {repeats['metric'].replace('_', ' ')} and was kept. The interval is the 95% confidence interval of the mean"
        " (Student's t)."
    )


def repeats_table(repeats: Mapping[str, Any]) -> "Table":
    """Return the table of `repeats_cells`, with a score in each row."""
    columns, rows = repeats_cells(repeats)
    cells = [list(row) for row in zip(columns, *rows, strict=True)]
    title = f"{repeats['split'].capitalize()} scores of all {repeats['kind']}"
    return _table(title, cells[0], cells[1:])


def classes_table(metrics: Scores) -> "Table":
    """Return a table with the scores of each label and, for few labels, the predictions of its rows."""
    by_label = metrics["per_class"]
    labels = list(by_label)
    matrix = metrics.get("confusion_matrix") if len(labels) <= CLASSES_SHOWN else None
    counts = matrix or [[]] * len(labels)
    return _table(
        "Labels" + (", and what their rows were predicted as" if matrix else ""),
        ["label", *by_label[labels[0]], *(f"as {label}" for label in labels if matrix)],
        [
            [label, *map(format_cell, label_scores.values()), *map(str, row)]
            for (label, label_scores), row in zip(by_label.items(), counts, strict=False)
        ],
    )


def dry_run_tables(plan: Mapping[str, Any]) -> "list[Table]":
    """Return the result of `dry_run` as a table of rows and a table of the training run."""
    from rich.table import Table

    splits = plan["splits"]
    rows = Table("", *splits, title="Rows")
    for name in ("rows", "distinct_texts", "also_in_training"):
        rows.add_row(_words(name), *(format_cell(split[name]) for split in splits.values()))
    labels = list(dict.fromkeys(label for split in splits.values() for label in split["labels"]))
    for label in labels[:CLASSES_SHOWN]:
        rows.add_row(f"label {label}", *(format_cell(split["labels"].get(label, 0)) for split in splits.values()))
    if len(labels) > CLASSES_SHOWN:
        rows.add_row(f"and {len(labels) - CLASSES_SHOWN} more labels")

    tokens, weights, epoch = plan["tokens"], plan["weights"], plan["seconds_an_epoch"]
    training = Table("", "", title="Training", show_header=False)
    of_runs = f", for {plan['runs']:,} runs" if plan["runs"] > 1 else ""
    lengths = f"median {tokens['p50']:.0f}, 95% at most {tokens['p95']:.0f}, longest {tokens['longest']:,}"
    for name, value in (
        ("tokens per row", lengths),
        ("truncated rows", f"{tokens['truncated']:,} of {tokens['rows']:,}"),
        *([("windows", f"{tokens['windows']:,}")] if tokens.get("windows") else []),
        ("trainable weights", f"{weights['trained']:,} of {weights['all']:,}"),
        ("precision", plan["precision"]),
        ("epochs", f"{plan['epochs']:,}, of {plan['steps_an_epoch']:,} steps each"),
        ("time per epoch", "seconds, with cached features" if epoch is None else f"about {_duration(epoch)}"),
        ("total time", f"about {_duration(plan['seconds'])}{of_runs}"),
        ("peak memory", f"{plan['peak_memory_bytes'] / 1e6:,.0f} MB, measured with the largest batch"),
        ("settings", ", ".join(f"{name} {value}" for name, value in plan["settings"].items()) or "recipe defaults"),
    ):
        training.add_row(name, value)
    return [rows, training]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def run_comparison_tables(comparison: Mapping[str, Any], one: str, other: str) -> "list[Table]":
    """Return the result of `compare` as tables of settings, scores and rows with changed predictions."""
    from rich.table import Table
    from rich.text import Text

    settings = Table("", one, other, title="Settings that differ")
    for name, values in comparison["settings"].items():
        settings.add_row(name, *map(str, values))
    scores = Table("", one, other, "difference", "95% interval", title=f"Scores on {comparison['rows']:,} rows")
    for name, score in comparison["scores"].items():
        interval = " to ".join(f"{end:+.4f}" for end in score["interval"])
        cells = format_cell(score["one"]), format_cell(score["other"]), f"{score['difference']:+.4f}", interval
        scores.add_row(_words(name), *cells)
    rows, count = comparison.get("changed_rows", []), comparison.get("changed", 0)
    shown = f", {len(rows)} of them shown" if len(rows) < count else ""
    changed = Table("text", one, other, title=f"{count:,} changed predictions{shown}")
    for row in rows:
        predictions = (f"{row[name]} (right)" if name in row["right"] else row[name] for name in ("one", "other"))
        changed.add_row(Text(row["text"]), *map(Text, predictions))
    return [table for table in (settings, scores, changed) if table.row_count]


def artifact_title(artifact: Mapping[str, Any]) -> str:
    """Return a short name of an export's artifact, such as "TFLite dynamic"."""
    format_name = str(artifact["form"])
    name = FORMAT_NAMES.get(format_name, format_name)
    return name if artifact["quantization"] == "none" else f"{name} {artifact['quantization']}"


def logit_difference(artifact: Mapping[str, Any]) -> float:
    """Return the largest difference of an artifact's logits from the model's, over all signatures."""
    difference = artifact["max_logit_difference"]
    return max(difference.values()) if isinstance(difference, dict) else difference


def benchmark_table(measured: Sequence[Mapping[str, Any]]) -> "Table":
    """Return a table with a row for each artifact that `benchmark` measured."""
    batch_size, caption = measured[0]["batch_size"], "Memory: peak of a process, including its runtime. "
    writes_replies = "tokens_per_second" in measured[0]
    rows = [_reply_cells(artifact) if writes_replies else _artifact_cells(artifact) for artifact in measured]
    if writes_replies:
        caption += f"Tokens/s: one greedy reply at a time. Replies/s: {batch_size} at once. Equal replies, and words"
        caption += " up to the first different one: compared with the first artifact."
    else:
        caption += f"p50, p95: one row. Rows/s: in batches of {batch_size} of similar length; TFLite from text takes"
        caption += " one row at a time. From tokens: times exclude tokenization. Agreement: predictions equal to those"
        caption += " of the first artifact."
    values = (list(row.values()) for row in rows)
    return _table("Artifacts", rows[0], values, left=1 if writes_replies else 2, caption=caption)


def _artifact_cells(artifact: Mapping[str, Any]) -> dict[str, str]:
    return {
        "artifact": artifact_title(artifact),
        "from": artifact["reads"],
        **_size_cells(artifact),
        "p50 ms": f"{artifact['latency_ms']['p50']:.1f}",
        "p95 ms": f"{artifact['latency_ms']['p95']:.1f}",
        "rows/s": f"{artifact['rows_per_second']:,.0f}",
        **{_words(name): format_cell(score) for name, score in artifact["scores"].items()},
        "agreement": "-" if artifact["agreement"] is None else f"{artifact['agreement']:.2%}",
    }


def _reply_cells(artifact: Mapping[str, Any]) -> dict[str, str]:
    return {
        "weights": "float32" if artifact["quantization"] == "none" else artifact["quantization"],
        **_size_cells(artifact),
        "tokens/s": f"{artifact['tokens_per_second']:.1f}",
        "replies/s": f"{artifact['rows_per_second']:.2f}",
        "perplexity": format_cell(artifact["scores"]["perplexity"]),
        "equal replies": f"{artifact['agreement']:.1%}",
        "equal words": f"{artifact['same_words']:.1%}",
    }


def _size_cells(artifact: Mapping[str, Any]) -> dict[str, str]:
    return {
        "size MB": f"{artifact['bytes'] / 1e6:,.1f}",
        "memory MB": f"{artifact['peak_memory_bytes'] / 1e6:,.0f}",
        "load s": f"{artifact['load_seconds']:.2f}",
    }


def _words(name: str) -> str:
    return name.replace("_", " ")


def format_cell(value: object) -> str:
    """Return a score as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def format_interval(interval: Sequence[float]) -> str:
    """Return a confidence interval as a table shows it."""
    return " to ".join(map(format_cell, interval))
