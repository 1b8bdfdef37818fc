"""Files that are not read, and what makes files of them that are."""

import json
import shlex
import zipfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.lines import HEAD, opened

# What the first bytes of a file say, in words.
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


def other_format(path: Path) -> str | None:
    """What a file is that is not read, and what to do; None where its first bytes are of another kind."""
    with opened(path) as file:
        head = file.peek(HEAD)
    kind = next((kind for mark, kind in _SIGNATURES.items() if head.startswith(mark)), None)
    if kind == "a zip archive" and (names := _members(path)):
        if "xl/workbook.xml" in names or "[Content_Types].xml" in names:
            kind = "an Excel workbook"
        else:
            folder = shlex.quote(str(path.parent))
            inside = ", ".join(str(path.parent / name) for name in names[:3])
            command = f"python -m zipfile -e {shlex.quote(str(path))} {folder}"
            return f"is a zip archive; unpack it, {command}, and name {inside}"
    if kind == "an Excel workbook":
        table = path.with_suffix(".csv")
        code = f"import pandas; pandas.read_excel({_literal(path)}).to_csv({_literal(table)}, index=False)"
        return f"is {kind}; save it as csv, such as by python -c {shlex.quote(code)}, and name {table}"
    if kind == "a Parquet file":
        rows = path.with_suffix(".jsonl")
        write = f'to_json({_literal(rows)}, orient="records", lines=True)'
        code = f"import pandas; pandas.read_parquet({_literal(path)}).{write}"
        return f"is {kind}; write it as jsonl, python -c {shlex.quote(code)}, and name {rows}"
    if kind and kind.startswith("compressed"):
        command = _DECOMPRESS[kind.rpartition(" ")[2]]
        return f"is {kind}; decompress it, {command} {shlex.quote(str(path))}, and name {path.with_suffix('')}"
    return f"is {kind}; export its rows as csv or jsonl" if kind else None


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [name for name in archive.namelist() if not name.endswith("/")]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return []


def other_suffix(path: Path, columns: Sequence[Column], known: Sequence[str]) -> str:
    """What to do with a text file whose suffix says nothing: rename it by its content."""
    with opened(path) as file:
        first = next((line for line in file.peek(HEAD).splitlines() if line.strip()), b"").strip()
    suffix = ".tsv" if b"\t" in first else ".csv"
    if first.startswith((b"{", b"[")):
        suffix = ".jsonl"
    elif {column.name for column in columns} == {"tokens", "tags"}:
        suffix = ".conll"
    renamed = path.with_name(f"{path.name}{suffix}")
    return (
        f"its name does not tell its format; rename it by that, such as to {renamed}; the formats are"
        f" {', '.join(known)}, with or without .gz"
    )


def folder(path: Path, known: Sequence[str]) -> str:
    """What to do with a folder."""
    if command := table_of_folders(path):
        return f"is a folder; make a csv file of it, {command}, and name {_table_name(path)}"
    files = islice(sorted(path.iterdir()), 1000)
    suffixes = (suffix for file in files for suffix in known if file.name.lower().endswith(suffix))
    pattern = shlex.quote(str(path / f"*{next(suffixes, '.csv')}"))
    return f"is a folder; name a file in it, or many by a pattern such as {pattern}"


def _table_name(path: Path) -> str:
    return f"{path.resolve().name or 'rows'}.csv"


def table_of_folders(path: Path) -> str | None:
    """The command that makes a csv file of the txt files in the folders of a folder, whose names are labels."""
    folders: set[Path] = set()
    for file in path.glob("*/*.txt"):
        folders.add(file.parent)
        if len(folders) > 1:
            break
    else:
        return None
    code = (
        f'import csv, pathlib; csv.writer(open({_literal(_table_name(path))}, "w", newline="", encoding="utf-8"))'
        '.writerows([("text", "label")] + [(file.read_text(encoding="utf-8", errors="replace"), file.parent.name) for'
        f' file in sorted(pathlib.Path({_literal(path)}).glob("*/*.txt"))])'
    )
    return f"python -c {shlex.quote(code)}"


def _literal(text: object) -> str:
    """A Python literal in double quotes, which a shell's single quotes can hold."""
    return json.dumps(str(text))
