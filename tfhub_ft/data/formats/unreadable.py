"""Advice on converting files that cannot be read as rows."""

import json
import shlex
import zipfile
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.lines import HEAD, open_bytes

# Formats by the first bytes of a file.
_SIGNATURES = {
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "a zip archive",
    b"PAR1": "a Parquet file",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ\x00": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard",
    b"SQLite format 3\x00": "a SQLite database",
}
_DECOMPRESS = {"bzip2": "bunzip2 -k", "xz": "unxz -k", "Zstandard": "zstd -d"}
# The pandas functions that read a format and write it as rows, and the suffix of what they write.
_CONVERT = {
    "an Excel workbook": ("read_excel", "to_csv({}, index=False)", ".csv"),
    "a Parquet file": ("read_parquet", 'to_json({}, orient="records", lines=True)', ".jsonl"),
}


def other_format(path: Path) -> str | None:
    """Return the format of a file that is not text, and how to convert it; None if its first bytes are unknown."""
    with open_bytes(path) as file:
        head = file.peek(HEAD)
    kind = next((kind for mark, kind in _SIGNATURES.items() if head.startswith(mark)), None)
    if kind == "a zip archive" and (names := _zip_members(path)):
        if "xl/workbook.xml" in names or "[Content_Types].xml" in names:
            kind = "an Excel workbook"
        else:
            folder = shlex.quote(str(path.parent))
            files = ", ".join(str(path.parent / name) for name in names[:3])
            command = f"python -m zipfile -e {shlex.quote(str(path))} {folder}"
            return f"is a zip archive; unpack it, {command}, and pass {files}"
    if kind in _CONVERT:
        read, write, suffix = _CONVERT[kind]
        rows = path.with_suffix(suffix)
        code = f"import pandas; pandas.{read}({_literal(path)}).{write.format(_literal(rows))}"
        return f"is {kind}; write it as {suffix[1:]}, python -c {shlex.quote(code)}, and pass {rows}"
    if kind and kind.startswith("compressed"):
        command = _DECOMPRESS[kind.rpartition(" ")[2]]
        return f"is {kind}; decompress it, {command} {shlex.quote(str(path))}, and pass {path.with_suffix('')}"
    return f"is {kind}; export its rows as csv or jsonl" if kind else None


def _zip_members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [name for name in archive.namelist() if not name.endswith("/")]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return []


def other_suffix(path: Path, columns: Sequence[Column], suffixes: Sequence[str]) -> str:
    """Return how to rename a text file with an unknown suffix, by its content."""
    with open_bytes(path) as file:
        first = next((line for line in file.peek(HEAD).splitlines() if line.strip()), b"").strip()
    suffix = ".tsv" if b"\t" in first else ".csv"
    if first.startswith((b"{", b"[")):
        suffix = ".jsonl"
    elif {column.name for column in columns} == {"tokens", "tags"}:
        suffix = ".conll"
    renamed = path.with_name(f"{path.name}{suffix}")
    return (
        f"unknown format; rename it by its format, such as to {renamed}; the formats are {', '.join(suffixes)},"
        " with or without .gz"
    )


def folder_advice(path: Path, suffixes: Sequence[str]) -> str:
    """Return how to read the files of a folder."""
    if command := table_of_folders(path):
        return f"is a folder; write its files to one csv file, {command}, and pass {_table_name(path)}"
    files = islice(sorted(path.iterdir()), 1000)
    matches = (suffix for file in files for suffix in suffixes if file.name.lower().endswith(suffix))
    pattern = shlex.quote(str(path / f"*{next(matches, '.csv')}"))
    return f"is a folder; pass a file in it, or several by a pattern such as {pattern}"


def _table_name(path: Path) -> str:
    return f"{path.resolve().name or 'rows'}.csv"


def table_of_folders(path: Path) -> str | None:
    """Return the command that writes the txt files in subfolders named after labels to one csv file."""
    if not any(file.parent != other.parent for file, other in pairwise(path.glob("*/*.txt"))):
        return None
    code = (
        f'import csv, pathlib; csv.writer(open({_literal(_table_name(path))}, "w", newline="", encoding="utf-8"))'
        '.writerows([("text", "label")] + [(file.read_text(encoding="utf-8", errors="replace"), file.parent.name) for'
        f' file in sorted(pathlib.Path({_literal(path)}).glob("*/*.txt"))])'
    )
    return f"python -c {shlex.quote(code)}"


def _literal(text: object) -> str:
    """Return a Python literal in double quotes, for use inside a shell's single quotes."""
    return json.dumps(str(text))
