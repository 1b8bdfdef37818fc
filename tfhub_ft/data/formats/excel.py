"""Read Excel workbooks."""

import contextlib
import datetime
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tfhub_ft.data.columns import Column, Values, find_columns, has_columns
from tfhub_ft.data.formats.csv import numbered_names
from tfhub_ft.data.formats.source import ReadOptions, Record, Source
from tfhub_ft.utils.errors import InputError, kind_and_first_line


@dataclass(frozen=True)
class _Error:
    """The value of a cell whose formula failed, such as #N/A."""

    text: str


class _Row(NamedTuple):
    """The number of a row of a sheet, from 1, and its cells."""

    number: int
    cells: list[Any]


def open_workbook(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """Open a workbook: the first sheet that has the columns, otherwise the one with the most columns.

    The first row that is not empty has the column names. Numbers in a column that is read are texts, as in a csv file.
    """
    first_rows = {title: row for title in _titles(path) if (row := next(_rows(path, title), None))}
    if not first_rows:
        raise InputError(f"{path}: no rows found")
    names_by_title = {title: _names(row, options) for title, row in first_rows.items()}
    fitting = [title for title, names in names_by_title.items() if has_columns(names, columns)]
    # Errors name the columns of the widest sheet: others may have notes.
    title = fitting[0] if fitting else max(first_rows, key=lambda title: len(names_by_title[title]))
    others = ", ".join(repr(each) for each in first_rows if each != title)
    notes = (f"read from the sheet {title!r}; other sheets are {others}",) if others else ()
    names, read_names = names_by_title[title], set[str]()
    with contextlib.suppress(ValueError):
        matches = find_columns(names, columns, by_number=True)
        read_names = {name for match in matches if not match.column.whole_row for name in match.names or (match.name,)}
    return Source(
        path,
        partial(_records, path, title, names, read_names, options),
        names,
        has_header=options.header,
        unit="row",
        notes=notes,
    )


def _names(row: _Row, options: ReadOptions) -> list[str]:
    """Return the column names; the letter of a column is the name of one without."""
    from openpyxl.utils import get_column_letter

    if not options.header:
        return numbered_names(len(row.cells))
    return [_text(cell) or get_column_letter(number) for number, cell in enumerate(row.cells, 1)]


def _records(path: Path, title: str, names: list[str], read_names: set[str], options: ReadOptions) -> Iterator[Record]:
    from openpyxl.utils import get_column_letter

    rows, last = _rows(path, title), 0
    if options.header:
        last = next(rows).number
    for number, cells in rows:
        # Rows below the last text are what is left of cleared cells.
        for blank in range(last + 1, number) if options.keep_blank and last else ():
            yield Record(blank, {name: "" if name in read_names else None for name in names})
        last = number
        if len(cells) > len(names):
            column = get_column_letter(len(cells))
            yield Record(
                number, None, f"has a value in column {column}, which lacks a name; name it, or clear the cell"
            )
            continue
        values: Values = dict(zip(names, [*cells, *[None] * (len(names) - len(cells))]))
        errors = (
            f"cell {get_column_letter(names.index(name) + 1)}{number} is the error {value.text}; correct it"
            for name, value in values.items()
            if isinstance(value, _Error) and name in read_names
        )
        if fault := next(errors, None):
            yield Record(number, None, fault)
        else:
            yield Record(number, {name: _value(value, is_read=name in read_names) for name, value in values.items()})


def _value(value: Any, *, is_read: bool) -> Any:
    """Return the value of a cell of a column that is read, or of another one."""
    if is_read:
        return value if isinstance(value, bool) else _text(value)
    return value if value is None or isinstance(value, bool | int | float | str) else _text(value)


def _text(value: Any) -> str:
    """Return the value of a cell as text, with as many digits as a spreadsheet shows."""
    if isinstance(value, _Error):
        return value.text
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()
    if isinstance(value, float):
        return f"{value:.15g}"
    return "" if value is None else str(value)


def _titles(path: Path) -> list[str]:
    """Return the names of the sheets, without those that are hidden."""
    with _open(path) as workbook:
        return [sheet.title for sheet in workbook.worksheets if sheet.sheet_state == "visible"]


def _rows(path: Path, title: str) -> Iterator[_Row]:
    """Yield the rows of a sheet that are not empty, without the empty cells at their ends."""
    from openpyxl.utils.escape import unescape

    with _open(path) as workbook:
        sheet = workbook[title]
        # Some programs write wrong dimensions.
        sheet.reset_dimensions()
        for number, row in enumerate(sheet.iter_rows(), 1):
            cells = [_Error(str(cell.value)) if cell.data_type == "e" else cell.value for cell in row]
            cells = [unescape(cell) if isinstance(cell, str) else cell for cell in cells]
            while cells and (cells[-1] is None or (isinstance(cells[-1], str) and not cells[-1].strip())):
                cells.pop()
            if cells:
                yield _Row(number, cells)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a workbook with the values of its formulas; raise an InputError if it cannot be read."""
    try:
        import openpyxl
    except ImportError:
        raise InputError(f"{path}: Excel workbooks need openpyxl; pip install 'tfhub_ft[excel]'") from None
    # About validation rules, styles and other parts that are not read.
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield openpyxl.load_workbook(file, read_only=True, data_only=True)
        # openpyxl raises many kinds of errors for damaged files.
        except Exception as error:
            raise InputError(
                f"{path}: cannot be read ({kind_and_first_line(error)}); open it in a spreadsheet and save it again"
            ) from None
