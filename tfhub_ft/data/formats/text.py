"""txt files: a text a line, or a token and its tag a line."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.conll import open_conll
from tfhub_ft.data.formats.lines import Line, is_blank, read_lines, read_stream
from tfhub_ft.data.formats.source import ReadOptions, Record, Source
from tfhub_ft.data.formats.unreadable import table_of_folders
from tfhub_ft.utils.errors import InputError

STREAM = "standard input"


def open_text(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """A txt file: a line is a row with the column `text`; for tokens and tags a CoNLL file.

    Raises:
        InputError: the rows have other columns.
    """
    if {column.name for column in columns} == {"tokens", "tags"}:
        return open_conll(path, columns, options)
    others = [each.name for each in columns if "text" not in (each.name, *each.aliases, each.column)]
    if others:
        folders = table_of_folders(path.parent.parent) if len(path.parts) > 2 else None
        advice = f"; if its folder is its label, make a csv file of all: {folders}" if folders else ""
        raise InputError(
            f"{path}: a .txt file has a text a line, without {', '.join(others)}; rename a table to .csv or, if tabs"
            f" separate its columns, .tsv{advice}"
        )
    return Source(path, lambda: _records(read_lines(path, options), options))


def open_stream(stream: BinaryIO, options: ReadOptions) -> Source:
    """Standard input, a text a line; its records can be read once."""
    return Source(STREAM, lambda: _records(read_stream(stream, STREAM, options), options))


def _records(lines: Iterator[Line], options: ReadOptions) -> Iterator[Record]:
    for number, text, fault in lines:
        if options.keep_blank or not is_blank(text):
            yield number, *((None, fault) if fault else ({"text": text.rstrip("\r\n")}, None))
