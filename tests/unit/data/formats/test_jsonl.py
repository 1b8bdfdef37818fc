"""JSON objects per line, over several lines, and in lists."""

import json
import tracemalloc

import pytest

from tfhub_ft.data.columns import Column, check_label, check_text
from tfhub_ft.data.rows import read_rows
from tfhub_ft.utils.errors import InputError

COLUMNS = [Column("text", (), check_text), Column("label", (), check_label)]
ROWS = [{"text": "good, [very]", "label": 1}, {"text": 'a "quote" }\n{', "label": 0}, {"text": "größer 🎬", "label": 1}]


def read(path):
    return [(row.line, row.values["text"], row.values["label"]) for row in read_rows(path, COLUMNS)]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson"])
@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        json.dumps(ROWS, indent=0),
        "\n\n " + json.dumps(ROWS, ensure_ascii=False) + "\n\n",
        "[" + ",\n".join(map(json.dumps, ROWS)) + "]",
        "\n".join(json.dumps(row, indent=1) for row in ROWS),
        ",\n".join(json.dumps(row, indent=4) for row in ROWS),
        "\n".join(map(json.dumps, ROWS)),
        "\r\n".join(map(json.dumps, ROWS)) + "\r\n",
        "\n".join(json.dumps(row).replace(', "label"', ',\n"label"') for row in ROWS),
    ],
    ids=[
        "list",
        "pretty",
        "pretty-0",
        "blank-lines",
        "list-of-lines",
        "objects",
        "commas",
        "lines",
        "crlf",
        "two-lines",
    ],
)
def test_jsonl_reads_objects_in_any_layout(name, content, tmp_path):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8", newline="")
    expected = [(number, row["text"], str(row["label"])) for number, row in enumerate(ROWS, 1)]
    assert read(path) == expected


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_jsonl_reads_an_object_over_several_lines(name, tmp_path):
    (tmp_path / name).write_text(json.dumps(ROWS[0], indent=2))
    assert read(tmp_path / name) == [(1, "good, [very]", "1")]


def test_json_reads_rows_under_data(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"schema": {"fields": []}, "data": ROWS}))
    assert len(read(tmp_path / "a.json")) == 3


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a", "label": 1}, 5]', "row 2: is a number (5), not a JSON object"),
        ('[{"text": "a", "label": 1},\n{"text": "b", "label": 2}', "its list is not closed; is the file cut off?"),
        (
            '[{"text": "a", "label": 1},\n{"text": "b", "la',
            "line 2: is not valid JSON (Unterminated string starting at)",
        ),
        ('[{"text": "a", "label": 1}]\nmore', "line 2: text follows the end of the list; remove it"),
        ('[{"text": "a", "label": 1},\n{"text": "b"}]', "row 2: column 'label' is missing"),
        ("[" * 200_000, "line 1: is JSON that cannot be read"),
        ("[]", "no rows found"),
        ('{\n"text": "a", "label": 1\n}\n{\n"text": "b",\n}\n', "is not valid JSON"),
    ],
)
def test_jsonl_errors_name_the_row_or_line(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as caught:
        read(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_broken_byte_affects_only_its_row(tmp_path):
    (tmp_path / "a.json").write_bytes(b'[\n{"text": "a\xff", "label": 1},\n{"text": "b", "label": 2}]')
    messages = []
    rows = list(read_rows(tmp_path / "a.json", COLUMNS, on_bad_row=messages.append))
    assert [row.values["text"] for row in rows] == ["b"]
    assert "row 1: byte 12 (0xff) is not UTF-8" in messages[0]


def test_jsonl_broken_first_line_is_a_bad_row(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "cut\n{"text": "good", "label": 1}\n')
    messages = []
    rows = list(read_rows(tmp_path / "a.jsonl", COLUMNS, on_bad_row=messages.append))
    assert [row.line for row in rows] == [2]
    assert len(messages) == 1


@pytest.mark.parametrize("indent", [None, 1])
def test_json_list_is_read_in_bounded_memory(indent, tmp_path):
    path = tmp_path / "a.json"
    rows = [{"text": f"some text of some length {number}", "label": 1} for number in range(50_000)]
    path.write_text(json.dumps(rows, indent=indent))
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_rows(path, COLUMNS))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 50_000
    # A list in one line is read as one line of text.
    assert peak < (2e6 if indent else 15e6)
