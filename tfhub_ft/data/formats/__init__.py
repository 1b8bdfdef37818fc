"""Readers of files of rows, one module a format."""

import difflib
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats import conll, csv, jsonl, squad, text, tfrecord
from tfhub_ft.data.formats.lines import unreadable
from tfhub_ft.data.formats.source import Source
from tfhub_ft.errors import InputError

READERS: dict[str, Callable[[Path, Sequence[Column]], Source]] = {
    ".csv": csv.open_csv,
    ".tsv": csv.open_tsv,
    ".jsonl": jsonl.open_jsonl,
    ".ndjson": jsonl.open_jsonl,
    ".conll": conll.open_conll,
    ".bio": conll.open_conll,
    ".json": squad.open_squad,
    ".txt": text.open_text,
    ".tfrecord": tfrecord.open_tfrecord,
}


def open_source(path: Path, columns: Sequence[Column]) -> Source:
    """Open a file of rows by its suffix; `.gz` after that means that it is compressed.

    Args:
        path: the file.
        columns: those that will be read.

    Raises:
        InputError: the file is missing, or its format is not known.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file{_nearest(path)}") from None
    except OSError as error:
        raise unreadable(path, error) from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: is a folder; name a file in it")
    suffix = (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()
    if suffix not in READERS:
        raise InputError(f"{path}: is none of {', '.join(READERS)}, with or without .gz; convert it to one of them")
    return READERS[suffix](path, columns)


def _nearest(path: Path) -> str:
    try:
        near = difflib.get_close_matches(path.name, [near.name for near in path.parent.iterdir()], n=1)
    except OSError:
        return ""
    return f"; did you mean {path.parent / near[0]}?" if near else ""
