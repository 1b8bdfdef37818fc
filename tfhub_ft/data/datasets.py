"""The rows that a training works on: from one file or three, or patterns of files, checked, split and described."""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.data.fingerprints import fingerprints, folded
from tfhub_ft.data.labels import (
    DROPPED,
    count_labels,
    drop_labels,
    group_key,
    listed,
    rare_labels,
    unseen_labels,
    warn_of_missing_labels,
    warn_of_spellings,
    warn_of_unseen_labels,
)
from tfhub_ft.data.locations import location_of
from tfhub_ft.data.prepared import Prepared
from tfhub_ft.data.row_task import RowTask
from tfhub_ft.data.rows import ReadOptions, Row, read_all
from tfhub_ft.data.sequences import pick
from tfhub_ft.data.splits import split_rows
from tfhub_ft.utils.console import warn
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    from tfhub_ft.settings import TrainingSettings

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Some rows of a file, or of the files that a pattern names.

    Args:
        file: where they come from.
        rows: the checked rows.
        numbers: their places among all rows of the file; None where they are all of them.
    """

    file: Path
    rows: Sequence[Row]
    numbers: Sequence[int] | None = None

    def described(self, location: dict[str, Any]) -> dict[str, Any]:
        """The file by its location, how many rows, and which, where they are not the whole file.

        These are the lines of a file; of several files, the places among all their rows, from 0.
        """
        described = {**location, "rows": len(self.rows)}
        if self.numbers is None:
            return described
        several = isinstance(location["sha256"], list)
        return {
            **described,
            **({"numbers": [*self.numbers]} if several else {"lines": [row.line for row in self.rows]}),
        }


@dataclass(frozen=True)
class Dataset:
    """The splits of a training run, and the labels of its rows.

    Args:
        splits: by name: train, validation and, where there is one, test.
        labels: the labels, in the order of the logits.
        targets: what the task's `targets` gives for each split.
        prepared: the folder that has the rows' tokens, too, where they come from one.
        dropped: the labels that `min_label_rows` dropped, with their training rows.
    """

    splits: dict[str, Split]
    labels: list[str]
    targets: dict[str, Any]
    prepared: Prepared | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)

    def described(self, folder: Path | None = None) -> dict[str, Any]:
        """What splits.json holds.

        Args:
            folder: the run folder, which the files are also named relative to; None for what belongs to no run.
        """
        if self.prepared:
            return {name: self.prepared.described(name, folder) for name in self.splits}
        locations = {file: location_of(file, folder) for file in {split.file for split in self.splits.values()}}
        described = {name: split.described(locations[split.file]) for name, split in self.splits.items()}
        if self.dropped:
            described["train"][DROPPED] = dict(self.dropped)
        return described

    @property
    def sources(self) -> str:
        """The files that the rows come from, in words."""
        return " and ".join(dict.fromkeys(str(split.file) for split in self.splits.values()))

    def is_of(self, splits: dict[str, dict[str, Any]]) -> bool:
        """Whether these are the rows that a splits.json describes, wherever their files are now."""

        def contents(described: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
            places = ("file", "relative", "bytes", "prepared")
            return {name: {k: v for k, v in split.items() if k not in places} for name, split in described.items()}

        return contents(self.described()) == contents(splits)


def load_dataset(
    task: RowTask,
    settings: "TrainingSettings",
    demo: Path,
    *,
    labels: list[str] | None = None,
    splits: dict[str, dict[str, Any]] | None = None,
) -> Dataset:
    """Read, check and split the rows that the settings name.

    Args:
        task: what the rows mean.
        settings: `data`, or `train`, `validation` and `test`, or `prepared`; the demo rows where all are missing.
        demo: the file of the demo rows.
        labels: the labels, in the order of the logits; those of the training rows by default.
        splits: the splits.json of the run whose rows these are: they are split as it says, and warnings that the run
            gave are not repeated.

    Raises:
        InputError: a file, a row or the labels are wrong.
    """
    prepared = Prepared(settings.prepared) if settings.prepared else None
    dropped: dict[str, int] = {}
    if prepared:
        found = {name: Split(prepared.path, prepared.rows(name, task.columns(settings))) for name in prepared.splits}
    else:
        found, dropped = _splits_of_files(task, settings, demo, splits or {})
    counts = {} if splits else {name: count_labels(task, split.rows) for name, split in found.items()}
    known = labels or task.labels(found["train"].rows, str(found["train"].file), settings)
    if counts:
        _check_labels(task, found, counts, known)
        _warn_of_leaks(task, found)
    targets = {name: task.targets(split.rows, known, str(split.file)) for name, split in found.items()}
    return Dataset(found, known, targets, prepared, dropped)


def _splits_of_files(
    task: RowTask, settings: "TrainingSettings", demo: Path, recorded: dict[str, dict[str, Any]]
) -> tuple[dict[str, Split], dict[str, int]]:
    """The splits that are read from files, and the labels that were dropped, with their training rows."""
    files = {name: Path(file) for name in SPLITS if (file := getattr(settings, name))}
    files = files or {"train": Path(settings.data or demo)}
    rows = {name: _read(file, task, settings) for name, file in files.items()}
    if not recorded:
        counts = sum((count_labels(task, each) for each in rows.values()), Counter())
        wanted = [getattr(settings, name, None) for name in ("positive_label", "out_of_scope_label")]
        warn_of_spellings(counts, str(files["train"]), wanted=wanted)
    dropped: dict[str, int] = {}
    if least := getattr(settings, "min_label_rows", 0):
        dropped = rare_labels(count_labels(task, rows["train"]), least, str(files["train"]))
        rows = {name: drop_labels(task, each, dropped, str(files[name])) for name, each in rows.items()}
    splits = {name: Split(files[name], each) for name, each in rows.items()}
    if "validation" not in files:
        whole = splits["train"]
        task.labels(whole.rows, str(whole.file), settings)
        names = SPLITS[:2] if settings.train else SPLITS
        fractions = (0.85, 0.15) if settings.train else (0.70, 0.15, 0.15)
        splits |= _parts(task, whole, dict(zip(names, fractions)), settings.seed, recorded)
    return {name: splits[name] for name in SPLITS if name in splits}, dropped


def _read(file: Path, task: RowTask, settings: "TrainingSettings") -> Sequence[Row]:
    return read_all(
        file,
        task.columns(settings),
        options=ReadOptions.of(settings),
        skip_bad_rows=settings.skip_bad_rows,
    )


def _parts(
    task: RowTask, whole: Split, fractions: dict[str, float], seed: int, recorded: dict[str, dict[str, Any]]
) -> dict[str, Split]:
    """A file's rows in parts: those that a splits.json names, or by the seed."""
    if recorded:
        parts = [_recorded_numbers(whole.rows, recorded.get(name, {})) for name in fractions]
    else:
        labels = (task.stratify_key(row) if task.stratified else () for row in whole.rows)
        texts = (group_key(task, row) for row in whole.rows)
        try:
            parts = split_rows(labels, texts, fractions=list(fractions.values()), seed=seed)
        except InputError as error:
            raise InputError(f"{whole.file}: {error}") from None
    splits = (Split(whole.file, pick(whole.rows, part), numbers=part) for part in parts)
    return dict(zip(fractions, splits, strict=True))


def _recorded_numbers(rows: Sequence[Row], described: dict[str, Any]) -> "array[int]":
    """The places of the rows that an entry of a splits.json names, as far as the file still has them."""
    if "numbers" in described:
        return array("q", (number for number in described["numbers"] if number < len(rows)))
    lines = np.fromiter((row.line for row in rows), np.int64, len(rows))
    return array("q", np.flatnonzero(np.isin(lines, described.get("lines", []))).tobytes())


def _check_labels(
    task: RowTask, splits: dict[str, Split], counts: dict[str, Mapping[str, int]], labels: Sequence[str]
) -> None:
    """Refuse training rows with labels that the model lacks; warn where other splits lack or add labels."""
    if unseen := unseen_labels(task, counts["train"], labels):
        rows, file = splits["train"].rows, splits["train"].file
        line, label = next(
            (row.line, each) for row in rows for each in sorted(task.stratify_key(row)) if each in unseen
        )
        raise InputError(
            f"{file}, line {line}: label {label!r} was not seen in training; the labels are {listed(labels)}"
        )
    for name in SPLITS[1:]:
        if name in splits:
            warn_of_unseen_labels(task, counts[name], labels, str(splits[name].file))
    warn_of_missing_labels(task, counts, labels)


def leaked_rows(task: RowTask, splits: Mapping[str, Split]) -> dict[str, int]:
    """Count the validation and test rows whose text is also in the training rows, by the rule that keeps rows together.

    Args:
        task: tells the text of a row that a split keeps in one part; case and the white space around it do not count.
        splits: by name: train, validation and, where there is one, test.
    """
    texts = {name: fingerprints(folded(group_key(task, row)) for row in split.rows) for name, split in splits.items()}
    return {name: int(np.isin(texts[name], texts["train"]).sum()) for name in SPLITS[1:] if name in splits}


def _warn_of_leaks(task: RowTask, splits: dict[str, Split]) -> None:
    for name, leaked in leaked_rows(task, splits).items():
        if leaked:
            warn(f"{leaked:,} of {len(splits[name].rows):,} {name} rows repeat a text of the training rows")
