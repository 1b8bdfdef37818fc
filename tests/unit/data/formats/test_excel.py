"""Excel workbooks."""

import datetime
import sys
import zipfile

import pytest

from tfhub_ft.data.columns import Column, check_label, check_number, check_text
from tfhub_ft.data.formats.source import ReadOptions
from tfhub_ft.data.rows import read_all, read_rows
from tfhub_ft.data.texts import TextRows
from tfhub_ft.utils.errors import InputError

openpyxl = pytest.importorskip("openpyxl")
TEXT, LABEL = Column("text", ("review",), check_text), Column("label", (), check_label)
WHOLE_ROW = Column("", (), lambda others: others, whole_row=True)


@pytest.fixture
def write(tmp_path):
    """A function that writes sheets, by name, into a workbook."""

    def write_workbook(*rows, name="a.xlsx", **sheets):
        book = openpyxl.Workbook()
        book.remove(book.active)
        for title, cells in {**({"Sheet1": rows} if rows else {}), **sheets}.items():
            sheet = book.create_sheet(title)
            for row in cells:
                sheet.append(row)
        book.save(tmp_path / name)
        return tmp_path / name

    return write_workbook


def read(path, columns=(TEXT, LABEL), **options):
    return [(row.line, *row.values.values()) for row in read_rows(path, columns, **options)]


def test_workbook_is_read_as_a_table_would_be(write):
    path = write(
        ("Review", "label", "id"), ("größer 🎬", "good", 7), (" a\nb ", 1, None), (2.0, True, 1.5), (0.1 + 0.2, 0)
    )
    assert read(path) == [(2, "größer 🎬", "good"), (3, " a\nb ", "1"), (4, "2", "true"), (5, "0.3", "0")]
    assert read(path.rename(path.with_name("b.XLSM"))) == read(path.with_name("b.XLSM"))


def test_workbook_keeps_the_types_of_other_columns(write):
    cells = [7, 1.5, True, None, "a", datetime.datetime(2026, 1, 31), datetime.datetime(2026, 1, 31, 12, 30)]
    path = write(("text", *range(2020, 2027)), ("good", *cells))
    ((_, _, others),) = read(path, [TEXT, WHOLE_ROW])
    expected = [7, 1.5, True, None, "a", "2026-01-31", "2026-01-31 12:30:00"]
    assert others.pop("text") == "good"
    assert others == dict(zip(map(str, range(2020, 2027)), expected))
    assert [*map(type, others.values())] == [*map(type, expected)]


def test_workbook_skips_blank_rows(write):
    path = write((), (None, "  "), ("text", "label", None), ("a", "x"), (), (" ", None), ("b", "y"), (None, None, " "))
    assert read(path) == [(4, "a", "x"), (7, "b", "y")]
    rows = [row.texts for row in TextRows(path, [TEXT])]
    assert rows == [("a",), ("",), ("",), ("b",)]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ((None, "x"), "column 'text' is empty"),
        (("a", None), "column 'label' is empty"),
        (("#N/A", "x"), "cell A3 is the error #N/A; correct it"),
        (("a", "#DIV/0!"), "cell B3 is the error #DIV/0!; correct it"),
        ((True, "x"), "column 'text' is true or false, not text"),
        (("a", "x", None, "c"), "has a value in column D, which lacks a name; name it, or clear the cell"),
    ],
)
def test_workbook_error_names_the_row_of_the_sheet(write, row, fault):
    path = write(("text", "label"), ("good", "x"), row)
    with pytest.raises(InputError, match=f"^{path}, row 3: {fault}"):
        read(path)
    assert read(path, on_bad_row=print) == [(2, "good", "x")]


def test_workbook_keeps_errors_of_other_columns(write):
    assert read(write(("text", "sum"), ("a", "#REF!")), [TEXT, WHOLE_ROW]) == [(2, "a", {"text": "a", "sum": "#REF!"})]


def test_workbook_without_a_header_is_read(write):
    columns = [Column("text", (), check_text, column="2"), Column("score", (), check_number, column="1")]
    path = write((1, "a"), (2.5, "b"))
    assert read(path, columns, options=ReadOptions(header=False)) == [(1, "a", 1.0), (2, "b", 2.5)]


def test_workbook_without_a_header_is_advised(write):
    path = write(("a long and very good film", "good"), ("a bad film", "bad"))
    column = Column("text", (), check_text, option="--text-column")
    with pytest.raises(InputError, match="or, if line 1 is a row, add --no-header"):
        read(path, [column])


def test_workbook_reads_the_first_sheet_with_the_columns(write, capsys):
    path = write(Notes=[("about", "this"), ("x", "y")], Empty=[], Data=[("text", "label"), ("a", "x")], More=[("z",)])
    assert [row.values["text"] for row in read_all(path, [TEXT, LABEL])] == ["a"]
    assert f"{path}: read from the sheet 'Data'; other sheets are 'Notes', 'More'" in capsys.readouterr().err


def test_workbook_without_the_columns_names_those_of_the_widest_sheet(write):
    path = write(Empty=[], Cover=[("Read me",)], Notes=[("about", None, "this"), ("x", "y")], More=[("a", "b", "c")])
    with pytest.raises(InputError, match=f"^{path}: column 'text' .* not found; the columns are 'about', 'B', 'this'"):
        read(path)


def test_workbook_does_not_read_hidden_sheets(write):
    path = write(Old=[("text", "label"), ("old", "x")], Data=[("text", "label"), ("new", "x")])
    book = openpyxl.load_workbook(path)
    book["Old"].sheet_state = "hidden"
    book.save(path)
    assert read(path) == [(2, "new", "x")]


def test_workbook_has_the_values_of_formulas(write):
    path = write(("text", "label"), ("a", "=1+1"))
    # A spreadsheet stores the value beside the formula.
    replaced = path.with_name("b.xlsx")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(replaced, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"<v />", b"<v>2</v>").replace(b"<v></v>", b"<v>2</v>"))
    assert read(replaced) == [(2, "a", "2")]


def test_workbook_decodes_control_characters(write):
    assert read(write(("text", "label"), ("a_x000D_\nb", "x"))) == [(2, "a\r\nb", "x")]


@pytest.mark.parametrize("member", [None, "[Content_Types].xml"])
def test_workbook_that_is_cut_off_is_refused(member, write):
    path = write(("text", "label"), ("a", "x"))
    if member:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, "<Types/>")
    else:
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"a.xlsx: cannot be read \(.*\); open it in a spreadsheet and save it again"):
        read(path)


@pytest.mark.parametrize("rows", [[], [("text", "label")]])
def test_workbook_without_rows_is_refused(write, rows):
    path = write(Sheet=rows)
    with pytest.raises(InputError, match=f"^{path}: no rows found$"):
        read(path)


def test_workbook_that_is_damaged_is_refused(write):
    path = write(("text", "label"), ("a", "x"))
    damaged = path.with_name("b.xlsx")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(damaged, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name)[:300] if "sheet1" in name else old.read(name))
    with pytest.raises(InputError, match=r"b.xlsx: cannot be read \(.*\); open it in a spreadsheet and save it again"):
        read(damaged)


def test_workbook_needs_openpyxl(write, monkeypatch):
    path = write(("text", "label"), ("a", "x"))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match=f"^{path}: Excel workbooks need openpyxl; pip install 'tfhub_ft\\[excel\\]'$"):
        read(path)
