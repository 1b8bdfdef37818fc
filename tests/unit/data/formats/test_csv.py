"""Tables as spreadsheets, pandas and people write them."""

import csv
import io
import random

import pytest

from tfhub_ft.data.columns import Column, check_label, check_text
from tfhub_ft.data.rows import ReadOptions, read_all, read_rows
from tfhub_ft.utils.errors import InputError

COLUMNS = [
    Column("text", ("sentence",), check_text, option="--text-column"),
    Column("label", ("class",), check_label, option="--label-column"),
]


@pytest.fixture
def write(tmp_path):
    def write_file(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def read(path, **options):
    rows = read_rows(path, COLUMNS, options=ReadOptions(**options))
    return [(row.line, row.values["text"], row.values["label"]) for row in rows]


@pytest.mark.parametrize(
    "content",
    [
        "sep=;\r\ntext;label\r\ngood, fine;1\r\n",
        '\ufeff"sep=;"\r\ntext;label\r\ngood, fine;1\r\n',
        "SEP=;\ntext;label\n\n;\n",
        "sep=\t\ntext\tlabel\ngood, fine\t1\n",
    ],
)
def test_csv_reads_the_delimiter_of_a_sep_line(content, write):
    path = write("a.csv", content)
    if content.endswith(";\n"):
        with pytest.raises(InputError, match="no rows found"):
            read(path)
    else:
        assert read(path) == [(3, "good, fine", "1")]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_csv_detects_and_prints_the_delimiter(delimiter, write, capsys):
    path = write("a.csv", f"id{delimiter}text{delimiter}label\n1{delimiter}good, very{delimiter}a\n")
    assert read(path) == [(2, "good, very", "a")]
    assert capsys.readouterr().err == ""
    read_all(path, COLUMNS)
    assert capsys.readouterr().err == f"{path}: read with the delimiter {delimiter!r}\n"


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        # Comma-separated files, whatever else their texts contain.
        ("text,label\na;b;c,x\nd|e,y\n", [(2, "a;b;c", "x"), (3, "d|e", "y")]),
        ("text,label\n" + "a;b,x\n" * 2, [(2, "a;b", "x"), (3, "a;b", "x")]),
        ("label,text;old,text\nx,a;b,c\n", [(2, "c", "x")]),
        ("text,class;\na,x\n", None),
        # A semicolon-separated file with commas in its texts and in another column's name.
        ("text;label;size, kg\na, b, c;x;1,5\n", [(2, "a, b, c", "x")]),
    ],
)
def test_csv_detects_the_delimiter_from_the_header(content, rows, write):
    path = write("a.csv", content)
    if rows is None:
        with pytest.raises(InputError, match="column 'label' or 'class' not found; the columns are 'text', 'class;'"):
            read(path)
    else:
        assert read(path) == rows


def test_csv_reads_a_single_column(write):
    column = Column("text", (), check_text)
    path = write("a.csv", "text\na;b\nc|d\n")
    assert [row.values["text"] for row in read_rows(path, [column])] == ["a;b", "c|d"]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("text,label,,\na,x,,\nb,y,,\n", [(2, "a", "x"), (3, "b", "y")]),
        ("text,label\na,x,\nb,y,,, \n", [(2, "a", "x"), (3, "b", "y")]),
        ("text,label,,\na,x\nb,y,\n", [(2, "a", "x"), (3, "b", "y")]),
        ('text,label\na,x\n,\n"",""\n , \n,,,,\nb,y\n,\n', [(2, "a", "x"), (7, "b", "y")]),
        (",,\n,\ntext,label\na,x\n", [(4, "a", "x")]),
        ("text;label\na;x\n;\n;;;\n", [(2, "a", "x")]),
    ],
)
def test_csv_ignores_cleared_cells_of_spreadsheets(content, rows, write):
    assert read(write("a.csv", content)) == rows
    table = write("a.tsv", content.replace(",", "\t").replace(";", "\t").replace('""', ""))
    assert read(table) == rows


def test_csv_rejects_an_extra_field(write):
    with pytest.raises(InputError, match="line 2: has 3 of 2 fields; is there a semicolon that is not in quotes in a"):
        read(write("a.csv", "text;label\na;x;b\n"))
    with pytest.raises(InputError, match="line 2: has 1 of 2 fields"):
        read(write("a.csv", "text;label\na\n"))


def test_csv_keep_blank_keeps_blank_rows(write):
    kept = list(read_rows(
        write("a.csv", 'id,text\n1,\n,\n,,\n2,a\n""\n'), [Column("text", (), str)], options=ReadOptions(keep_blank=True)
    ))  # fmt: skip
    assert [row.values["text"] for row in kept] == ["", "", "", "a", ""]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("header", [True, False])
def test_csv_keep_blank_keeps_lines_of_a_single_column(name, header, write):
    path = write(name, ("\ntext\n" if header else "") + "  \ngood\n  \n\n \t \nbad\r\n \r\n")
    column = Column("text", (), str, None if header else "1")
    kept = list(read_rows(path, [column], options=ReadOptions(keep_blank=True, header=header)))
    assert [row.values["text"] for row in kept] == ["", "good", "", "", "", "bad", ""]
    assert [row.line for row in kept] == [number + 2 * header for number in range(1, 8)]
    rows = read_rows(path, [column], options=ReadOptions(header=header))
    assert [row.values["text"] for row in rows] == ["good", "bad"]


def test_csv_keep_blank_skips_lines_of_several_columns(write):
    path = write("a.csv", "id,text\n1,a\n\n  \n,\n2,b\n")
    kept = read_rows(path, [Column("text", (), str)], options=ReadOptions(keep_blank=True))
    assert [row.values["text"] for row in kept] == ["a", "", "b"]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('text, label\n"film 1, ha", "oui"\ngood, non\n', [(2, "film 1, ha", "oui"), (3, "good", "non")]),
        ('label, text\npos, "film 1 gut, sehr"\n', [(2, "film 1 gut, sehr", "pos")]),
        ('"text", "label"\n"a", "x"\n', [(2, "a", "x")]),
        ('"label", "text "\nx,   "a, b"\n', [(2, "a, b", "x")]),
        (' "text", "label"\n "a ""b"", c", "x"\n', [(2, 'a "b", c', "x")]),
        ('id; text; label\n1; "a; b"; "x"\n', [(2, "a; b", "x")]),
        ('text| label\n"two\nlines"| "x"\nb| "two\nlines"\n', [(2, "two\nlines", "x"), (4, "b", "two\nlines")]),
        ('text, label\r\nsay "hi", "x"\r\n', [(2, 'say "hi"', "x")]),
        ('text, label\na, ""\nb, "x"\n', None),
    ],
)
def test_csv_drops_spaces_before_quotes(content, rows, write, capsys):
    path = write("a.csv", content)
    if rows is None:
        with pytest.raises(InputError, match="line 2: column 'label' is empty"):
            read(path)
        return
    assert read(path) == rows
    read_all(path, COLUMNS)
    assert "the spaces after delimiters are left out: a quote follows them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        # If one quote after spaces does not enclose a field, none does.
        ('label,text\nx, "Great" film\ny, "Great"\n', [(2, ' "Great" film', "x"), (3, ' "Great"', "y")]),
        ('label,text\nx, "Great\ny,b\n', [(2, ' "Great', "x"), (3, "b", "y")]),
        ('label,text\n "x",b\n', [(2, "b", '"x"')]),
        # The spaces are inside quotes.
        ('label,text\nx," ""Great"""\ny,"b, ""c"""\n', [(2, ' "Great"', "x"), (3, 'b, "c"', "y")]),
        ('label,text\nx,"b, ""c"""\n', [(2, 'b, "c"', "x")]),
        ('label,text\nx, a\ny,  b "c"\n', [(2, " a", "x"), (3, '  b "c"', "y")]),
    ],
)
def test_csv_keeps_other_spaces_and_quotes(content, rows, write, capsys):
    path = write("a.csv", content)
    assert read(path) == rows
    read_all(path, COLUMNS)
    assert "spaces" not in capsys.readouterr().err


def test_csv_drops_spaces_if_the_head_ends_in_quotes(write):
    content = "text, label\n" + 'a, "x"\n' * 198 + 'b, "two\nlines"\n'
    assert read(write("a.csv", content))[-1] == (200, "b", "two\nlines")


def test_csv_locates_an_open_quote_after_spaces(write):
    content = "text, label\n" + 'a, "x"\n' * 300 + 'b, "x\n'
    with pytest.raises(InputError, match="line 302: a quote opens here and is never closed"):
        read(write("a.csv", content))


def test_csv_columns_may_be_named_by_number(write):
    columns = [Column("text", (), check_text, "2"), Column("label", (), check_label, "1")]
    path = write("a.csv", "x,y\ngood,very\n")
    assert next(read_rows(path, columns)).values == {"text": "very", "label": "good"}
    assert [row.line for row in read_rows(path, columns, options=ReadOptions(header=False))] == [1, 2]
    path = write("b.csv", "2,1\ngood,very\n")
    assert next(read_rows(path, columns)).values == {"text": "good", "label": "very"}


PANDAS = [
    ("a", "x"),
    ('he said "wow"', "x"),
    ('"quoted"', "y"),
    ("a\ttab", "y"),
    ("two\nlines", "x"),
    ("it's", "y"),
    (" spaces ", "x"),
]


def as_tsv(rows, quoting):
    file = io.StringIO()
    csv.writer(file, delimiter="\t", quoting=quoting, lineterminator="\n").writerows([("text", "label"), *rows])
    return file.getvalue()


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("count", range(2, len(PANDAS) + 1))
def test_tsv_reads_quotes_as_pandas_writes_them(quoting, count, write, capsys):
    path = write("a.tsv", as_tsv(PANDAS[:count], quoting))
    rows = read_all(path, COLUMNS)
    assert [tuple(row.values.values()) for row in rows] == PANDAS[:count]
    assert "fields in quotes are read as in a csv file" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(40))
def test_tsv_round_trips_random_texts(seed, write):
    rng = random.Random(seed)
    rows = [("".join(rng.choices(["a", '"', "\t", "\n", " ", '""', "é", ","], k=9)) + ".", "x") for _ in range(30)]
    path = write("a.tsv", as_tsv([('a "quote"', "x"), *rows], csv.QUOTE_MINIMAL))
    assert [(text, label) for _, text, label in read(path)][1:] == rows


@pytest.mark.parametrize(
    "texts",
    [
        ['"lone quote', "b"],
        ['say ""hi""', '"both"'],
        ['"both"', '"and both"'],
        ['"first" and more', '"a ""b"" c"'],
        ['ends with "'],
        ['"', '""'],
        ['5" screen', '"she said', 'and left"'],
    ],
)
def test_tsv_keeps_other_quotes_as_characters(texts, write, capsys):
    path = write("a.tsv", "text\tlabel\n" + "".join(f"{text}\tx\n" for text in texts))
    assert [text for _, text, _ in read(path)] == texts
    read_all(path, COLUMNS)
    assert capsys.readouterr().err == ""


def test_tsv_with_a_lone_quote_is_read_lazily(write):
    path = write("a.tsv", 'text\tlabel\n"lone\tx\n' + "some text of some length\tx\n" * 400_000)
    assert next(read_rows(path, COLUMNS)).values["text"] == '"lone'
