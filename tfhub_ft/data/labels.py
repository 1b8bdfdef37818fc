"""Checks of the labels of rows: alike, rare, missing, or not seen in training."""

import math
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from tfhub_ft.data.columns import composed
from tfhub_ft.data.row_task import RowTask
from tfhub_ft.data.rows import Row, keep_rows
from tfhub_ft.data.tags import OUTSIDE
from tfhub_ft.utils.console import log, warn
from tfhub_ft.utils.errors import InputError

LABELS_SHOWN = 10
# Labels that may be meant as missing values.
MAYBE_MISSING = ("none", "na", "n/a", "null", "<na>", "#n/a", "nat")
BOOLEANS = {"true": "1", "yes": "1", "false": "0", "no": "0"}
# What splits.json and export.json call the labels that `min_label_rows` dropped.
DROPPED = "dropped_labels"


def count_labels(task: RowTask, rows: Sequence[Row]) -> Counter[str]:
    """The number of rows of each label, as the task counts them."""
    counts: Counter[str] = Counter()
    for row in rows:
        counts.update({*task.stratify_key(row)})
    return counts


def label_index(labels: Sequence[str]) -> dict[str, int]:
    """The place of each label, by the form in which rows have it; runs of other versions may have another form."""
    return {composed(label): place for place, label in enumerate(labels)}


def warn_of_spellings(counts: Mapping[str, int], source: str, *, wanted: Collection[str | None] = ()) -> None:
    """Warn of labels that a person takes for the same one, and of labels that may be meant as missing values.

    Args:
        counts: the rows of each label.
        source: where the rows come from.
        wanted: labels that the user named, which are certainly labels.
    """
    spellings: dict[str, list[str]] = {}
    for label, _ in Counter(counts).most_common():
        spellings.setdefault(spelling_key(label), []).append(label)
    alike = [labels for labels in spellings.values() if len(labels) > 1]
    if alike:
        groups = [" and ".join(f"{label!r} ({counts[label]:,})" for label in labels) for labels in alike]
        more = f" and {len(groups) - LABELS_SHOWN:,} more" if len(groups) > LABELS_SHOWN else ""
        warn(
            f"{source}: labels that differ only in case, white space or the spelling of numbers and booleans,"
            f" with their rows: {'; '.join(groups[:LABELS_SHOWN])}{more}; if they mean the same, give them one spelling"
        )
    missing = {label: counts[label] for label in counts if label.casefold() in MAYBE_MISSING and label not in wanted}
    if missing:
        warn(
            f"{source}: labels that may mean missing values, with their rows: {listed_counts(missing)}; they"
            " are kept as labels, so remove these rows if they are not"
        )


def spelling_key(label: str) -> str:
    """What labels have in common that differ in case, white space or the spelling of numbers and booleans."""
    folded = unicodedata.normalize("NFKC", label).casefold()
    key = "".join(each for each in folded if not each.isspace() and unicodedata.category(each) != "Cf")
    try:
        number = float(key.replace("_", "?"))
    except ValueError:
        return BOOLEANS.get(key, key)
    return f"{number:.12g}" if math.isfinite(number) else key


def rare_labels(counts: Mapping[str, int], least: int, source: str) -> dict[str, int]:
    """The labels with too few rows, the most frequent one first.

    Args:
        counts: the rows of each label.
        least: the fewest rows that a label must have; 0 for any number.
        source: where the rows come from, for the error.

    Raises:
        InputError: every label has too few.
    """
    rare = {label: rows for label, rows in Counter(counts).most_common() if rows < least}
    if rare and len(rare) == len(counts):
        label, rows = next(iter(rare.items()))
        raise InputError(
            f"--min-label-rows {least}: no label of {source} has that many rows (the most frequent one, {label!r}, has"
            f" {rows:,}); choose a smaller number"
        )
    return rare


def drop_labels(task: RowTask, rows: Sequence[Row], dropped: Collection[str], source: str) -> Sequence[Row]:
    """The rows without some labels, and a line that says how many rows of which labels are dropped.

    Args:
        task: what the rows mean: a row is left out, or loses the label.
        rows: the rows.
        dropped: the labels.
        source: where the rows come from.

    Raises:
        InputError: no row is left.
    """
    counts = count_labels(task, rows)
    found = {label: counts[label] for label in dropped if label in counts}
    if not found:
        return rows
    kept = keep_rows(each for row in rows if (each := _without_labels(task, row, found)) is not None)
    if not kept:
        raise InputError(f"{source}: every row has a label that --min-label-rows drops; choose a smaller number")
    log(f"{source}: dropped {_plural(len(found), 'rare label')} by number of rows: {listed_counts(found)}")
    return kept


def _without_labels(task: RowTask, row: Row, dropped: Collection[str]) -> Row | None:
    """Return a row without some of its labels; None where it has to be left out."""
    name = task.label_column
    value = row.values[name]
    if name == "label":
        return None if value in dropped else row
    if name == "tags":
        kept = [OUTSIDE if tag[2:] in dropped else tag for tag in value]
    else:
        kept = tuple(label for label in value if label not in dropped)
    return Row(row.line, {**row.values, name: kept})


def known_labels(task: RowTask, labels: Sequence[str]) -> set[str]:
    """Return a model's labels by the names that `Task.stratify_key` returns; empty where predictions are not labels."""
    if task.label_column == "tags":
        return {label[2:] for label in label_index(labels) if label != OUTSIDE}
    return set(label_index(labels)) if task.label_column else set()


def group_key(task: RowTask, row: Row) -> str:
    """Return the text by which a split keeps rows together."""
    if task.grouped_by == "last input":
        return task.prediction_inputs(row)[-1]
    return "\n".join(task.training_inputs(row))


def unseen_labels(task: RowTask, counts: Mapping[str, int], labels: Sequence[str]) -> dict[str, int]:
    """The labels that the model does not know, with their rows, the most frequent one first."""
    known = known_labels(task, labels)
    return {label: rows for label, rows in Counter(counts).most_common() if label not in known} if known else {}


def warn_of_unseen_labels(task: RowTask, counts: Mapping[str, int], labels: Sequence[str], source: str) -> None:
    """Warn of the labels that training rows lack: no prediction can equal them.

    Args:
        task: what the rows mean.
        counts: the rows of each label.
        labels: the labels of the model.
        source: where the rows come from.
    """
    if unseen := unseen_labels(task, counts, labels):
        spellings = {spelling_key(label): label for label in known_labels(task, labels)}
        alike = [f"{each!r} is {spellings[key]!r} there" for each in unseen if (key := spelling_key(each)) in spellings]
        warn(
            f"{source}: {_plural(len(unseen), 'label')} not seen in training ({listed_counts(unseen)});"
            f" their rows count as wrong{'; ' if alike else ''}{', '.join(alike[:LABELS_SHOWN])}"
        )


def warn_of_missing_labels(task: RowTask, counts: Mapping[str, Mapping[str, int]], labels: Sequence[str]) -> None:
    """Warn of the labels without validation or test rows.

    Args:
        task: what the rows mean.
        counts: the rows of each label, by split.
        labels: the labels of the model.
    """
    known = known_labels(task, labels)
    learned = Counter({label: rows for label, rows in counts["train"].items() if label in known}).most_common()
    missing = {
        split: {label: rows for label, rows in learned if label not in counts[split]}
        for split in ("validation", "test")
        if split in counts
    }
    parts = [
        f"{_plural(len(found), 'label')} without {split} rows ({listed_counts(found)})"
        for split, found in missing.items()
        if found
    ]
    if parts:
        warn(f"{', '.join(parts)}: scores there do not cover them; the numbers are their training rows")


def listed(labels: Sequence[str]) -> str:
    """Labels for a message, the first ten."""
    return ", ".join(labels[:LABELS_SHOWN]) + (
        f" and {len(labels) - LABELS_SHOWN} more" if len(labels) > LABELS_SHOWN else ""
    )


def listed_counts(counts: Mapping[str, int]) -> str:
    """Labels with their rows for a message, the first ten."""
    shown = [f"{label}: {rows:,}" for label, rows in list(counts.items())[:LABELS_SHOWN]]
    return ", ".join(shown) + (f" and {len(counts) - LABELS_SHOWN:,} more" if len(counts) > LABELS_SHOWN else "")


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
