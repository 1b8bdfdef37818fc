"""Read txt files, which have a text or a token per line."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.conll import open_conll
from tfhub_ft.data.formats.lines import Line, is_blank, read_lines, read_stream
from tfhub_ft.data.formats.source import ReadOptions, Record, Source
from tfhub_ft.utils.errors import InputError

STREAM = "standard input"


def open_text(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """Open a txt file whose lines are the column `text`, or a CoNLL file if the columns are tokens and tags."""
    if {column.name for column in columns} == {"tokens", "tags"}:
        return open_conll(path, columns, options)
    read = [column for column in columns if not column.whole_row]
    missing = [column.name for column in read if "text" not in (column.name, *column.aliases, column.column)]
    if missing:
        folders = path.parent.parent
        is_label = len(path.parts) > 2 and any(file.parent != path.parent for file in folders.glob("*/*.txt"))
        advice = f"; if the name of its folder is its label, pass the folder {folders}" if is_label else ""
        raise InputError(
            f"{path}: a .txt file has a text per line, and no {', '.join(missing)}; rename a table to .csv or, if tabs"
            f" separate its columns, .tsv{advice}"
        )
    return Source(path, lambda: _records(read_lines(path, options), options))


def open_stream(stream: BinaryIO, options: ReadOptions) -> Source:
    """Open standard input, a text per line; its records can be read once."""
    return Source(STREAM, lambda: _records(read_stream(stream, STREAM, options), options))


def _records(lines: Iterator[Line], options: ReadOptions) -> Iterator[Record]:
    for number, text, fault in lines:
        if options.keep_blank or not is_blank(text):
            yield Record(number, None if fault else {"text": text.rstrip("\r\n")}, fault)
