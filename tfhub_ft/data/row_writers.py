"""Write rows to csv, tsv, jsonl and Parquet files."""

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tfhub_ft.data.columns import Values
from tfhub_ft.utils.console import to_json
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import atomic_write

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
FORMULA_SIGNS = tuple("=+-@\t\r\n＝＋－＠")


def check_suffix(path: Path) -> None:
    """Raise an InputError if the ending of an output is not that of a format."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--output {path}: must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")


def write_rows(rows: Iterable[Values], path: Path, *, spreadsheet_safe: bool = False) -> int:
    """Write rows to a csv, tsv, jsonl or Parquet file, whole or not at all; return their number."""
    if path.suffix.lower() == ".parquet":
        return _write_parquet([*rows], path)
    count = 0
    with atomic_write(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        write = row_writer(path.suffix.lower().lstrip("."), file, spreadsheet_safe=spreadsheet_safe)
        for count, row in enumerate(rows, 1):  # noqa: B007
            write(row)
    return count


def _write_parquet(rows: list[Values], path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    table = pa.Table.from_pylist(rows)
    with atomic_write(path) as aside:
        parquet.write_table(table.cast(pa.schema(map(with_known_type, table.schema))), aside)
    return len(rows)


def with_known_type(field: "pa.Field") -> "pa.Field":
    """Return a field of texts, or of lists of them, for one without a type, because none of its values is known."""
    import pyarrow as pa

    if pa.types.is_null(field.type):
        return field.with_type(pa.string())
    return field.with_type(pa.list_(pa.string())) if field.type == pa.list_(pa.null()) else field


def row_writer(format: str, file: TextIO, *, spreadsheet_safe: bool = False) -> Callable[[Values], None]:
    """Return a function that writes rows to an open file as "csv", "tsv" or "jsonl".

    The first row has the columns of a table. In csv and tsv a list is one cell. With `spreadsheet_safe`, an apostrophe
    precedes cells that a spreadsheet would run as a formula
    (https://owasp.org/www-community/attacks/CSV_Injection), and all cells of a csv are quoted.
    """
    if format == "jsonl":
        return lambda row: print(to_json(row, file), file=file)
    quoting = csv.QUOTE_ALL if spreadsheet_safe else csv.QUOTE_MINIMAL
    write_cells = csv.writer(file, quoting=quoting).writerow
    header: list[str] = []

    def cell_text(value: object) -> str:
        # tsv lacks quoting: a tab or a line end would end the cell.
        cell = " ".join(_cell(value).split()) if format == "tsv" else _cell(value)
        is_formula = cell.startswith(FORMULA_SIGNS) and not isinstance(value, int | float)
        return f"'{cell}" if spreadsheet_safe and is_formula else cell

    def write_line(values: Iterable[object]) -> None:
        cells = [cell_text(value) for value in values]
        if format == "tsv":
            print("\t".join(cells), file=file)
        else:
            write_cells(cells)

    def write(row: Values) -> None:
        if not header:
            header.extend(row)
            write_line(header)
        write_line(row.get(name) for name in header)

    return write


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        short = f"{value:.15g}"
        return short if float(short) == value else repr(value)
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | tuple) else str(value)
