"""What every reader of a format gives: records, one at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfhub_ft.errors import InputError

# The number of a record, its values by column, and what is wrong with it; one of the last two is None.
Record = tuple[int, dict[str, Any] | None, str | None]


@dataclass(frozen=True)
class Source:
    """A file of records.

    Args:
        path: the file.
        records: reads the file from its start.
        names: of the columns, where the file lists them; None where each record has names of its own.
        unit: what a record's number counts.
    """

    path: Path
    records: Callable[[], Iterator[Record]]
    names: list[str] | None = None
    unit: str = "line"

    def located(self, number: int, fault: str) -> str:
        """What is wrong with a record, with the file and the record's number."""
        return f"{self.path}, {self.unit} {number}: {fault}"


def first_record(path: Path, records: Iterator[tuple[int, Any, str | None]]) -> Any:
    """The content of the first record.

    Raises:
        InputError: there is none, or it is bad: a file is not read any further then.
    """
    number, content, fault = next(records, (0, None, None))
    if fault:
        raise InputError(f"{path}, line {number}: {fault}")
    if content is None:
        raise InputError(f"{path}: no rows found")
    return content
