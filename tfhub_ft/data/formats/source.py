"""What every reader of a format gives, records one at a time, and what it may need to know about the file."""

import codecs
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfhub_ft.utils.errors import InputError

# The number of a record, its values by column, and what is wrong with it; one of the last two is None.
Record = tuple[int, dict[str, Any] | None, str | None]

TAB = ("tab", r"\t", "\t")


@dataclass(frozen=True)
class ReadOptions:
    """How files are read where that does not follow from the file.

    Args:
        delimiter: the character between the fields of csv and tsv files, or "tab"; None detects it.
        encoding: of text files; None is UTF-8, or what a byte order mark says.
        header: whether csv and tsv files begin with the names of their columns, which otherwise are numbered from 1.
        usual_delimiter: the delimiter where none is detected.
        usual_encoding: the encoding of files that are not UTF-8.
        keep_blank: whether a row whose fields are all empty is a row, and a blank line of a txt file or of a table with
            a single column.
        named: whether the user can name these options, so that an error may advise it.

    Raises:
        InputError: the delimiter or the encoding cannot be used.
    """

    delimiter: str | None = None
    encoding: str | None = None
    header: bool = True
    usual_delimiter: str | None = None
    usual_encoding: str | None = None
    keep_blank: bool = False
    named: bool = True

    def __post_init__(self) -> None:
        for name in ("delimiter", "usual_delimiter"):
            object.__setattr__(self, name, _checked_delimiter(getattr(self, name)))
        for name in ("encoding", "usual_encoding"):
            _check_encoding(getattr(self, name))

    @classmethod
    def of(cls, settings: Any) -> "ReadOptions":
        """The options that a training run's settings name."""
        return cls(delimiter=settings.delimiter, encoding=settings.encoding, header=settings.header)

    @classmethod
    def of_other_file(
        cls,
        settings: Any,
        *,
        delimiter: str | None = None,
        encoding: str | None = None,
        header: bool | None = None,
    ) -> "ReadOptions":
        """The options of a file that may differ from those of a run, whose settings fill in what is not detected.

        Args:
            settings: of the run.
            delimiter: of this file, where the user named it.
            encoding: likewise.
            header: likewise; None is that of the run's files.
        """
        return cls(
            delimiter=delimiter,
            encoding=encoding,
            header=settings.header if header is None else header,
            usual_delimiter=settings.delimiter,
            usual_encoding=settings.encoding,
        )


def delimiter_advice(delimiter: str) -> str:
    """How to name a delimiter that was not detected."""
    value = shlex.quote("tab" if delimiter in TAB else delimiter)
    return f"if {delimiter!r} separates its columns, add --delimiter {value}"


def _checked_delimiter(delimiter: str | None) -> str | None:
    if delimiter is None:
        return None
    delimiter = "\t" if delimiter in TAB else delimiter
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise InputError(f"--delimiter {delimiter!r}: must be one character, such as ';', or tab")
    return delimiter


def _check_encoding(encoding: str | None) -> None:
    try:
        "a".encode(encoding or "utf-8")
        codecs.getincrementaldecoder(encoding or "utf-8")
    except (LookupError, ValueError):
        raise InputError(
            f"--encoding {encoding}: not known; name a text encoding of Python, such as cp1252, latin-1 or utf-16"
        ) from None


@dataclass(frozen=True)
class Source:
    """A file of records.

    Args:
        path: the file, or what an error calls a stream.
        records: reads the file from its start.
        names: of the columns, where the file lists them; None where each record has names of its own.
        has_header: whether the names are the file's first line.
        delimiter: between the fields of a table.
        delimiter_named: whether the user named it.
        unit: what a record's number counts.
        notes: how the file is read, where that is not the usual way.
    """

    path: Path | str
    records: Callable[[], Iterator[Record]]
    names: list[str] | None = None
    has_header: bool = False
    delimiter: str | None = None
    delimiter_named: bool = False
    unit: str = "line"
    notes: tuple[str, ...] = ()

    def place(self, number: int) -> str:
        """The file and a record's number, for a message."""
        return f"{self.path}, {self.unit} {number}"

    def located(self, number: int, fault: str) -> str:
        """What is wrong with a record, with its place."""
        return f"{self.place(number)}: {fault}"
