"""Readers of files of rows, one module per format."""

import difflib
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats import conll, csv, excel, ipc, jsonl, parquet, squad, text, tfrecord
from tfhub_ft.data.formats.folder import open_folder
from tfhub_ft.data.formats.lines import suffix_of, unreadable_error
from tfhub_ft.data.formats.source import ReadOptions, Source
from tfhub_ft.data.formats.unreadable import (
    ARROW_SUFFIXES,
    PARQUET_SUFFIXES,
    WORKBOOK_SUFFIXES,
    format_fault,
    other_suffix,
)
from tfhub_ft.utils.errors import InputError

READERS: dict[str, Callable[[Path, Sequence[Column], ReadOptions], Source]] = {
    ".csv": csv.open_csv,
    ".tsv": csv.open_tsv,
    **dict.fromkeys((".jsonl", ".ndjson"), jsonl.open_jsonl),
    ".json": squad.open_json,
    **dict.fromkeys((".conll", ".bio", ".iob", ".iob2"), conll.open_conll),
    ".txt": text.open_text,
    ".tfrecord": tfrecord.open_tfrecord,
    **dict.fromkeys(PARQUET_SUFFIXES, parquet.open_parquet),
    **dict.fromkeys(ARROW_SUFFIXES, ipc.open_ipc),
    **dict.fromkeys(WORKBOOK_SUFFIXES, excel.open_workbook),
}


def open_source(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """Open a file of rows by its suffix, which `.gz` may follow, or a folder of txt files.

    Raises:
        InputError: The file is missing or of another format; the message says what to do.
    """
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            return open_folder(path, columns, options, tuple(READERS))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: not found{_nearest(path)}") from None
    except OSError as error:
        raise unreadable_error(path, error) from None
    if fault := format_fault(path, columns):
        raise InputError(f"{path}: {fault}")
    reader = READERS.get(suffix_of(path))
    if not reader:
        raise InputError(f"{path}: {other_suffix(path, columns, tuple(READERS))}")
    return reader(path, columns, options)


def _nearest(path: Path) -> str:
    try:
        names = difflib.get_close_matches(path.name, [file.name for file in path.parent.iterdir()], n=1)
    except OSError:
        return ""
    return f"; did you mean {path.parent / names[0]}?" if names else ""
