"""Rows of csv, tsv and jsonl files, and errors with file and line."""

import csv
import gzip
import itertools
import json
import math
import os
import tracemalloc

import pytest

from tfhub_ft.data.columns import Column, check_label, check_text
from tfhub_ft.data.rows import Row, read_all, read_rows
from tfhub_ft.utils.errors import InputError

TEXT = Column("text", ("sentence", "review"), check_text, option="--text-column")
LABEL = Column("label", ("class",), check_label, option="--label-column")
COLUMNS = [TEXT, LABEL]

AS_UTF8 = "save the file as UTF-8, or name its encoding, such as --encoding cp1252"
AWKWARD = [
    "plain",
    "a, comma",
    'a "quoted" word',
    '"',
    '""',
    "two\nlines",
    "windows\r\nlines",
    "a lone\rcarriage return",
    "\n\nblank lines around\n\n",
    "a\ttab",
    " spaces around ",
    "größer, 日本語, emoji 🎬, عربى",
    "separators \u2028 \u2029 \x85 \x0b \x0c \x1c inside",
    "a byte order mark \ufeff inside",
    'back\\slash \\n \\"',
    "'single'",
    "NaN",
    "null",
    "-1.5e3",
    "=SUM(A1)",
    "x" * 200_000,
]


@pytest.fixture
def write(tmp_path):
    """Return a function that writes text or bytes to a file."""

    def write_file(name, content):
        path = tmp_path / name
        content = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(content) if name.lower().endswith(".gz") else content)
        return path

    return write_file


def values(rows):
    return [(row.line, row.values["text"], row.values["label"]) for row in rows]


def error_of(path, columns=COLUMNS, **options):
    """Return the message of the InputError, checked to be one line with exit code 2."""
    with pytest.raises(InputError) as caught:
        list(read_rows(path, columns, **options))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert caught.value.exit_code == 2
    return message.removeprefix(str(path))


def read_skipping(path, columns=COLUMNS):
    messages = []
    rows = list(read_rows(path, columns, on_bad_row=messages.append))
    return values(rows), [message.removeprefix(f"{path}, ") for message in messages]


def as_csv(records, **options):
    lines = []
    csv.writer(type("Sink", (), {"write": staticmethod(lines.append)}), **options).writerows(records)
    return "".join(lines)


# Formats.


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("a.csv", "text,label\ngood,1\nbad,0\n", (2, 3)),
        ("a.CSV", "text,label\ngood,1\nbad,0", (2, 3)),
        ("a.csv", "text,label\r\ngood,1\r\nbad,0\r\n", (2, 3)),
        ("a.csv", "text,label\rgood,1\rbad,0\r", (2, 3)),
        ("a.csv", "\ufefftext,label\ngood,1\nbad,0\n", (2, 3)),
        ("a.csv", '\ufeff"text","label"\n"good","1"\n"bad","0"\n', (2, 3)),
        ("a.csv", "\n\ntext,label\n\ngood,1\n  \n\r\nbad,0\n\n", (5, 8)),
        ("a.csv", "label,other,text\n1,x,good\n0,,bad\n", (2, 3)),
        ("a.csv.gz", "text,label\ngood,1\nbad,0\n", (2, 3)),
        ("A.CSV.GZ", "text,label\ngood,1\nbad,0\n", (2, 3)),
        ("a.tsv", "text\tlabel\ngood\t1\nbad\t0\n", (2, 3)),
        ("a.TSV", "\ufefftext\tlabel\r\ngood\t1\r\n\r\nbad\t0", (2, 4)),
        ("a.tsv", "text\tlabel\rgood\t1\rbad\t0\r", (2, 3)),
        ("a.tsv.gz", "text\tlabel\ngood\t1\nbad\t0\n", (2, 3)),
        ("a.jsonl", '{"text": "good", "label": 1}\n{"label": 0, "text": "bad"}\n', (1, 2)),
        ("a.ndjson", '\ufeff{"text": "good", "label": "1"}\r\n\r\n \n{"text": "bad", "label": "0"}', (1, 4)),
        ("a.jsonl", '{"text": "good", "label": 1}\r{"text": "bad", "label": 0}\r', (1, 2)),
        ("a.JsonL.gz", '{"text": "good", "label": 1}\n{"text": "bad", "label": 0}\n', (1, 2)),
    ],
)
def test_read_rows_reads_formats_line_ends_and_gzip(write, name, content, lines):
    rows = list(read_rows(write(name, content), COLUMNS))
    assert rows == [Row(lines[0], {"text": "good", "label": "1"}), Row(lines[1], {"text": "bad", "label": "0"})]


def test_read_all_accepts_a_path_as_str(write):
    assert len(read_all(str(write("a.csv", "text,label\ngood,1\n")), COLUMNS)) == 1


@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
@pytest.mark.parametrize(
    "options",
    # With LF line ends the csv module leaves a lone CR unquoted, which read_rows rejects, so all fields are quoted.
    [{}, {"quoting": csv.QUOTE_ALL}, {"quoting": csv.QUOTE_ALL, "lineterminator": "\n"}],
    ids=["crlf", "quoted", "quoted-lf"],
)
def test_csv_module_output_round_trips(write, text, options):
    path = write("a.csv", as_csv([["label", "text"], ["1", text], ["0", "last"]], **options))
    lines_before = 1 + (1 + text.count("\n"))
    assert values(read_rows(path, COLUMNS)) == [(2, text, "1"), (lines_before + 1, "last", "0")]


@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_json_module_output_round_trips(write, text, ensure_ascii):
    path = write("a.jsonl", json.dumps({"text": text, "label": True}, ensure_ascii=ensure_ascii) + "\n")
    assert values(read_rows(path, COLUMNS)) == [(1, text, "true")]


def test_tsv_keeps_quotes_as_characters(write):
    path = write("a.tsv", 'text\tlabel\n"lone quote\t1\nsay ""hi""\t0\n"both"\t1\n')
    assert values(read_rows(path, COLUMNS)) == [(2, '"lone quote', "1"), (3, 'say ""hi""', "0"), (4, '"both"', "1")]


def test_csv_quote_inside_a_field_is_a_character(write):
    path = write("a.csv", 'text,label\n5" screen,1\n')
    assert values(read_rows(path, COLUMNS)) == [(2, '5" screen', "1")]


def test_row_line_counts_quoted_line_ends(write):
    path = write("a.csv", 'text,label\n"one\ntwo\n\nfour",1\n"five\r\nsix",0\nseven,1\n')
    assert [row.line for row in read_rows(path, COLUMNS)] == [2, 6, 8]


def test_row_is_frozen_and_has_slots():
    row = Row(1, {})
    with pytest.raises(AttributeError):
        row.line = 2
    assert not hasattr(row, "__dict__")


# Columns.


@pytest.mark.parametrize("header", ["text", "Text", " TEXT ", "review", "Sentence"])
def test_column_is_found_by_name_or_alias_in_any_case(write, header):
    path = write("a.csv", f"{header},label\ngood,1\n")
    assert values(read_rows(path, COLUMNS)) == [(2, "good", "1")]


def test_column_name_precedes_aliases_in_order(write):
    path = write("a.csv", "review,sentence,text,label\nr,s,t,1\n")
    assert [row.values["text"] for row in read_rows(path, COLUMNS)] == ["t"]
    path = write("b.csv", "review,sentence,label\nr,s,1\n")
    assert [row.values["text"] for row in read_rows(path, COLUMNS)] == ["s"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "text,body,label\nwrong,right,1\n"), ("a.jsonl", '{"text": "wrong", "body": "right", "label": 1}\n')],
)
def test_column_option_overrides_the_name(write, name, content):
    column = Column("text", (), check_text, column="body")
    assert [row.values["text"] for row in read_rows(write(name, content), [column])] == ["right"]


def test_exact_column_name_precedes_other_case(write):
    path = write("a.csv", "Text,text,label\nwrong,right,1\n")
    assert values(read_rows(path, COLUMNS)) == [(2, "right", "1")]


def test_other_columns_may_be_empty_or_repeated(write):
    path = write("a.csv", "text,x,x,,label\ngood,,,,1\n")
    assert values(read_rows(path, COLUMNS)) == [(2, "good", "1")]


def test_row_values_are_those_of_the_checks(write):
    column = Column("score", (), float)
    assert next(read_rows(write("a.csv", "score\n1.5\n"), [column])).values == {"score": 1.5}


def test_check_error_names_the_column_of_the_file(write):
    def check_short(value):
        raise ValueError(f"has {len(value)} characters")

    path = write("a.csv", "Body\nlong\n")
    assert error_of(path, [Column("text", ("body",), check_short)]) == ", line 2: column 'Body' has 4 characters"


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "title,body\nx,y\n"), ("a.tsv", "title\tbody\nx\ty\n"), ("a.jsonl", '{"title": "x", "body": "y"}\n')],
)
def test_missing_column_error_names_columns_and_option(write, name, content):
    message = error_of(write(name, content))
    assert "column 'text' or 'sentence' or 'review' not found; the columns are 'title', 'body'; " in message
    advice = "; or, if line 1 is a row, add --no-header and name columns by number, such as --text-column 1"
    assert message.endswith(f"name one of them with --text-column{'' if name == 'a.jsonl' else advice}")


def test_missing_named_column_ignores_aliases(write):
    column = Column("text", ("review",), check_text, column="body")
    message = error_of(write("a.csv", "review\ngood\n"), [column])
    assert message == ": column 'body' not found; the columns are 'review'; rename one of them to 'body'"


def test_missing_column_is_an_error_when_skipping(write):
    messages = []
    assert "column 'text' or 'sentence' or 'review' not found" in error_of(
        write("a.csv", "a,b\nx,y\n"), on_bad_row=messages.append
    )
    assert messages == []


def test_missing_column_error_shortens_long_names(write):
    message = error_of(write("a.csv", ",".join(["a very long text " * 10] * 50) + "\nx,1\n"))
    assert len(message) < 1200
    assert "and 30 more" in message


def test_repeated_column_is_an_error(write):
    message = error_of(write("a.csv", "text,label,text\na,1,b\n"))
    assert message == ": 2 columns are called 'text'; rename one, or name another with --text-column"
    assert "2 columns are called 'text'" in error_of(write("b.csv", "Text,TEXT,label\na,b,1\n"))


def test_first_json_row_determines_the_keys(write):
    path = write("a.jsonl", '{"review": "a", "label": 1}\n{"text": "b", "label": 1}\n')
    assert error_of(path) == ", line 2: column 'review' is missing"


# Faults of the whole file.


def test_missing_file_error_names_the_nearest(write, tmp_path):
    near = write("reviews.csv", "text,label\ngood,1\n")
    assert error_of(tmp_path / "reveiws.csv") == f": not found; did you mean {near}?"
    assert error_of(tmp_path / "zzz.parquet") == ": not found"
    assert error_of(tmp_path / "no folder" / "reviews.csv") == ": not found"
    assert error_of(near / "reviews.csv") == ": not found"


def test_folder_error_names_a_pattern(tmp_path):
    (tmp_path / "rows.csv").mkdir()
    pattern = tmp_path / "rows.csv" / "*.csv"
    assert (
        error_of(tmp_path / "rows.csv")
        == f": is a folder; pass a file in it, or several by a pattern such as '{pattern}'"
    )


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_file_without_permission_is_reported(write):
    path = write("a.csv", "text,label\ngood,1\n")
    path.chmod(0)
    assert ": cannot be read (Permission denied)" in error_of(path)


def test_unreadable_file_is_reported(write, monkeypatch):
    path = write("a.csv", "text,label\ngood,1\n")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    message = error_of(path)
    monkeypatch.undo()
    assert message == ": cannot be read (Permission denied); check the path and its permissions"


def test_too_long_path_is_reported(tmp_path):
    assert ": cannot be read (" in error_of(tmp_path / f"{'x' * 5000}.csv")


@pytest.mark.parametrize(
    ("name", "content", "renamed"),
    [
        ("a", "text,label\ngood,1\n", "a.csv"),
        ("a.xls", "text\tlabel\ngood\t1\n", "a.xls.tsv"),
        ("a.md", '{"text": "a", "label": 1}\n', "a.md.jsonl"),
        ("a.gz", "text,label\ngood,1\n", "a.gz.csv"),
    ],
)
def test_unknown_suffix_error_names_a_suffix(write, name, content, renamed):
    path = write(name, content)
    assert error_of(path) == (
        f": unknown format; rename it by its format, such as to {path.with_name(renamed)}; the formats are"
        " .csv, .tsv, .jsonl, .ndjson, .json, .conll, .bio, .iob, .iob2, .txt, .tfrecord, .parquet, .pq, .feather,"
        " .arrow, .arrows, .ipc, .xlsx, .xlsm, and text files may end in .gz"
    )
    assert len(list(read_rows(path.rename(path.with_name(renamed)), COLUMNS))) == 1


def test_txt_table_error_names_other_suffixes(write):
    message = error_of(write("a.txt", "text\tlabel\ngood\t1\n"))
    assert message.startswith(
        ": a .txt file has a text per line, and no label; rename a table to .csv or, if tabs separate its columns, .tsv"
    )


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.csv.gz"])
@pytest.mark.parametrize("content", ["", "\ufeff", "\n \r\n\n"])
def test_empty_file_is_an_error(write, name, content):
    assert error_of(write(name, content)) == ": no rows found"


@pytest.mark.parametrize(("name", "content"), [("a.csv", "text,label\n\n"), ("a.tsv", "text\tlabel")])
def test_header_without_rows_is_an_error(write, name, content):
    assert error_of(write(name, content)) == ": no rows found"


@pytest.mark.parametrize("skipping", [False, True])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"te\xe9xt,label\na,1\n", ", line 1: byte 3 (0xe9) is not UTF-8"),
        ("a.tsv", "text\tlabel\na\t1\n".encode("utf-16-le"), ", line 1: contains a NUL byte"),
        ("a.csv", 'text,"label\na,1\n', ", line 1: a quote opens here and is still open in line 2"),
        ("a.csv", '"text"x,label\na,1\n', ", line 1: text follows a closing quote"),
    ],
)
def test_bad_header_is_an_error_when_skipping(write, name, content, message, skipping):
    messages = []
    assert error_of(write(name, content), on_bad_row=messages.append if skipping else None).startswith(message)
    assert messages == []


@pytest.mark.parametrize("damage", [lambda data: data[:-12], lambda data: data[:200] + b"\0" * 50 + data[250:]])
def test_damaged_gzip_file_is_reported(write, tmp_path, damage):
    whole = write("whole.csv.gz", "text,label\n" + "".join(f"text {n * 7919 % 1000},1\n" for n in range(1000)))
    path = tmp_path / "a.csv.gz"
    path.write_bytes(damage(whole.read_bytes()))
    assert error_of(path) == ": is not a complete gzip file; download or compress it again"


def test_gzip_is_detected_by_the_first_bytes(write, tmp_path):
    content = "text,label\ngood,1\n"
    plain, zipped = tmp_path / "a.csv.gz", tmp_path / "b.csv"
    plain.write_text(content)
    zipped.write_bytes(gzip.compress(content.encode()))
    assert values(read_rows(plain, COLUMNS)) == values(read_rows(zipped, COLUMNS)) == [(2, "good", "1")]


# Bad rows are errors that name the line, or are skipped.

CSV_FAULTS = {
    "empty text": (b",1", "column 'text' is empty"),
    "quoted empty text": (b'"",1', "column 'text' is empty"),
    "white space": (b" \t ,1", "column 'text' is empty"),
    "empty label": (b"bad, ", "column 'label' is empty"),
    "too few fields": (b"bad", "has 1 of 2 fields"),
    "too many fields": (b"bad, very bad,1", "has 3 of 2 fields; is there a comma that is not in quotes in a text?"),
    "broken byte": (b"caf\xe9,1", f"byte 4 (0xe9) is not UTF-8; {AS_UTF8}"),
    "broken byte after a multibyte character": (
        "日本".encode() + b"\xff,1",
        f"byte 7 (0xff) is not UTF-8; {AS_UTF8}",
    ),
    "encoded surrogate": (b"\xed\xa0\x80,1", f"byte 1 (0xed) is not UTF-8; {AS_UTF8}"),
    "cut character": (b"\xe6\x97,1", f"byte 1 (0xe6) is not UTF-8; {AS_UTF8}"),
    "NUL": (b"a\0b,1", "contains a NUL byte; remove it"),
    "stray carriage return": (
        b"a\rb,1",
        "a carriage return is in the middle; put the field that contains it in quotes",
    ),
    "text after a quote": (
        b'"so" good,1',
        'text follows a closing quote; double each quote that belongs to a text ("")',
    ),
}
TSV_FAULTS = {
    "empty text": (b"\t1", "column 'text' is empty"),
    "too few fields": (b"bad", "has 1 of 2 fields"),
    "too many fields": (b"bad\tvery bad\t1", "has 3 of 2 fields; is there a tab in a text?"),
    "broken byte": (b"caf\xe9\t1", f"byte 4 (0xe9) is not UTF-8; {AS_UTF8}"),
    "NUL": (b"a\0b\t1", "contains a NUL byte; remove it"),
}
JSONL_FAULTS = {
    "cut off": (
        b'{"text": "bad", "la',
        "is not valid JSON at column 17 (Unterminated string starting at); is the line cut off?",
    ),
    "not JSON": (b"text,label", "is not valid JSON at column 1 (Expecting value); is the line cut off?"),
    "two objects": (
        b'{"text": "a", "label": 1}{"text": "a", "label": 1}',
        "is not valid JSON at column 26 (Extra data); is the line cut off?",
    ),
    "a list": (b'["bad", 1]', "is a list, not a JSON object"),
    "a text": (b'"bad"', "is a text, not a JSON object"),
    "null": (b"null", "is null, not a JSON object"),
    "a number": (b"12", "is a number (12), not a JSON object"),
    "missing key": (b'{"text": "bad"}', "column 'label' is missing"),
    "null text": (b'{"text": null, "label": 1}', "column 'text' is null, not text"),
    "number for a text": (b'{"text": 4.5, "label": 1}', "column 'text' is a number (4.5), not text"),
    "list for a text": (b'{"text": ["bad"], "label": 1}', "column 'text' is a list, not text"),
    "object for a text": (b'{"text": {}, "label": 1}', "column 'text' is an object, not text"),
    "true for a text": (b'{"text": true, "label": 1}', "column 'text' is true or false, not text"),
    "empty text": (b'{"text": "", "label": 1}', "column 'text' is empty"),
    "empty label": (b'{"text": "bad", "label": " "}', "column 'label' is empty"),
    "null label": (
        b'{"text": "bad", "label": null}',
        "column 'label' is null, not a label; write a text or a whole number",
    ),
    "lone surrogate": (
        b'{"text": "a\\ud83c", "label": 1}',
        "column 'text' contains half a character (an unpaired \\ud800 to \\udfff escape), which is not text",
    ),
    "broken byte": (b'{"text": "caf\xe9", "label": 1}', f"byte 14 (0xe9) is not UTF-8; {AS_UTF8}"),
    "NUL": (b'{"text": "\0", "label": 1}', "contains a NUL byte; remove it"),
}
ROWS = {
    "a.csv": (b"text,label", b"good,1", b"last,0", CSV_FAULTS),
    "a.tsv": (b"text\tlabel", b"good\t1", b"last\t0", TSV_FAULTS),
    "a.jsonl": (b"", b'{"text": "good", "label": 1}', b'{"text": "last", "label": 0}', JSONL_FAULTS),
}
BAD_ROWS = [
    pytest.param(name, [header, good, bad, last], message, id=f"{name[2:]}: {fault}")
    for name, (header, good, last, faults) in ROWS.items()
    for fault, (bad, message) in faults.items()
]


@pytest.mark.parametrize(("name", "lines", "message"), BAD_ROWS)
def test_bad_row_error_names_the_line(write, name, lines, message):
    assert error_of(write(name, b"\n".join(lines))) == f", line 3: {message}"


@pytest.mark.parametrize(("name", "lines", "message"), BAD_ROWS)
def test_bad_row_is_skipped(write, name, lines, message):
    rows, messages = read_skipping(write(name, b"\n".join(lines) + b"\n"))
    assert rows == [(2, "good", "1"), (4, "last", "0")]
    assert messages == [f"line 3: {message}"]


@pytest.mark.parametrize(("name", "lines", "message"), BAD_ROWS)
def test_bad_last_row_is_skipped(write, name, lines, message):
    rows, messages = read_skipping(write(name, b"\n".join([lines[0], lines[1], lines[2]])))
    assert rows == [(2, "good", "1")]
    assert messages == [f"line 3: {message}"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_error_line_counts_quoted_line_ends(write, end):
    content = end.join(["text,label", '"one', "", 'three",1', '"four', 'five",0', ",1", "last,1", ""])
    assert error_of(write("a.csv", content)) == ", line 7: column 'text' is empty"


def test_broken_byte_in_quotes_affects_only_its_row(write):
    path = write("a.csv", b'text,label\n"one\ntw\xe9 ""\nthree, four",1\n"good\nrow",0\n')
    rows, messages = read_skipping(path)
    assert rows == [(5, "good\nrow", "0")]
    assert messages == [f"line 3: byte 3 (0xe9) is not UTF-8; {AS_UTF8}"]
    assert error_of(path) == f", line 3: byte 3 (0xe9) is not UTF-8; {AS_UTF8}"


def test_bad_rows_are_reported_one_by_one(write):
    path = write("a.csv", b"text,label\n" + b"\xff,1\ngood,1\n,1\n" * 100)
    rows, messages = read_skipping(path)
    assert len(rows) == 100
    assert len(messages) == 200
    assert messages[-1] == "line 301: column 'text' is empty"


def test_json_first_row_without_a_column_is_bad(write):
    path = write("a.jsonl", '{"label": 1}\n{"text": "good", "label": 1}\n')
    rows, messages = read_skipping(path)
    assert rows == [(2, "good", "1")]
    assert messages[0].startswith(
        "line 1: column 'text' or 'sentence' or 'review' not found; the columns are 'label'; "
    )


def test_deeply_nested_json_is_rejected(write):
    assert error_of(write("a.jsonl", "[" * 200_000 + "\n")).startswith(", line 1: is JSON that cannot be read")


def test_json_nan_is_accepted(write):
    row = next(read_rows(write("a.jsonl", '{"score": NaN}\n'), [Column("score", (), float)]))
    assert math.isnan(row.values["score"])


# Open quotes.


@pytest.mark.parametrize(
    ("lines", "opened"),
    [
        (['"never closed,1', "more,0", "last,1"], 3),
        (["fine,0", 'fine,"never closed', "last,1"], 4),
        (['"a row\nof lines","never closed', "last,1"], 4),
        (['"it says ""hi"" and ""ho"", twice",x', 'y,"an ""inner"" quote', "last,1"], 4),
        (['5" screen,"never closed', "last,1"], 3),
        (['"two\nlines","more\nlines', ",,,", "last,1"], 4),
    ],
)
@pytest.mark.parametrize("end", ["", "\n"])
def test_open_quote_over_lines_is_an_error(write, lines, opened, end):
    content = "\n".join(["text,label", "good,1", *lines]) + end
    last = content.rstrip("\n").count("\n") + 1
    path = write("a.csv", content)
    expected = f", line {opened}: a quote opens here and is still open in line {last}; close it, or double it"
    messages = []
    assert error_of(path, on_bad_row=messages.append).startswith(expected)
    assert messages == []
    assert error_of(path).startswith(expected)


@pytest.mark.parametrize("end", ["", "\n"])
def test_open_quote_in_the_last_line_is_a_bad_row(write, end):
    path = write("a.csv", f'text,label\ngood,1\n"cut off, he{end}')
    rows, messages = read_skipping(path)
    assert rows == [(2, "good", "1")]
    assert messages == [
        'line 3: a quote opens here and is never closed; close it, or double it if it belongs to the text ("")'
    ]


def test_open_quote_closed_by_the_next_row_is_a_bad_row(write):
    path = write("a.csv", 'text,label\n"left open,1\n"good",0\nlast,1\n')
    rows, messages = read_skipping(path)
    assert rows == [(4, "last", "1")]
    assert messages[0].startswith("line 2: text follows a closing quote in line 3;")


def test_open_quote_counts_every_line_as_a_bad_row(write, capsys):
    path = write("a.csv", 'text,label\nfirst,0\n"left open,1\none,0\ntwo,1\n"good",0\nlast,1\n')
    rows, messages = read_skipping(path)
    assert rows == [(2, "first", "0"), (7, "last", "1")]
    assert messages[1:] == [f"line {line}: is inside the quotes that open in line 3" for line in (4, 5, 6)]
    read_all(path, COLUMNS, skip_bad_rows=True)
    assert "a.csv: skipped 4 bad rows (first: line 3: text follows" in capsys.readouterr().err


def test_open_quote_is_found_in_bounded_memory(tmp_path):
    path = tmp_path / "a.csv"
    with path.open("w") as file:
        file.write('text,label\ngood,1\n"left open,1\n')
        for _ in range(300):
            file.write("a row of plain text that is not quoted at all,1\n" * 1000)
    tracemalloc.start()
    try:
        message = error_of(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert message.startswith(", line 3: a quote opens here and is still open in line ")
    assert peak < 100e6


def test_too_long_field_is_a_bad_row(write):
    path = write("a.csv", f'text,label\n{"x" * 5_000_000},"1"\ngood,1\n')
    rows, messages = read_skipping(path)
    assert rows == [(3, "good", "1")]
    assert messages == ["line 2: a field has more than 4194304 characters"]


def test_larger_csv_field_limit_is_kept(write):
    before = csv.field_size_limit(2**30)
    try:
        read_all(write("a.csv", "text,label\ngood,1\n"), COLUMNS)
        assert csv.field_size_limit() == 2**30
    finally:
        csv.field_size_limit(before)


# Streaming.


def test_read_rows_is_lazy(write):
    path = write("a.csv", b"text,label\ngood,1\n" + b"fine,1\n" * 500_000 + b",1\n")
    rows = read_rows(path, COLUMNS)
    tracemalloc.start()
    try:
        assert next(rows).values["text"] == "good"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    rows.close()
    assert peak < 1e6


def test_read_rows_yields_rows_before_a_bad_row(write):
    rows = read_rows(write("a.jsonl", '{"text": "a", "label": 1}\n{\n'), COLUMNS)
    assert next(rows).line == 1
    with pytest.raises(InputError, match="line 2"):
        next(rows)


@pytest.mark.parametrize(
    ("name", "rows"), [("a.csv", 200_000), ("a.tsv", 50_000), ("a.jsonl", 50_000), ("a.csv.gz", 50_000)]
)
def test_read_rows_uses_bounded_memory(write, name, rows):
    line = {"a.tsv": "some text of some length\t1\n", "a.jsonl": '{"text": "some text of some length", "label": 1}\n'}
    header = {"a.tsv": "text\tlabel\n", "a.jsonl": ""}.get(name, "text,label\n")
    path = write(name, header + line.get(name, "some text of some length,1\n") * rows)
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_rows(path, COLUMNS))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == rows
    assert peak < 2e6


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts the open files as Linux lists them")
def test_read_rows_closes_the_file_of_a_dropped_reader(write):
    path = write("a.csv", "text,label\n" + "good,1\n" * 100_000)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        assert len(list(itertools.islice(read_rows(path, COLUMNS), 3))) == 3
    assert len(os.listdir("/proc/self/fd")) == before


# read_all


def test_read_all_returns_all_rows(write, capsys):
    assert values(read_all(write("a.csv", "text,label\ngood,1\nbad,0\n"), COLUMNS, skip_bad_rows=True)) == [
        (2, "good", "1"),
        (3, "bad", "0"),
    ]
    assert capsys.readouterr() == ("", "")


def test_read_all_stops_at_a_bad_row(write):
    path = write("a.csv", "text,label\ngood,1\n,0\n")
    with pytest.raises(InputError, match="line 3: column 'text' is empty"):
        read_all(path, COLUMNS)


@pytest.mark.parametrize(("bad", "skipped"), [(1, "1 bad row"), (3, "3 bad rows")])
def test_read_all_logs_the_number_of_skipped_rows(write, capsys, bad, skipped):
    path = write("reviews.csv", "text,label\ngood,1\n" + ",0\n" * bad)
    assert len(read_all(path, COLUMNS, skip_bad_rows=True)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"{path}: skipped {skipped} (first: line 3: column 'text' is empty)\n"


def test_read_all_warns_of_nan_texts(write, capsys):
    path = write("reviews.csv", "text,label\nnan,1\nNaN,0\nnano,0\n")
    assert len(read_all(path, COLUMNS)) == 3
    assert capsys.readouterr().err == (
        f"Warning: {path}: 2 rows have the text 'nan', which pandas writes for missing values; remove the rows if their"
        " text is missing\n"
    )


@pytest.mark.parametrize("label", ["nan", "NaN"])
def test_nan_label_is_a_bad_row(write, label):
    rows, messages = read_skipping(write("a.csv", f"text,label\ngood,1\nbad,{label}\n"))
    assert rows == [(2, "good", "1")]
    assert messages == [f"line 3: column 'label' is {label!r}, a missing value"]


def test_labels_are_normalized_to_nfc(write):
    path = write("a.csv", "text,label\na,caf\u00e9\nb,cafe\u0301\n")
    assert {label for _, _, label in values(read_rows(path, COLUMNS))} == {"caf\u00e9"}


def test_read_all_rejects_only_bad_rows(write, capsys):
    path = write("a.csv", "text,label\n,1\n,0\n")
    with pytest.raises(InputError) as caught:
        read_all(path, COLUMNS, skip_bad_rows=True)
    assert str(caught.value) == f"{path}: no good rows found, only 2 bad rows (first: line 2: column 'text' is empty)"
    assert capsys.readouterr().err == ""
