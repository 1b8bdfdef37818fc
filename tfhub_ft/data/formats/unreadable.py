"""Detect formats by their first bytes; advise on files that cannot be read as rows."""

import gzip
import json
import shlex
import zipfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.lines import HEAD, open_bytes, suffix_of

PARQUET, ARROW_FILE, ARROW_STREAM = "a Parquet file", "an Arrow IPC file", "an Arrow IPC stream"
WORKBOOK, _ZIP, _FEATHER_V1 = "an Excel workbook", "a zip archive", "a Feather file of version 1"
_HTML, _LFS_POINTER, _OFFICE = "an HTML page", "a pointer of Git LFS", "an Office document"
# Formats by the first bytes of a file.
_SIGNATURES = {
    b"PK\x03\x04": _ZIP,
    b"PK\x05\x06": _ZIP,
    b"PAR1": PARQUET,
    b"PARE": "an encrypted Parquet file",
    b"ARROW1": ARROW_FILE,
    b"\xff\xff\xff\xff": ARROW_STREAM,
    b"FEA1": _FEATHER_V1,
    b"\xd0\xcf\x11\xe0": "an Excel workbook with a password or of the format .xls",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ\x00": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard",
    b"SQLite format 3\x00": "a SQLite database",
    b"<!doctype html": _HTML,
    b"<html": _HTML,
    b"version https://git-lfs": _LFS_POINTER,
}
# Members that tell the formats in zip archives apart.
_MEMBERS = {
    "xl/workbook.xml": WORKBOOK,
    "xl/workbook.bin": "an Excel workbook of the format .xlsb",
    "content.xml": "an OpenDocument file",
    "[Content_Types].xml": _OFFICE,
}
_DECOMPRESS = {"bzip2": "bunzip2 -k", "xz": "unxz -k", "Zstandard": "zstd -d", "gzip": "gunzip -k"}
# The suffixes of binary formats that are read.
PARQUET_SUFFIXES, ARROW_SUFFIXES = (".parquet", ".pq"), (".feather", ".arrow", ".arrows", ".ipc")
WORKBOOK_SUFFIXES = (".xlsx", ".xlsm")
_SUFFIXES = {
    PARQUET: PARQUET_SUFFIXES,
    ARROW_FILE: ARROW_SUFFIXES,
    ARROW_STREAM: ARROW_SUFFIXES,
    WORKBOOK: WORKBOOK_SUFFIXES,
}


def format_fault(path: Path, columns: Sequence[Column]) -> str | None:
    """Return what to do about a file whose first bytes are not of the format of its suffix; None if they may be."""
    with open_bytes(path) as file:
        head, is_gzip = file.peek(HEAD), isinstance(file.raw, gzip.GzipFile)
    kind, suffix = _kind_of_bytes(path, head), suffix_of(path)
    expected = [each for each, suffixes in _SUFFIXES.items() if suffix in suffixes]
    if expected and is_gzip:
        return _decompress_advice(path, "compressed by gzip")
    if kind in expected or not (kind or expected) or (kind == _HTML and suffix == ".txt"):
        return None
    # A damaged workbook, which its reader refuses.
    if WORKBOOK in expected and (kind == _OFFICE or (kind == _ZIP and not _zip_members(path))):
        return None
    if kind is None:
        renamed = path.with_name(path.name + _suffix_of_text(head, columns))
        advice = f"rename it by its format, such as to {renamed}" if _is_text(head) else "write or download it again"
        return f"is not {expected[0]}; {advice}"
    if kind in _SUFFIXES:
        return f"is {kind}; rename it to {path.with_suffix(_SUFFIXES[kind][0])}"
    if kind == _ZIP and (names := _zip_members(path)):
        files = ", ".join(str(path.parent / name) for name in names[:3])
        command = f"python -m zipfile -e {shlex.quote(str(path))} {shlex.quote(str(path.parent))}"
        return f"is {kind}; unpack it, {command}, and pass {files}"
    if kind.startswith("compressed"):
        return _decompress_advice(path, kind)
    if kind == _FEATHER_V1:
        new = path.with_name(f"{path.stem}-2.feather")
        code = (
            f"from pyarrow import feather; feather.write_feather(feather.read_table({_literal(path)}), {_literal(new)})"
        )
        return f"is {kind}; write it as version 2, python -c {shlex.quote(code)}, and pass {new}"
    advice = {
        _HTML: "download the file itself, not the page that shows it",
        _LFS_POINTER: "fetch the file, git lfs pull",
    }
    saved = "save it as .xlsx without a password, or as csv"
    is_sheet = kind.startswith(WORKBOOK) or kind == "an OpenDocument file"
    return f"is {kind}; {advice.get(kind, saved if is_sheet else 'export its rows as csv or jsonl')}"


def _kind_of_bytes(path: Path, head: bytes) -> str | None:
    lowered = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:32].lower()
    kind = next((kind for mark, kind in _SIGNATURES.items() if head.startswith(mark) or lowered.startswith(mark)), None)
    if kind == _ZIP and (names := _zip_members(path)):
        return next((each for member, each in _MEMBERS.items() if member in names), kind)
    return kind


def _is_text(head: bytes) -> bool:
    return bool(head.strip()) and b"\0" not in head


def _decompress_advice(path: Path, kind: str) -> str:
    command = _DECOMPRESS[kind.rpartition(" ")[2]]
    return f"is {kind}; decompress it, {command} {shlex.quote(str(path))}, and pass {path.with_suffix('')}"


def _zip_members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [name for name in archive.namelist() if not name.endswith("/")]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return []


def other_suffix(path: Path, columns: Sequence[Column], suffixes: Sequence[str]) -> str:
    """Return how to rename a text file with an unknown suffix, by its content."""
    with open_bytes(path) as file:
        renamed = path.with_name(path.name + _suffix_of_text(file.peek(HEAD), columns))
    return (
        f"unknown format; rename it by its format, such as to {renamed}; the formats are {', '.join(suffixes)}, and"
        " text files may end in .gz"
    )


def _suffix_of_text(head: bytes, columns: Sequence[Column]) -> str:
    first = next((line for line in head.splitlines() if line.strip()), b"").strip()
    if first.startswith((b"{", b"[")):
        return ".jsonl"
    if {column.name for column in columns} == {"tokens", "tags"}:
        return ".conll"
    return ".tsv" if b"\t" in first else ".csv"


def folder_advice(path: Path, suffixes: Sequence[str]) -> str:
    """Return how to read the files of a folder."""
    files = islice(sorted(path.iterdir()), 1000)
    matches = (suffix for file in files for suffix in suffixes if file.name.lower().endswith(suffix))
    pattern = shlex.quote(str(path / f"*{next(matches, '.csv')}"))
    return f"is a folder; pass a file in it, or several by a pattern such as {pattern}"


def _literal(text: object) -> str:
    """Return a Python literal in double quotes, for use inside a shell's single quotes."""
    return json.dumps(str(text))
