"""The rows that a training works on: from one file or three, or patterns of files, checked, split and described."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.console import say
from tfhub_ft.data.fingerprints import fingerprints
from tfhub_ft.data.prepared import Prepared
from tfhub_ft.data.rows import Row, read_all
from tfhub_ft.data.sequences import pick
from tfhub_ft.data.splits import split_rows
from tfhub_ft.errors import InputError
from tfhub_ft.files import matching_files, sha256_of

if TYPE_CHECKING:
    from tfhub_ft.settings import Settings
    from tfhub_ft.tasks.task import Task

SPLITS = ("train", "validation", "test")
HELD_OUT = 0.15


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

    def described(self, sha256: list[str]) -> dict[str, Any]:
        """The file, its sha256, how many rows, and which, where they are not the whole file.

        These are the lines of a file; of several files, the places among all their rows, from 0.
        """
        told = {"file": str(self.file), "sha256": sha256 if len(sha256) > 1 else sha256[0], "rows": len(self.rows)}
        if self.numbers is None:
            return told
        several = len(sha256) > 1
        return {**told, **({"numbers": [*self.numbers]} if several else {"lines": [row.line for row in self.rows]})}


@dataclass(frozen=True)
class Dataset:
    """The splits of a training, and the labels of its rows.

    Args:
        splits: by name: train, validation and, where there is one, test.
        labels: the labels, in the order of the logits.
        targets: what the model shall answer, an entry a row for each split.
        prepared: the folder that has the rows' tokens, too, where they come from one.
    """

    splits: dict[str, Split]
    labels: list[str]
    targets: dict[str, Any]
    prepared: Prepared | None = None

    def described(self) -> dict[str, Any]:
        """What splits.json holds."""
        if self.prepared:
            return {name: self.prepared.described(name) for name in self.splits}
        named = {split.file for split in self.splits.values()}
        digests = {file: [sha256_of(each) for each in matching_files(file)] for file in named}
        return {name: split.described(digests[split.file]) for name, split in self.splits.items()}

    def is_of(self, splits: dict[str, dict[str, Any]]) -> bool:
        """Whether these are the rows that a splits.json describes, wherever their files stand now."""

        def contents(described: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
            return {name: {k: v for k, v in split.items() if k != "file"} for name, split in described.items()}

        return contents(self.described()) == contents(splits)


def load_dataset(task: "Task", settings: "Settings", demo: Path, *, labels: list[str] | None = None) -> Dataset:
    """Read, check and split the rows that the settings name.

    Args:
        task: what the rows mean.
        settings: `data`, or `train`, `validation` and `test`, or `prepared`; the demo rows where all are missing.
        demo: the file of the demo rows.
        labels: the labels, in the order of the logits; those of the training rows by default.

    Raises:
        InputError: a file, a row, or the labels are not as they must be.
    """
    prepared = Prepared(settings.prepared) if settings.prepared else None
    if prepared:
        splits = {name: Split(prepared.path, prepared.rows(name, task.columns(settings))) for name in prepared.splits}
    else:
        splits = _separate_files(task, settings) if settings.train else _one_file(task, settings, demo)
    labels = labels or task.labels(splits["train"].rows, str(splits["train"].file), settings)
    targets = {name: task.targets(split.rows, labels, str(split.file)) for name, split in splits.items()}
    _warn_of_leaks(task, splits)
    return Dataset(splits, labels, targets, prepared)


def _one_file(task: "Task", settings: "Settings", demo: Path) -> dict[str, Split]:
    file = Path(settings.data or demo)
    rows = read_all(file, task.columns(settings), check=task.check_row, skip_bad_rows=settings.skip_bad_rows)
    task.labels(rows, str(file), settings)
    return dict(zip(SPLITS, _parts(task, file, rows, (0.70, 0.15, 0.15), settings.seed), strict=True))


def _separate_files(task: "Task", settings: "Settings") -> dict[str, Split]:
    splits = {}
    for name in SPLITS:
        if file := getattr(settings, name):
            rows = read_all(file, task.columns(settings), check=task.check_row, skip_bad_rows=settings.skip_bad_rows)
            splits[name] = Split(Path(file), rows)
    if "validation" not in splits:
        whole = splits["train"]
        task.labels(whole.rows, str(whole.file), settings)
        parts = _parts(task, whole.file, whole.rows, (1 - HELD_OUT, HELD_OUT), settings.seed)
        splits["train"], splits["validation"] = parts
    return {name: splits[name] for name in SPLITS if name in splits}


def _parts(task: "Task", file: Path, rows: Sequence[Row], fractions: tuple[float, ...], seed: int) -> list[Split]:
    try:
        parts = split_rows(map(task.stratum, rows), map(task.group, rows), fractions=fractions, seed=seed)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    return [Split(file, pick(rows, part), numbers=part) for part in parts]


def _warn_of_leaks(task: "Task", splits: dict[str, Split]) -> None:
    texts = {name: fingerprints("\0".join(task.inputs(row)) for row in split.rows) for name, split in splits.items()}
    for name in SPLITS[1:]:
        if name in splits:
            leaked = np.isin(texts[name], texts["train"]).sum()
            if leaked:
                say(f"Warning: {leaked} of {len(splits[name].rows)} {name} rows also stand in the training rows.")
