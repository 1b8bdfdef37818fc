import io

import pytest

from tfhub_ft.data.columns import Column, check_text
from tfhub_ft.data.formats.source import ReadOptions
from tfhub_ft.data.formats.text import open_stream, open_text
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError

TEXT = Column("text", ("review",), check_text)


def test_open_text_skips_blank_lines(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_bytes(b"good film\r\n \r\nb\xffd\r\n")
    (first, second) = open_text(path, [TEXT], ReadOptions()).records()
    assert first == (1, {"text": "good film"}, None)
    assert (second[0], second[1]) == (3, None)
    assert "(0xff) is not UTF-8" in second[2]
    assert len(list(open_text(path, [TEXT], ReadOptions(keep_blank=True)).records())) == 3


def test_open_text_reads_tokens_and_tags_as_conll(tmp_path):
    recipe = load_recipe("ner")
    (tmp_path / "rows.txt").write_text("Ada B-PER\nsings O\n")
    source = open_text(tmp_path / "rows.txt", recipe.task.columns(recipe.settings), ReadOptions())
    ((_, record, fault),) = source.records()
    assert (list(record.values()), fault) == ([["Ada", "sings"], ["B-PER", "O"]], None)


def test_open_text_rejects_other_columns(tmp_path):
    for label in ("good", "bad"):
        (tmp_path / "rows" / label).mkdir(parents=True)
        (tmp_path / "rows" / label / "1.txt").write_text("a film")
    with pytest.raises(InputError, match=r"no label; rename a table to \.csv .*is its label, pass the folder .*/rows$"):
        open_text(tmp_path / "rows" / "good" / "1.txt", [TEXT, Column("label", (), check_text)], ReadOptions())


def test_open_stream_reads_standard_input():
    source = open_stream(io.BytesIO(b"good\nbad"), ReadOptions())
    assert [record for _, record, _ in source.records()] == [{"text": "good"}, {"text": "bad"}]
    assert source.location(2) == "standard input, line 2"
