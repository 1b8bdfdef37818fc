"""Read the rows of files to predict, including rows without a text."""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TextIO

from tfhub_ft.data.columns import Column, Values, check_text, is_missing
from tfhub_ft.data.formats import open_source, suffix_of
from tfhub_ft.data.formats.source import ReadOptions
from tfhub_ft.data.formats.text import open_stream
from tfhub_ft.data.rows import rows_of
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.errors import InputError


@dataclass(frozen=True)
class TextRow:
    """A row to predict.

    Args:
        location: The file and the number of the row.
        segments: Its texts, or messages instead of a prompt; None if one of them is missing or blank.
        texts: The texts for the output, "" for missing ones.
        values: The values of all its columns, in the order of the file.
    """

    location: str
    segments: tuple[Any, ...] | None
    texts: tuple[Any, ...]
    values: Values


class TextRows:
    """The rows of a file, or of a stream with a text per line, with all their columns; read on iteration.

    Blank lines of txt files, one-column tables and streams are rows without a text, and so are rows whose text is empty
    or null. In txt files and streams, the texts of a pair are separated by a tab.

    Args:
        source: The file, or a text stream.
        columns: The columns of the texts.
        options: How to read the file.
        on_bad_row: As for `read_rows`.
    """

    def __init__(
        self,
        source: str | os.PathLike | TextIO,
        columns: Sequence[Column],
        *,
        options: ReadOptions | None = None,
        on_bad_row: Callable[[str], None] | None = None,
    ):
        options = replace(options or ReadOptions(), keep_blank=True)
        stream: Any = getattr(source, "buffer", None)
        path = None if stream else check_path("source", source)
        self.by_line = path is None or suffix_of(path) == ".txt"
        # A wrapper of a stream that is collected closes it.
        self.opened = source
        self.fields, self.on_bad_row = [column.name for column in columns], on_bad_row
        read_columns = [Column("text", (), check_text)] if self.by_line else columns
        self.columns = [replace(column, check=_optional(column.check)) for column in read_columns]
        if not self.by_line:
            self.columns.append(Column("", (), lambda row: row, rest=True))
        self.source = open_source(path, self.columns, options) if path else open_stream(stream, options)

    @cached_property
    def names(self) -> list[str]:
        """The names of all columns; those of JSON objects in the order of their first appearance."""
        if self.by_line:
            return self.fields
        if self.source.names is not None:
            return self.source.names
        rows = (values for _, values, _ in self.source.records() if values)
        return [*dict.fromkeys(itertools.chain.from_iterable(rows))]

    def __iter__(self) -> Iterator[TextRow]:
        """Yield the rows; the first bad one is an InputError unless `on_bad_row` is set."""
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
            values = dict(zip(self.fields, texts)) if self.by_line else {name: values.get(name) for name in self.names}
            yield TextRow(location, segments, texts, values)


def _optional(check: Callable[[object], object]) -> Callable[[object], object]:
    """Return the check of a value that may be missing or blank, and is then None."""
    return lambda value: None if is_missing(value) else check(value)
