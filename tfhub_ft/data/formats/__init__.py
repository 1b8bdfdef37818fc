"""Readers of files of rows, one module a format."""

import difflib
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats import conll, csv, jsonl, squad, text, tfrecord
from tfhub_ft.data.formats.lines import unreadable
from tfhub_ft.data.formats.source import ReadOptions, Source
from tfhub_ft.data.formats.unreadable import folder, other_format, other_suffix
from tfhub_ft.utils.errors import InputError

READERS: dict[str, Callable[[Path, Sequence[Column], ReadOptions], Source]] = {
    ".csv": csv.open_csv,
    ".tsv": csv.open_tsv,
    ".jsonl": jsonl.open_jsonl,
    ".ndjson": jsonl.open_jsonl,
    ".json": squad.open_json,
    ".conll": conll.open_conll,
    ".bio": conll.open_conll,
    ".iob": conll.open_conll,
    ".iob2": conll.open_conll,
    ".txt": text.open_text,
    ".tfrecord": tfrecord.open_tfrecord,
}


def open_source(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """Open a file of rows by its suffix; `.gz` may follow it.

    Args:
        path: the file.
        columns: those that will be read.
        options: what the file itself does not tell.

    Raises:
        InputError: the file is missing, or its format is not read; the message says what to do.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file{_nearest(path)}") from None
    except OSError as error:
        raise unreadable(path, error) from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: {folder(path, tuple(READERS))}")
    if other := other_format(path):
        raise InputError(f"{path}: {other}")
    reader = READERS.get(suffix_of(path))
    if not reader:
        raise InputError(f"{path}: {other_suffix(path, columns, tuple(READERS))}")
    return reader(path, columns, options)


def suffix_of(path: Path) -> str:
    """The suffix that tells a file's format, in lower case: the one before .gz."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def _nearest(path: Path) -> str:
    try:
        near = difflib.get_close_matches(path.name, [near.name for near in path.parent.iterdir()], n=1)
    except OSError:
        return ""
    return f"; did you mean {path.parent / near[0]}?" if near else ""
