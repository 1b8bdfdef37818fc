"""Read the rows of files to predict, including rows without a text."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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
    """A row of a file to predict.

    Args:
        location: The file and the number of the row.
        segments: Its texts, or messages instead of a prompt; None if one of them is missing or blank.
        texts: The texts for the output, "" for missing ones.
        others: Its other columns, if they are read.
    """

    location: str
    segments: tuple[Any, ...] | None
    texts: tuple[Any, ...]
    others: Values


def read_texts(
    source: str | os.PathLike | TextIO,
    columns: Sequence[Column],
    *,
    options: ReadOptions | None = None,
    keep_columns: bool = False,
    on_bad_row: Callable[[str], None] | None = None,
) -> Iterator[TextRow]:
    """Yield the rows of a file, or of a stream with a text per line.

    Blank lines of txt files, one-column tables and streams are rows without a text, and so are rows whose text is empty
    or null. In txt files and streams, the texts of a pair are separated by a tab. `keep_columns` reads the other
    columns, too; `on_bad_row` is as in `read_rows`.
    """
    options = replace(options or ReadOptions(), keep_blank=True)
    stream: Any = getattr(source, "buffer", None)
    path = None if stream else check_path("source", source)
    by_line = path is None or suffix_of(path) == ".txt"
    read_columns = [Column("text", (), check_text)] if by_line else columns
    read_columns = [replace(column, check=_optional(column.check)) for column in read_columns]
    if keep_columns and not by_line:
        read_columns.append(Column("", (), lambda others: others, rest=True))
    opened = open_source(path, read_columns, options) if path else open_stream(stream, options)
    for row in rows_of(opened, read_columns, on_bad_row=on_bad_row):
        others = row.values.pop("", {})
        texts = tuple(row.values.values())
        if by_line and len(columns) > 1:
            texts = texts[0].split("\t") if texts[0] is not None else [""] * len(columns)
            texts = tuple(text if text.strip() else None for text in texts)
            if len(texts) != len(columns):
                fault = f"has {len(texts)} of {len(columns)} texts; separate them by a tab"
                message = f"{opened.location(row.line)}: {fault}"
                if on_bad_row is None:
                    raise InputError(message)
                on_bad_row(message)
                continue
        segments = None if None in texts else texts
        output_texts = tuple("" if text is None else text for text in texts)
        yield TextRow(opened.location(row.line), segments, output_texts, others)


def _optional(check: Callable[[object], object]) -> Callable[[object], object]:
    """Return the check of a value that may be missing or blank, and is then None."""
    return lambda value: None if is_missing(value) else check(value)
