"""Rows of files that are predicted: each keeps its place, even without a text."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TextIO

from tfhub_ft.data.columns import Column, check_text, is_missing
from tfhub_ft.data.formats import open_source, suffix_of
from tfhub_ft.data.formats.text import open_stream
from tfhub_ft.data.rows import ReadOptions, rows_of
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.errors import InputError


@dataclass(frozen=True)
class TextRow:
    """A row of a file that is predicted.

    Args:
        place: the file and the number of the row.
        segments: its texts, or messages in place of a prompt; None where one of them is missing or blank.
        texts: the texts as they are output, "" where one is missing.
        others: its other columns, where they are kept.
    """

    place: str
    segments: tuple[Any, ...] | None
    texts: tuple[Any, ...]
    others: dict[str, Any]


def read_texts(
    source: str | os.PathLike | TextIO,
    columns: Sequence[Column],
    *,
    options: ReadOptions | None = None,
    keep_columns: bool = False,
    on_bad_row: Callable[[str], None] | None = None,
) -> Iterator[TextRow]:
    """Read the texts of a file, or of a stream with a text a line.

    Blank lines of txt files, of tables with a single column and of streams are rows without a text, as are rows whose
    text is empty or null. The texts of a pair are separated by a tab in txt files and streams.

    Args:
        source: the file or the stream.
        columns: the columns of the texts.
        options: what the file itself does not tell.
        keep_columns: whether the other columns are read, too.
        on_bad_row: called with the error message of each bad row, which is then left out. Without it the first one is
            an error.

    Raises:
        InputError: the file cannot be read, is empty or lacks a column; or a row is bad and `on_bad_row` is None.
    """
    options = replace(options or ReadOptions(), keep_blank=True)
    fields = len(columns)
    is_stream = hasattr(source, "read")
    path = None if is_stream else check_path("source", source)
    by_line = is_stream or suffix_of(path) == ".txt"
    if by_line:
        columns = [Column("text", (), check_text)]
    wanted = [replace(column, check=_optional(column.check)) for column in columns]
    if keep_columns and not by_line:
        wanted.append(Column("", (), lambda others: others, rest=True))
    opened = open_stream(source.buffer, options) if is_stream else open_source(path, wanted, options)
    for row in rows_of(opened, wanted, on_bad_row=on_bad_row):
        others = row.values.pop("", {})
        texts = tuple(row.values.values())
        if by_line and fields > 1 and texts[0] is not None:
            texts = tuple(text if text.strip() else None for text in texts[0].split("\t"))
            if len(texts) != fields:
                fault = f"has {len(texts)} of {fields} texts; separate them by a tab"
                if on_bad_row is None:
                    raise InputError(opened.located(row.line, fault))
                on_bad_row(opened.located(row.line, fault))
                continue
        elif by_line and fields > 1:
            texts = texts * fields
        segments = None if None in texts else texts
        shown = tuple("" if text is None else text for text in texts)
        yield TextRow(opened.place(row.line), segments, shown, others)


def _optional(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The check of a value that may be missing or blank, and is None then."""
    return lambda value: None if is_missing(value) else check(value)
