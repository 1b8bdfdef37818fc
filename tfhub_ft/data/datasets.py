"""The rows of a training run: read, checked and split."""

from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tfhub_ft.data.batches import Targets
from tfhub_ft.data.columns import WEIGHT, Column, weight_columns
from tfhub_ft.data.fingerprints import digest_of_values, fingerprints, fold_text
from tfhub_ft.data.formats.source import ReadOptions
from tfhub_ft.data.labels import (
    DROPPED,
    count_labels,
    drop_labels,
    format_counts,
    format_labels,
    group_key,
    rare_labels,
    rename_labels,
    unseen_labels,
    warn_of_missing_labels,
    warn_of_spellings,
    warn_of_unlearned_labels,
    warn_of_unseen_labels,
)
from tfhub_ft.data.locations import SplitEntry, location_of
from tfhub_ft.data.memory_rows import MemoryRows, is_in_memory
from tfhub_ft.data.prepared import Prepared
from tfhub_ft.data.row_copies import COPY, copy_path, read_copy
from tfhub_ft.data.row_task import RowTask
from tfhub_ft.data.rows import Row, read_all
from tfhub_ft.data.sequences import select
from tfhub_ft.data.splits import split_rows
from tfhub_ft.settings import TrainingSettings, option_name
from tfhub_ft.utils.console import warn
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.remote import as_path

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Rows of a file, of the files that match a pattern, or of an object.

    Args:
        file: The file, the pattern or the object.
        rows: The checked rows.
        numbers: Their indices among all rows of the file; None if they are all of them.
        sha256: Of an object, the SHA-256 of the values of all its rows.
    """

    file: Path | MemoryRows
    rows: Sequence[Row]
    numbers: Sequence[int] | None = None
    sha256: str | None = None

    def location(self, row: Row) -> str:
        """Return the file and the line of a row for a message."""
        return self.file.location(row.line) if isinstance(self.file, MemoryRows) else f"{self.file}, line {row.line}"

    def source(self, folder: Path | None = None) -> SplitEntry:
        """Return the entry of splits.json for the file or the object, as `location_of`."""
        if isinstance(self.file, MemoryRows):
            return {"file": self.file.recorded_name, "sha256": self.sha256}
        return location_of(self.file, folder)

    def described(self, location: SplitEntry) -> SplitEntry:
        """Return the entry of splits.json: the lines of a part of a file or, of several files, the indices of rows."""
        described = {**location, "rows": len(self.rows)}
        if self.numbers is None:
            return described
        if isinstance(location["sha256"], list):
            return {**described, "numbers": [*self.numbers]}
        return {**described, "lines": [row.line for row in self.rows]}


@dataclass(frozen=True)
class Fold:
    """One of the folds of a cross-validation, counted from 0."""

    number: int
    count: int


@dataclass(frozen=True)
class Dataset:
    """The splits of a training run, and the labels of its rows.

    Args:
        splits: By name: train, validation and, if there is one, test.
        labels: The labels, in the order of the logits.
        targets: The task's `targets` of each split.
        weights: The weights of the training rows in the loss, float32 (rows,); None for equal weights.
        prepared: The folder of prepared rows that the rows come from.
        dropped: The labels that `min_label_rows` dropped, with their training rows.
        recorded: The splits.json of a run, if the rows come from its copy of them.
    """

    splits: dict[str, Split]
    labels: list[str]
    targets: dict[str, Targets]
    weights: np.ndarray | None = None
    prepared: Prepared | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    recorded: Mapping[str, SplitEntry] = field(default_factory=dict)

    def described(self, folder: Path | None = None) -> dict[str, SplitEntry]:
        """Return the content of splits.json, with file names relative to the run folder, if there is one."""
        if self.prepared:
            return {name: self.prepared.described(name, folder) for name in self.splits}
        if self.recorded:
            return {name: _without_places(entry) for name, entry in self.recorded.items()}
        sources = {split.file: split for split in self.splits.values()}
        locations = {file: split.source(folder) for file, split in sources.items()}
        described = {name: split.described(locations[split.file]) for name, split in self.splits.items()}
        if self.dropped:
            described["train"][DROPPED] = dict(self.dropped)
        return described

    @property
    def sources(self) -> str:
        """The files that the rows come from, for a message."""
        return " and ".join(dict.fromkeys(str(split.file) for split in self.splits.values()))

    @property
    def memory_digests(self) -> list[str]:
        """The distinct SHA-256 of the objects that the rows come from; empty for files."""
        return list(dict.fromkeys(split.sha256 for split in self.splits.values() if split.sha256))

    def matches(self, splits: Mapping[str, SplitEntry]) -> bool:
        """Return whether these are the rows of a splits.json, wherever their files are now."""

        def contents(described: Mapping[str, SplitEntry]) -> dict[str, SplitEntry]:
            return {
                name: {k: v for k, v in _without_places(split).items() if k != "file"}
                for name, split in described.items()
            }

        return contents(self.described()) == contents(splits)


def _without_places(entry: SplitEntry) -> SplitEntry:
    """Return an entry of splits.json without what depends on the place of the run."""
    return {k: v for k, v in entry.items() if k not in ("relative", "bytes", "prepared", COPY)}


def load_dataset(
    task: RowTask,
    settings: TrainingSettings,
    demo: Path,
    *,
    labels: list[str] | None = None,
    splits: Mapping[str, SplitEntry] | None = None,
    earlier_labels: Sequence[str] = (),
    objects: Mapping[str, MemoryRows] | None = None,
    fold: Fold | None = None,
) -> Dataset:
    """Read, check and split the rows of `prepared`, of `train`, `validation` and `test`, of `data`, or the demo rows.

    Args:
        task: The task that defines the columns and labels.
        settings: The settings of the run.
        demo: The file of the demo rows.
        labels: The labels, in the order of the logits; by default those of the training rows.
        splits: The splits.json of a run: the rows are split the same, and warnings are not repeated.
        fold: The fold whose rows of `data` are the test rows; 15% of the others are validation rows.
        earlier_labels: The labels of a run to continue from, which those of the training rows are added to.
        objects: The rows in memory, by the settings that have their names.
    """
    prepared = Prepared(settings.prepared) if settings.prepared else None
    dropped: dict[str, int] = {}
    if prepared:
        columns = [*task.columns(settings), *weight_columns(settings)]
        loaded = {name: Split(prepared.path, prepared.rows(name, columns)) for name in prepared.splits}
    else:
        loaded, dropped = _splits_of_files(task, settings, demo, splits or {}, objects or {}, labels, fold)
    if fold:
        # The models of all folds have the same labels.
        rows = [row for split in loaded.values() for row in split.rows]
        labels = task.labels(rows, str(loaded["train"].file), settings)
    known = labels or task.labels(loaded["train"].rows, str(loaded["train"].file), settings)
    if earlier_labels:
        known = task.continued_labels(earlier_labels, known, str(loaded["train"].file), settings)
        warn_of_unlearned_labels(task, count_labels(task, loaded["train"].rows), earlier_labels)
    if not splits:
        _check_labels(task, loaded, known)
        for name, leaked in leaked_rows(task, loaded).items():
            if leaked:
                warn(f"{leaked:,} of {len(loaded[name].rows):,} {name} rows repeat a text of the training rows")
    targets = {name: task.targets(split.rows, known, str(split.file)) for name, split in loaded.items()}
    return Dataset(loaded, known, targets, _weights(loaded["train"], settings), prepared, dropped)


def _weights(train: Split, settings: TrainingSettings) -> np.ndarray | None:
    """Return the weights of the training rows; None for equal weights."""
    if not (columns := weight_columns(settings)):
        return None
    weights = np.fromiter((row.values[WEIGHT] for row in train.rows), "float32", len(train.rows))
    if not weights.any():
        raise InputError(
            f"{train.file}: every training row has the weight 0 in column {columns[0].column!r}; at least one must be"
            " above 0"
        )
    return weights


def load_copied_rows(
    task: RowTask, settings: TrainingSettings, labels: list[str], splits: Mapping[str, SplitEntry], folder: Path
) -> Dataset:
    """Read the rows that a run has copied into its folder, given its splits.json."""
    columns = task.columns(settings)
    loaded = {
        name: Split(copy_path(folder, name), read_copy(folder, name, entry, columns)) for name, entry in splits.items()
    }
    targets = {name: task.targets(split.rows, labels, str(split.file)) for name, split in loaded.items()}
    return Dataset(loaded, labels, targets, _weights(loaded["train"], settings), recorded=splits)


def _files_of(
    settings: TrainingSettings, demo: Path, objects: Mapping[str, MemoryRows]
) -> dict[str, Path | MemoryRows]:
    """Return the files or objects of rows by split."""
    names = [name for name in SPLITS if getattr(settings, name)]
    files: dict[str, Path | MemoryRows] = {}
    for name in names or ["data"]:
        file = getattr(settings, name) or demo
        if is_in_memory(str(file)) and name not in objects:
            raise InputError(f"{option_name(name)} {file}: not a file; pass the rows in Python, as {name}=")
        files["train" if name == "data" else name] = objects.get(name) or as_path(file)
    return files


def _splits_of_files(
    task: RowTask,
    settings: TrainingSettings,
    demo: Path,
    recorded: Mapping[str, SplitEntry],
    objects: Mapping[str, MemoryRows],
    labels: Collection[str] | None,
    fold: Fold | None,
) -> tuple[dict[str, Split], dict[str, int]]:
    """Return the splits of files and objects, and the dropped labels with their training rows."""
    files = _files_of(settings, demo, objects)
    options = ReadOptions.of(settings)
    rows_by_split = {
        name: read_all(file, columns, options=options, skip_bad_rows=settings.skip_bad_rows)
        for (name, file), columns in zip(files.items(), _columns_of_files(task, settings, files), strict=True)
    }
    digests = {
        name: digest_of_values(row.values for row in rows_by_split[name])
        for name, file in files.items()
        if isinstance(file, MemoryRows)
    }
    for name, digest in digests.items():
        if recorded and digest != recorded[name]["sha256"]:
            raise InputError(f"{files[name]}: has other rows than the run was trained on; pass them in the same order")
    rows_by_split = _rename_labels(task, rows_by_split, recorded, labels)
    if not recorded:
        counts = sum((count_labels(task, rows) for rows in rows_by_split.values()), Counter())
        wanted = [getattr(settings, name, None) for name in ("positive_label", "out_of_scope_label")]
        warn_of_spellings(counts, str(files["train"]), wanted=wanted)
    dropped: dict[str, int] = {}
    if least := getattr(settings, "min_label_rows", 0):
        dropped = rare_labels(count_labels(task, rows_by_split["train"]), least, str(files["train"]))
        rows_by_split = {
            name: drop_labels(task, rows, dropped, str(files[name])) for name, rows in rows_by_split.items()
        }
    splits = {name: Split(files[name], rows, sha256=digests.get(name)) for name, rows in rows_by_split.items()}
    if "validation" not in files:
        whole = splits["train"]
        task.labels(whole.rows, str(whole.file), settings)
        names = SPLITS[:2] if settings.train else SPLITS
        fractions = (0.85, 0.15) if settings.train else (0.70, 0.15, 0.15)
        if fold:
            splits = _split_fold(task, whole, fold, settings.seed)
        else:
            splits |= _split(task, whole, dict(zip(names, fractions)), settings.seed, recorded)
    return {name: splits[name] for name in SPLITS if name in splits}, dropped


def _rename_labels(
    task: RowTask,
    rows_by_split: dict[str, Sequence[Row]],
    recorded: Mapping[str, SplitEntry],
    labels: Collection[str] | None,
) -> dict[str, Sequence[Row]]:
    """Return rows whose labels have the names of a model's labels or, without these, of the training rows."""
    if labels:
        known = [*labels, *recorded.get("train", {}).get(DROPPED, ())]
        return {name: rename_labels(task, rows, known) for name, rows in rows_by_split.items()}
    train, *others = rows_by_split
    if not others:
        return rows_by_split
    known = count_labels(task, rows_by_split[train])
    return {train: rows_by_split[train], **{name: rename_labels(task, rows_by_split[name], known) for name in others}}


def _columns_of_files(task: RowTask, settings: TrainingSettings, splits: Collection[str]) -> list[list[Column]]:
    """Return the columns of the file of each split; raise an InputError if settings name those of another file."""
    names = settings.names()
    for split in SPLITS[1:]:
        given = [f"{split}_{name}" for name in names if getattr(settings, f"{split}_{name}", None) is not None]
        if given and split not in splits:
            raise InputError(f"{option_name(given[0])}: requires --{split}; pass both")
    columns = {
        split: [column.of_file(split, names) for column in task.columns(settings.of_file(split))] for split in splits
    }
    columns["train"] += weight_columns(settings)
    return [*columns.values()]


def _split(
    task: RowTask, whole: Split, fractions: dict[str, float], seed: int, recorded: Mapping[str, SplitEntry]
) -> dict[str, Split]:
    """Split the rows of a file as a splits.json does, or by the seed."""
    if recorded:
        parts = [_recorded_numbers(whole.rows, recorded.get(name, {})) for name in fractions]
    else:
        try:
            parts = _stratified_parts(task, whole.rows, list(fractions.values()), seed)
        except InputError as error:
            raise InputError(f"{whole.file}: {error}") from None
    return _parts_of(whole, fractions, parts)


def _parts_of(whole: Split, names: Iterable[str], parts: "Iterable[array[int]]") -> dict[str, Split]:
    """Return the splits of a file by the indices of their rows."""
    splits = (replace(whole, rows=select(whole.rows, part), numbers=part) for part in parts)
    return dict(zip(names, splits, strict=True))


def _stratified_parts(
    task: RowTask, rows: Sequence[Row], fractions: Sequence[float], seed: int
) -> "tuple[array[int], ...]":
    labels = (task.stratify_key(row) if task.stratified else () for row in rows)
    return split_rows(labels, (group_key(task, row) for row in rows), fractions=fractions, seed=seed)


def _split_fold(task: RowTask, whole: Split, fold: Fold, seed: int) -> dict[str, Split]:
    """Return the splits of a fold."""
    try:
        parts = _stratified_parts(task, whole.rows, [1 / fold.count] * fold.count, seed)
        others = np.sort(np.concatenate([part for number, part in enumerate(parts) if number != fold.number]))
        rest = select(whole.rows, array("q", others.tolist()))
        held_in = _stratified_parts(task, rest, (0.85, 0.15), seed)
    except InputError:
        raise InputError(
            f"--folds {fold.count}: {whole.file} has too few rows with distinct texts; choose fewer folds, or add rows"
        ) from None
    if rare := {label: rows for label, rows in count_labels(task, whole.rows).items() if rows < fold.count}:
        warn(f"labels with fewer rows than folds ({format_counts(rare)}): some folds do not test or do not train them")
    numbers = [array("q", others[part].tolist()) for part in held_in] + [parts[fold.number]]
    return _parts_of(whole, SPLITS, numbers)


def _recorded_numbers(rows: Sequence[Row], described: SplitEntry) -> "array[int]":
    """Return the indices of the rows of an entry of splits.json, as far as the file still has them."""
    if "numbers" in described:
        return array("q", (number for number in described["numbers"] if number < len(rows)))
    lines = np.fromiter((row.line for row in rows), np.int64, len(rows))
    return array("q", np.flatnonzero(np.isin(lines, described.get("lines", []))).tobytes())


def _check_labels(task: RowTask, splits: Mapping[str, Split], labels: Sequence[str]) -> None:
    """Raise an InputError if training rows have unknown labels; warn of labels that other splits lack or add."""
    counts = {name: count_labels(task, split.rows) for name, split in splits.items()}
    if unseen := unseen_labels(task, counts["train"], labels):
        train = splits["train"]
        row, label = next(
            (row, each) for row in train.rows for each in sorted(task.stratify_key(row)) if each in unseen
        )
        raise InputError(
            f"{train.location(row)}: label {label!r} was not seen in training; the labels are {format_labels(labels)}"
        )
    for name in SPLITS[1:]:
        if name in splits:
            warn_of_unseen_labels(task, counts[name], labels, str(splits[name].file))
    warn_of_missing_labels(task, counts, labels)


def leaked_rows(task: RowTask, splits: Mapping[str, Split]) -> dict[str, int]:
    """Return the number of validation and test rows whose text, by `group_key`, is also in the training rows."""
    hashes = {
        name: fingerprints(fold_text(group_key(task, row)) for row in split.rows) for name, split in splits.items()
    }
    return {name: int(np.isin(hashes[name], hashes["train"]).sum()) for name in SPLITS[1:] if name in splits}
