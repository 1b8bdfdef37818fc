"""Check for labels that are similar, rare, missing or unseen in training."""

import math
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from tfhub_ft.data.columns import to_nfc
from tfhub_ft.data.label_names import known_names
from tfhub_ft.data.row_task import RowTask
from tfhub_ft.data.rows import Row, keep_rows, replace_values
from tfhub_ft.data.tags import OUTSIDE
from tfhub_ft.utils.console import log, warn
from tfhub_ft.utils.errors import InputError

LABELS_SHOWN = 10
# Labels that may be missing values.
MAYBE_MISSING = ("none", "na", "n/a", "null", "<na>", "#n/a", "nat")
BOOLEANS = {"true": "1", "yes": "1", "false": "0", "no": "0"}
# The key of splits.json and export.json for the labels that `min_label_rows` dropped.
DROPPED = "dropped_labels"


def count_labels(task: RowTask, rows: Sequence[Row]) -> Counter[str]:
    """Return the number of rows of each label."""
    counts: Counter[str] = Counter()
    for row in rows:
        counts.update({*task.stratify_key(row)})
    return counts


def label_index(labels: Sequence[str]) -> dict[str, int]:
    """Return the index of each label by its NFC form, which rows have; runs of old versions may have another form."""
    return {to_nfc(label): index for index, label in enumerate(labels)}


def rename_labels(task: RowTask, rows: Sequence[Row], known: Collection[str]) -> Sequence[Row]:
    """Return rows whose labels have the names of a model's labels, such as 1 for 1.0 or true; see `known_names`."""
    if task.label_column != "label":
        return rows
    return replace_values(rows, "label", known_names(count_labels(task, rows), known))


def find_label(label: str, labels: Collection[str]) -> str | None:
    """Return the label that equals another one, otherwise the only one that differs from it in spelling only."""
    label = to_nfc(label)
    similar = [each for each in labels if _spelling_key(each) == _spelling_key(label)]
    return label if label in labels else similar[0] if len(similar) == 1 else None


def warn_of_spellings(counts: Mapping[str, int], source: str, *, wanted: Collection[str | None] = ()) -> None:
    """Warn of labels that may be the same one, and of labels that may be missing values unless they are `wanted`."""
    spellings: dict[str, list[str]] = {}
    for label, _ in Counter(counts).most_common():
        spellings.setdefault(_spelling_key(label), []).append(label)
    groups = [
        " and ".join(f"{label!r} ({counts[label]:,})" for label in labels)
        for labels in spellings.values()
        if len(labels) > 1
    ]
    if groups:
        more = f" and {len(groups) - LABELS_SHOWN:,} more" if len(groups) > LABELS_SHOWN else ""
        warn(
            f"{source}: labels that differ only in case, white space or the spelling of numbers and booleans,"
            f" with their rows: {'; '.join(groups[:LABELS_SHOWN])}{more}; if they mean the same, use one spelling"
        )
    missing = {label: counts[label] for label in counts if label.casefold() in MAYBE_MISSING and label not in wanted}
    if missing:
        warn(
            f"{source}: labels that may be missing values, with their rows: {format_counts(missing)}; they are kept as"
            " labels; remove the rows if their labels are missing"
        )


def _spelling_key(label: str) -> str:
    """Return a key that ignores case, white space and the spelling of numbers and booleans."""
    text = unicodedata.normalize("NFKC", label).casefold()
    key = "".join(each for each in text if not each.isspace() and unicodedata.category(each) != "Cf")
    try:
        number = float(key.replace("_", "?"))
    except ValueError:
        return BOOLEANS.get(key, key)
    return f"{number:.12g}" if math.isfinite(number) else key


def rare_labels(counts: Mapping[str, int], least: int, source: str) -> dict[str, int]:
    """Return the labels with fewer than `least` rows, most frequent first; raise an InputError if all labels are."""
    rare = {label: rows for label, rows in Counter(counts).most_common() if rows < least}
    if rare and len(rare) == len(counts):
        label, rows = next(iter(rare.items()))
        raise InputError(
            f"--min-label-rows {least}: no label of {source} has that many rows (the most frequent one, {label!r}, has"
            f" {rows:,}); choose a smaller number"
        )
    return rare


def drop_labels(task: RowTask, rows: Sequence[Row], dropped: Collection[str], source: str) -> Sequence[Row]:
    """Return the rows without some labels, and log how many; a row is removed, or loses the label."""
    counts = count_labels(task, rows)
    dropped_counts = {label: counts[label] for label in dropped if label in counts}
    if not dropped_counts or task.label_column is None:
        return rows
    without = (_without_labels(row, task.label_column, dropped_counts) for row in rows)
    kept = keep_rows(row for row in without if row is not None)
    if not kept:
        raise InputError(f"{source}: every row has a label that --min-label-rows drops; choose a smaller number")
    count = _plural(len(dropped_counts), "rare label")
    log(f"{source}: dropped {count} by number of rows: {format_counts(dropped_counts)}")
    return kept


def _without_labels(row: Row, column: str, dropped: Collection[str]) -> Row | None:
    """Return a row without some of its labels; None if it has to be removed."""
    value = row.values[column]
    if column == "label":
        return None if value in dropped else row
    if column == "tags":
        value = [OUTSIDE if tag[2:] in dropped else tag for tag in value]
    else:
        value = tuple(label for label in value if label not in dropped)
    return Row(row.line, {**row.values, column: value})


def known_labels(task: RowTask, labels: Sequence[str]) -> set[str]:
    """Return a model's labels by the names that `Task.stratify_key` returns; empty if predictions are not labels."""
    if task.label_column == "tags":
        return {label[2:] for label in label_index(labels) if label != OUTSIDE}
    return set(label_index(labels)) if task.label_column else set()


def group_key(task: RowTask, row: Row) -> str:
    """Return the text by which a split keeps rows together."""
    if task.grouped_by == "last input":
        return task.prediction_inputs(row)[-1]
    return "\n".join(task.training_inputs(row))


def unseen_labels(task: RowTask, counts: Mapping[str, int], labels: Sequence[str]) -> dict[str, int]:
    """Return the labels that the model does not know, with their rows, most frequent first."""
    known = known_labels(task, labels)
    return {label: rows for label, rows in Counter(counts).most_common() if label not in known} if known else {}


def warn_of_unseen_labels(task: RowTask, counts: Mapping[str, int], labels: Sequence[str], source: str) -> None:
    """Warn of labels that the model does not know: no prediction can equal them."""
    if unseen := unseen_labels(task, counts, labels):
        spellings = {_spelling_key(label): label for label in known_labels(task, labels)}
        similar = [
            f"{label!r} is {spellings[key]!r} in training"
            for label in unseen
            if (key := _spelling_key(label)) in spellings
        ]
        warn(
            f"{source}: {_plural(len(unseen), 'label')} not seen in training ({format_counts(unseen)});"
            f" their rows count as wrong{'; ' if similar else ''}{', '.join(similar[:LABELS_SHOWN])}"
        )


def warn_of_missing_labels(task: RowTask, counts: Mapping[str, Mapping[str, int]], labels: Sequence[str]) -> None:
    """Warn of labels without validation or test rows, from the rows of each label by split."""
    known = known_labels(task, labels)
    learned = Counter({label: rows for label, rows in counts["train"].items() if label in known}).most_common()
    parts = []
    for split in ("validation", "test"):
        if missing := {label: rows for label, rows in learned if label not in counts.get(split, known)}:
            parts.append(f"{_plural(len(missing), 'label')} without {split} rows ({format_counts(missing)})")
    if parts:
        warn(f"{', '.join(parts)}: the scores do not cover them; the counts are training rows")


def warn_of_unlearned_labels(task: RowTask, counts: Mapping[str, int], earlier: Sequence[str]) -> None:
    """Warn of labels of a run to continue from that the training rows lack."""
    with_logit = earlier[: len(earlier) - task.labels_without_logit]
    if missing := sorted(known_labels(task, with_logit) - counts.keys()):
        warn(
            f"{_plural(len(missing), 'label')} of the earlier run without training rows ({format_labels(missing)}): the"
            " model keeps them, but may forget how to predict them"
        )


def format_labels(labels: Sequence[str]) -> str:
    """Return the first ten labels for a message."""
    return ", ".join(labels[:LABELS_SHOWN]) + _more(labels)


def format_counts(counts: Mapping[str, int]) -> str:
    """Return the first ten labels with their rows for a message."""
    return ", ".join(f"{label}: {rows:,}" for label, rows in list(counts.items())[:LABELS_SHOWN]) + _more(counts)


def _more(labels: Collection[str]) -> str:
    return f" and {len(labels) - LABELS_SHOWN:,} more" if len(labels) > LABELS_SHOWN else ""


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
