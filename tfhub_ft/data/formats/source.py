"""Records that format readers return, and options for reading files."""

import codecs
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tfhub_ft.data.columns import Values
from tfhub_ft.settings import TrainingSettings
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

TAB = ("tab", r"\t", "\t")


class Record(NamedTuple):
    """The number and the values of a row, or its fault."""

    number: int
    values: Values | None
    fault: str | None = None


@dataclass(frozen=True)
class ReadOptions:
    """How to read files: what cannot be detected.

    Args:
        delimiter: The character between the fields of csv and tsv files, or "tab"; None detects it.
        encoding: Of text files; None is the encoding of the byte order mark, otherwise UTF-8.
        header: Whether csv and tsv files start with column names; otherwise columns are numbered from 1.
        usual_delimiter: The delimiter if none is detected.
        usual_encoding: The encoding of files that are not UTF-8.
        keep_blank: Whether to keep rows whose fields are all empty, and blank lines of txt files and one-column tables.
        named: Whether the user can set these options, so that errors may advise it.
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
            object.__setattr__(self, name, _check_delimiter(getattr(self, name)))
        for name in ("encoding", "usual_encoding"):
            _check_encoding(getattr(self, name))

    @classmethod
    def of(cls, settings: TrainingSettings) -> "ReadOptions":
        """Return the options in the settings of a training run."""
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
        """Return the options of another file; the settings of the run are the defaults."""
        return cls(
            delimiter=delimiter,
            encoding=encoding,
            header=settings.header if header is None else header,
            usual_delimiter=settings.delimiter,
            usual_encoding=settings.encoding,
        )


def delimiter_advice(delimiter: str) -> str:
    """Return how to name a delimiter that was not detected."""
    value = shlex.quote("tab" if delimiter in TAB else delimiter)
    return f"if {delimiter!r} separates its columns, add --delimiter {value}"


def _check_delimiter(delimiter: str | None) -> str | None:
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
        path: The file, or the name of a stream.
        records: Reads the file from its start.
        names: The column names, if the file lists them; None if each record has its own.
        has_header: Whether the names are the first line of the file.
        delimiter: Between the fields of a table.
        delimiter_named: Whether the user named the delimiter.
        unit: What a record's number counts.
        notes: How the file is read, if it is unusual.
        batches: Yields Arrow data, whose types its records lack: the number of the first row of each record batch, and
            the batch.
        place: Says where a record is, given its number, in place of its unit and number.
    """

    path: Path | str
    records: Callable[[], Iterator[Record]]
    names: list[str] | None = None
    has_header: bool = False
    delimiter: str | None = None
    delimiter_named: bool = False
    unit: str = "line"
    notes: tuple[str, ...] = ()
    batches: "Callable[[], Iterator[tuple[int, pa.RecordBatch]]] | None" = None
    place: Callable[[int], str] | None = None

    def location(self, number: int) -> str:
        """Return the file and a record's number for a message."""
        return f"{self.path}, {self.place_of(number)}"

    def place_of(self, number: int) -> str:
        """Return where a record is in the file, such as "line 3"."""
        return self.place(number) if self.place else f"{self.unit} {number}"
