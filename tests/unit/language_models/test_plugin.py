from types import SimpleNamespace

from tfhub_ft.language_models.plugin import report_parts


def test_report_parts_shows_replies_side_by_side():
    row = {"prompt": "Hello?", "true reply": "Hi!", "trained": "Hello!"}
    (table,) = report_parts(SimpleNamespace(written=[row]))
    assert (table.columns, table.rows) == (list(row), [list(row.values())])


def test_report_parts_is_empty_without_replies():
    assert report_parts(SimpleNamespace(written=())) == []
