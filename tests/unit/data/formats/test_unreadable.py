import bz2
import lzma
import zipfile

import pytest

from tfhub_ft.data.formats.unreadable import folder_advice, other_format, other_suffix, table_of_folders
from tfhub_ft.recipe import load_recipe

KNOWN = (".csv", ".jsonl")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (bz2.compress(b"a"), "is compressed by bzip2; decompress it, bunzip2 -k"),
        (lzma.compress(b"a"), "is compressed by xz; decompress it, unxz -k"),
        (b"PAR1", "is a Parquet file; write it as jsonl, python -c"),
        (b"SQLite format 3\0", "is a SQLite database; export its rows as csv or jsonl"),
        (b"\xd0\xcf\x11\xe0", "is an Excel workbook; write it as csv, python -c"),
    ],
)
def test_other_format_names_the_format_and_the_command(tmp_path, content, words):
    (tmp_path / "rows.csv").write_bytes(content)
    assert other_format(tmp_path / "rows.csv").startswith(words)


@pytest.mark.parametrize(("member", "words"), [("rows.csv", "is a zip archive; unpack"), ("xl/workbook.xml", "Excel")])
def test_other_format_looks_into_zip_archives(tmp_path, member, words):
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.writestr(member, "text")
    assert words in other_format(tmp_path / "rows.zip")


def test_other_format_returns_none_for_text(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n")
    assert other_format(tmp_path / "rows.csv") is None


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


def test_folder_advice_names_a_pattern_or_a_table(tmp_path):
    (tmp_path / "part-1.jsonl").write_text("{}")
    assert folder_advice(tmp_path, KNOWN).endswith(f"{tmp_path}/*.jsonl'")
    assert table_of_folders(tmp_path) is None
    for label in ("good", "bad"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.txt").write_text("a film")
    assert folder_advice(tmp_path, KNOWN).endswith(f"and pass {tmp_path.name}.csv")
