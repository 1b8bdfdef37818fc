import bz2
import gzip
import lzma
import zipfile

import pytest

from tfhub_ft.data.formats.unreadable import folder_advice, format_fault, other_suffix
from tfhub_ft.recipe import load_recipe

KNOWN = (".csv", ".jsonl")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (bz2.compress(b"a"), "is compressed by bzip2; decompress it, bunzip2 -k"),
        (lzma.compress(b"a"), "is compressed by xz; decompress it, unxz -k"),
        (b"PAR1", "is a Parquet file; rename it to "),
        (b"PARE", "is an encrypted Parquet file; export its rows as csv or jsonl"),
        (b"\xff\xff\xff\xff\x10", "is an Arrow IPC stream; rename it to "),
        (b"FEA1", "is a Feather file of version 1; write it as version 2, python -c "),
        (b"SQLite format 3\0", "is a SQLite database; export its rows as csv or jsonl"),
        (b"\xd0\xcf\x11\xe0", "is an Excel workbook with a password or of the format .xls; save it as .xlsx without"),
        (b"\n<!DOCTYPE html><html>", "is an HTML page; download the file itself, not the page that shows it"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS; fetch the file, git lfs pull"),
    ],
)
def test_format_fault_names_the_format_and_what_to_do(tmp_path, content, words):
    (tmp_path / "rows.csv").write_bytes(content)
    assert format_fault(tmp_path / "rows.csv", ()).startswith(words)


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("rows.parquet", b"text,label\n", "is not a Parquet file; rename it by its format, such as to "),
        ("rows.parquet", b"", "is not a Parquet file; write or download it again"),
        ("rows.feather", b"\0\1", "is not an Arrow IPC file; write or download it again"),
        ("rows.xlsx", b"PAR1", "is a Parquet file; rename it to "),
        ("rows.parquet.gz", gzip.compress(b"PAR1", mtime=0), "is compressed by gzip; decompress it, gunzip -k "),
        ("rows.parquet", gzip.compress(b"PAR1", mtime=0), "is compressed by gzip; decompress it, gunzip -k "),
    ],
)
def test_format_fault_compares_the_suffix_with_the_content(tmp_path, name, content, fault):
    (tmp_path / name).write_bytes(content)
    assert format_fault(tmp_path / name, ()).startswith(fault)


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("rows.csv", "is a zip archive; unpack"),
        ("xl/workbook.xml", "is an Excel workbook; rename it to "),
        ("xl/workbook.bin", "is an Excel workbook of the format .xlsb; save it as .xlsx"),
        ("content.xml", "is an OpenDocument file; save it as .xlsx"),
        ("word/document.xml", "is an Office document; export its rows"),
    ],
)
def test_format_fault_looks_into_zip_archives(tmp_path, member, words):
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        if "/" in member:
            archive.writestr("[Content_Types].xml", "text")
        archive.writestr(member, "text")
    assert words in format_fault(tmp_path / "rows.zip", ())


@pytest.mark.parametrize(("name", "content"), [("rows.csv", "text,label\n"), ("rows.txt", "<html>")])
def test_format_fault_returns_none_for_text(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert format_fault(tmp_path / name, ()) is None


@pytest.mark.parametrize(
    ("recipe", "content", "suffix"),
    [
        ("sentiment", "a\tb\n", ".tsv"),
        ("sentiment", "a,b\n", ".csv"),
        ("sentiment", '\n{"text": 1}', ".jsonl"),
        ("ner", "Ada B-PER", ".conll"),
    ],
)
def test_other_suffix_names_a_file_by_its_content(tmp_path, recipe, content, suffix):
    (tmp_path / "rows").write_text(content)
    recipe = load_recipe(recipe)
    assert f"such as to {tmp_path / 'rows'}{suffix};" in other_suffix(
        tmp_path / "rows", recipe.task.columns(recipe.settings), KNOWN
    )


def test_folder_advice_names_a_pattern(tmp_path):
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "part-1.jsonl").write_text("{}")
    assert folder_advice(tmp_path, KNOWN).endswith(f"{tmp_path}/*.jsonl'")
