"""txt files: a text a line."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.lines import is_blank, read_lines
from tfhub_ft.data.formats.source import Record, Source
from tfhub_ft.errors import InputError


def open_text(path: Path, columns: Sequence[Column]) -> Source:
    """A txt file: a line is a row with the column `text`.

    Raises:
        InputError: the rows have other columns.
    """
    others = [each.name for each in columns if "text" not in (each.name, *each.aliases, each.column)]
    if others:
        raise InputError(
            f"{path}: a .txt file has a text a line, without {', '.join(others)}; name a table .csv or, if tabs"
            " separate its columns, .tsv"
        )
    return Source(path, partial(_records, path))


def _records(path: Path) -> Iterator[Record]:
    for number, text, fault in read_lines(path):
        if not is_blank(text):
            yield number, *((None, fault) if fault else ({"text": text.rstrip("\r\n")}, None))
