import io

import pytest

from tfhub_ft.data.columns import Column, check_text
from tfhub_ft.data.texts import read_texts
from tfhub_ft.utils.errors import InputError

ONE = [Column("text", (), check_text)]
PAIR = [Column("question", (), check_text), Column("passage", (), check_text)]


def test_read_texts_keeps_rows_without_a_text(tmp_path):
    (tmp_path / "rows.csv").write_text("id,text\n1,good film\n2,\n3,bad film\n")
    rows = list(read_texts(tmp_path / "rows.csv", ONE, keep_columns=True))
    assert [row.segments for row in rows] == [("good film",), None, ("bad film",)]
    assert [row.texts for row in rows] == [("good film",), ("",), ("bad film",)]
    assert [row.others for row in rows] == [{"id": "1"}, {"id": "2"}, {"id": "3"}]
    assert rows[1].location == f"{tmp_path / 'rows.csv'}, line 3"


def test_read_texts_splits_lines_at_the_tab():
    stream = io.TextIOWrapper(io.BytesIO(b"who?\tAda sings\n\nwho?\t \n"))
    assert [row.segments for row in read_texts(stream, PAIR)] == [("who?", "Ada sings"), None, None]


def test_read_texts_skips_bad_rows():
    faults = []
    stream = io.TextIOWrapper(io.BytesIO(b"who?\nwho?\tAda\n"))
    rows = list(read_texts(stream, PAIR, on_bad_row=faults.append))
    assert [row.segments for row in rows] == [("who?", "Ada")]
    assert faults == ["standard input, line 1: has 1 of 2 texts; separate them by a tab"]
    with pytest.raises(InputError, match="line 1: has 1 of 2 texts"):
        list(read_texts(io.TextIOWrapper(io.BytesIO(b"who?\n")), PAIR))
