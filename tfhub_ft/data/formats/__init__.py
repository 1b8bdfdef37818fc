"""Readers of files of rows, one module per format."""

import difflib
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats import conll, csv, jsonl, squad, text, tfrecord
from tfhub_ft.data.formats.lines import unreadable_error
from tfhub_ft.data.formats.source import ReadOptions, Source
from tfhub_ft.data.formats.unreadable import folder_advice, other_format, other_suffix
from tfhub_ft.utils.errors import InputError

READERS: dict[str, Callable[[Path, Sequence[Column], ReadOptions], Source]] = {
    ".csv": csv.open_csv,
    ".tsv": csv.open_tsv,
    **dict.fromkeys((".jsonl", ".ndjson"), jsonl.open_jsonl),
    ".json": squad.open_json,
    **dict.fromkeys((".conll", ".bio", ".iob", ".iob2"), conll.open_conll),
    ".txt": text.open_text,
    ".tfrecord": tfrecord.open_tfrecord,
}


def open_source(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """Open a file of rows by its suffix, which `.gz` may follow.

    Raises:
        InputError: The file is missing or of another format; the message says what to do.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: not found{_nearest(path)}") from None
    except OSError as error:
        raise unreadable_error(path, error) from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: {folder_advice(path, tuple(READERS))}")
    if advice := other_format(path):
        raise InputError(f"{path}: {advice}")
    reader = READERS.get(suffix_of(path))
    if not reader:
        raise InputError(f"{path}: {other_suffix(path, columns, tuple(READERS))}")
    return reader(path, columns, options)


def suffix_of(path: Path) -> str:
    """Return the suffix before .gz, in lower case."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def _nearest(path: Path) -> str:
    try:
        names = difflib.get_close_matches(path.name, [file.name for file in path.parent.iterdir()], n=1)
    except OSError:
        return ""
    return f"; did you mean {path.parent / names[0]}?" if names else ""
