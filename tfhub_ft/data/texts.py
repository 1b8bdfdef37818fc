"""Read the rows of files to predict, including rows without a text."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from tfhub_ft.data.columns import Column, Values, check_text, is_missing
from tfhub_ft.data.formats import open_source, suffix_of
from tfhub_ft.data.formats.memory import is_path, open_rows
from tfhub_ft.data.formats.source import ReadOptions
from tfhub_ft.data.formats.text import open_stream
from tfhub_ft.data.rows import rows_of
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import local_file


@dataclass(frozen=True)
class TextRow:
    """A row to predict.

    Args:
        location: The file and the number of the row.
        segments: Its texts, or messages instead of a prompt; None if one of them is missing or blank.
        texts: The texts for the output, "" for missing ones.
        values: The values of all its columns in order, if they are read.
        number: The number of the row in its source.
    """

    location: str
    segments: tuple[Any, ...] | None
    texts: tuple[Any, ...]
    values: Values = field(default_factory=dict)
    number: int = 0


class TextRows:
    """The rows of a file, of a stream with a text per line, or of an object in memory; read on iteration.

    Blank lines of txt files, one-column tables and streams are rows without a text, and so are rows whose text is empty
    or null. In txt files and streams, the texts of a pair are separated by a tab.

    Args:
        source: The path of a file, a text stream, or an object that `open_rows` takes.
        columns: The columns of the texts.
        options: How to read a file.
        keep_columns: Whether to read all columns.
        skip_bad_rows: Whether to skip bad rows, whose messages are then in `skipped`; by default the first is an error.
    """

    def __init__(
        self,
        source: object,
        columns: Sequence[Column],
        *,
        options: ReadOptions | None = None,
        keep_columns: bool = True,
        skip_bad_rows: bool = False,
    ):
        options = replace(options or ReadOptions(), keep_blank=True)
        stream: Any = getattr(source, "buffer", None)
        path = local_file(check_path("source", source)) if is_path(source) else None
        self.by_line = bool(stream) or (path is not None and suffix_of(path) == ".txt")
        # A wrapper of a stream that is collected closes it.
        self.opened = source
        self.fields = [column.name for column in columns]
        self.skipped: list[str] = []
        self.on_bad_row = self.skipped.append if skip_bad_rows else None
        read_columns = [Column("text", (), check_text)] if self.by_line else columns
        self.columns = [replace(column, check=_optional(column.check)) for column in read_columns]
        self.keeps_columns = keep_columns and not self.by_line
        if self.keeps_columns:
            self.columns.append(Column("", (), lambda row: row, whole_row=True))
        if stream:
            self.source = open_stream(stream, options)
        elif path is not None:
            self.source = open_source(path, self.columns, options)
        else:
            self.source = open_rows(source, columns, argument="texts")

    @property
    def name(self) -> str:
        """What messages call the rows."""
        return str(self.source.path)

    @cached_property
    def names(self) -> list[str]:
        """The names of all columns; those of JSON objects in the order of their first appearance."""
        if self.by_line:
            return self.fields
        return [*self.value_types] if self.source.names is None else self.source.names

    @cached_property
    def value_types(self) -> dict[str, set[type]]:
        """The types of the values of each column that are not null, from all rows; str for integers above 64 bits."""
        types: dict[str, set[type]] = {}
        for _, values, _ in self.source.records():
            for name, value in (values or {}).items():
                of_column = types.setdefault(name, set())
                if isinstance(value, int) and not -(2**63) <= value < 2**63:
                    of_column.add(str)
                elif value is not None:
                    of_column.add(type(value))
        return types

    def __iter__(self) -> Iterator[TextRow]:
        """Yield the rows."""
        for row in rows_of(self.source, self.columns, on_bad_row=self.on_bad_row):
            location, values = self.source.location(row.line), row.values.pop("", {})
            texts = tuple(row.values.values())
            if self.by_line and len(self.fields) > 1:
                texts = texts[0].split("\t") if texts[0] is not None else [""] * len(self.fields)
                texts = tuple(text if text.strip() else None for text in texts)
                if len(texts) != len(self.fields):
                    fault = f"has {len(texts)} of {len(self.fields)} texts; separate them by a tab"
                    if self.on_bad_row is None:
                        raise InputError(f"{location}: {fault}")
                    self.on_bad_row(f"{location}: {fault}")
                    continue
            segments = None if None in texts else texts
            texts = tuple("" if text is None else text for text in texts)
            if self.by_line:
                values = dict(zip(self.fields, texts))
            elif self.keeps_columns:
                values = {name: values.get(name) for name in self.names}
            yield TextRow(location, segments, texts, values, row.line)


def _optional(check: Callable[[object], object]) -> Callable[[object], object]:
    """Return the check of a value that may be missing or blank, and is then None."""
    return lambda value: None if is_missing(value) else check(value)
