"""Copies of a run's rows in its folder."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tfhub_ft.data.columns import Column
from tfhub_ft.data.locations import SplitEntry
from tfhub_ft.data.rows import Row, keep_rows, restore_values
from tfhub_ft.utils.documents import parse_json
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import atomic_write, sha256_of

# The folder of the copies within a run folder, and the key of a split's entry in splits.json that describes its copy.
FOLDER, COPY = "rows", "copy"
_LINE = "source_line"


def copy_path(folder: Path, split: str) -> Path:
    """Return the path of the copy of a split in a run folder."""
    return folder / FOLDER / f"{split}.jsonl"


def write_copies(folder: Path, rows_by_split: Mapping[str, Sequence[Row]]) -> dict[str, SplitEntry]:
    """Write the rows of each split into a run folder, and return what splits.json has about each file.

    A copy is a JSON lines file of the clean values, by the names of the task's columns, and of each row's line.
    """
    return {name: _write_copy(folder, name, rows) for name, rows in rows_by_split.items()}


def _write_copy(folder: Path, split: str, rows: Sequence[Row]) -> SplitEntry:
    path = copy_path(folder, split)
    with atomic_write(path) as aside, aside.open("w", encoding="utf-8") as file:
        for row in rows:
            try:
                line = json.dumps({**row.values, _LINE: row.line}, ensure_ascii=False)
            except TypeError as error:
                raise InputError(
                    f"--copy-data: a value of this task cannot be copied ({error}); leave it out"
                ) from None
            print(line, file=file)
    return {"file": path.relative_to(folder).as_posix(), "sha256": sha256_of(path)}


def read_copy(folder: Path, split: str, entry: SplitEntry, columns: Sequence[Column]) -> Sequence[Row]:
    """Return the rows of a split from the copy in a run folder, given its entry in splits.json.

    Raises:
        InputError: The file is missing or differs from the entry.
    """
    path = copy_path(folder, split)
    if not path.is_file() or sha256_of(path) != entry[COPY]["sha256"]:
        state = "has changed" if path.exists() else "is missing"
        raise InputError(f"{folder}: its training rows are not found: {path} {state}")

    def rows() -> Iterator[Row]:
        with path.open(encoding="utf-8") as file:
            for text in file:
                values = parse_json(text, {_LINE: int})
                yield Row(values.pop(_LINE), restore_values(values, columns))

    return keep_rows(rows())
