import io

import pytest

from tfhub_ft.data.columns import Column, check_text
from tfhub_ft.data.texts import TextRows
from tfhub_ft.utils.errors import InputError

ONE = [Column("text", (), check_text)]
PAIR = [Column("question", (), check_text), Column("passage", (), check_text)]


def test_text_rows_keeps_rows_without_a_text(tmp_path):
    (tmp_path / "rows.csv").write_text("id,text\n1,good film\n2,\n3,bad film\n")
    rows = list(TextRows(tmp_path / "rows.csv", ONE))
    assert [row.segments for row in rows] == [("good film",), None, ("bad film",)]
    assert [row.texts for row in rows] == [("good film",), ("",), ("bad film",)]
    assert rows[0].values == {"id": "1", "text": "good film"}
    assert [row.values["id"] for row in rows] == ["1", "2", "3"]
    assert rows[1].location == f"{tmp_path / 'rows.csv'}, line 3"


def test_text_rows_splits_lines_at_the_tab():
    stream = io.TextIOWrapper(io.BytesIO(b"who?\tAda sings\n\nwho?\t \n"))
    assert [row.segments for row in TextRows(stream, PAIR)] == [("who?", "Ada sings"), None, None]


def test_text_rows_skips_bad_rows():
    stream = io.TextIOWrapper(io.BytesIO(b"who?\nwho?\tAda\n"))
    rows = TextRows(stream, PAIR, skip_bad_rows=True)
    assert [row.segments for row in rows] == [("who?", "Ada")]
    assert rows.skipped == ["standard input, line 1: has 1 of 2 texts; separate them by a tab"]
    with pytest.raises(InputError, match="line 1: has 1 of 2 texts"):
        list(TextRows(io.TextIOWrapper(io.BytesIO(b"who?\n")), PAIR))
