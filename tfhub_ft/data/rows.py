"""Read rows from files of many formats, and check them."""

import itertools
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tfhub_ft.data.column_advice import missing_column_advice, repeated_header_fault, sample_rows
from tfhub_ft.data.columns import (
    WEIGHT,
    Column,
    ColumnMatch,
    FittedCheck,
    Values,
    check_text,
    check_weight,
    find_columns,
    is_nan,
)
from tfhub_ft.data.formats import open_source
from tfhub_ft.data.formats.source import ReadOptions, Source
from tfhub_ft.data.memory_rows import MemoryRows
from tfhub_ft.data.sequences import map_sequence, spool
from tfhub_ft.utils.console import log, warn
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import local_file, matching_files
from tfhub_ft.utils.remote import as_path


@dataclass(frozen=True, slots=True)
class Row:
    """A checked row of a file.

    Args:
        line: The line of the file that the row starts in, from 1; in formats without lines, the number of the row;
            of rows in memory, their position from 0.
        values: The clean values by the names of the task's fields.
    """

    line: int
    values: Values


def read_rows(
    path: str | os.PathLike,
    columns: Sequence[Column],
    *,
    options: ReadOptions | None = None,
    on_bad_row: Callable[[str], None] | None = None,
) -> Iterator[Row]:
    """Yield the rows of a file, checked, in bounded memory except for SQuAD.

    The suffix of the file, with or without `.gz`, determines its format; the functions of `formats.READERS` describe
    the formats. Text is UTF-8 unless a byte order mark or the options say otherwise, line ends are LF, CRLF or CR.
    Blank lines, and rows of delimiters alone, are skipped.

    Args:
        path: The file.
        columns: The columns to read; others are ignored. Keys of JSON are those of the first object with all columns.
        options: How to read the file.
        on_bad_row: Called with the error message of each bad row, which is then skipped; by default the first bad row
            is an error. Faults of the whole file are always errors, and so is a quote that is never closed and
            continues over further lines, because the number of skipped rows is unknown.

    Raises:
        InputError: The file cannot be read, is empty or lacks a column; or a row is bad and `on_bad_row` is None.
    """
    source = open_source(local_file(path), columns, options or ReadOptions())
    yield from rows_of(source, _fit_checks(columns, [source]), on_bad_row=on_bad_row)


def read_all(
    path: str | os.PathLike | MemoryRows,
    columns: Sequence[Column],
    *,
    options: ReadOptions | None = None,
    skip_bad_rows: bool = False,
) -> Sequence[Row]:
    """Return all rows of a file, of a pattern such as part-*.jsonl or of an object, at least one; see `read_rows`.

    Many rows are kept in a temporary file. `skip_bad_rows` skips bad rows and logs their number.
    """
    skipped, first_fault = 0, ""

    def skip(message: str) -> None:
        nonlocal skipped, first_fault
        skipped, first_fault = skipped + 1, first_fault or message.removeprefix(f"{name}, ")

    if isinstance(path, MemoryRows):
        name, sources = str(path), [path.open(columns)]
    else:
        name = str(as_path(path))
        sources = [open_source(file, columns, options or ReadOptions()) for file in matching_files(path)]
    columns = _fit_checks(columns, sources)
    text_fields = [column.name for column in columns if column.check is check_text]
    nan_rows = 0

    def count_nan(row: Row) -> Row:
        nonlocal nan_rows
        nan_rows += any(is_nan(row.values.get(name, "")) for name in text_fields)
        return row

    on_bad_row = skip if skip_bad_rows else None
    all_rows = itertools.chain.from_iterable(rows_of(source, columns, on_bad_row=on_bad_row) for source in sources)
    rows = keep_rows(map(count_nan, all_rows))
    bad = f"{skipped} bad row{'s' if skipped > 1 else ''} (first: {first_fault})"
    if not rows:
        raise InputError(f"{name}: no good rows found, only {bad}")
    if skipped:
        log(f"{name}: skipped {bad}")
    if nan_rows:
        warn(
            f"{name}: {nan_rows:,} row{'s have' if nan_rows > 1 else ' has'} the text 'nan', which pandas writes"
            " for missing values; remove the rows if their text is missing"
        )
    fitted = {column.name: column.check for column in columns if isinstance(column.check, FittedCheck)}
    for field, check in fitted.items():
        rows = replace_values(rows, field, check.replacements())
    notes = [source.notes for source in sources] + [check.notes() for check in fitted.values()]
    for note in dict.fromkeys(itertools.chain(*notes)):
        log(f"{name}: {note}")
    for warning in (warning for check in fitted.values() for warning in check.warnings()):
        warn(f"{name}: {warning}")
    return rows


def keep_rows(rows: Iterable[Row]) -> Sequence[Row]:
    """Return all rows of an iterable; many rows are kept in a temporary file."""
    return spool(rows, pack=operator.attrgetter("line", "values"), unpack=lambda parts: Row(*parts))


def restore_values(values: Values, columns: Sequence[Column]) -> Values:
    """Return the clean values of a row that was stored as JSON, which lacks tuples: the checks restore them."""
    # Rows have weights even if a student ignores those of its teacher.
    checks = {
        WEIGHT: check_weight,
        **{each.name: each.check for column in columns for each in (column, *column.instead)},
    }
    return {name: checks[name](value) for name, value in values.items()}


def replace_values(rows: Sequence[Row], field: str, replacements: Mapping[Any, object]) -> Sequence[Row]:
    """Return rows in which some values of a field are replaced."""
    if not replacements:
        return rows

    def replaced(row: Row) -> Row:
        value = row.values[field]
        return Row(row.line, {**row.values, field: replacements[value]}) if value in replacements else row

    return map_sequence(replaced, rows)


def rows_of(
    source: Source, columns: Sequence[Column], *, on_bad_row: Callable[[str], None] | None = None
) -> Iterator[Row]:
    """Yield the good rows of an open file, as `read_rows`."""
    empty = True
    for number, cells, fault in _cells(source, columns):
        empty = False
        try:
            if fault:
                raise ValueError(fault)
            row = Row(number, _check_cells(cells))
        except ValueError as error:
            message = f"{source.location(number)}: {error}"
            if on_bad_row is None:
                raise InputError(message) from None
            on_bad_row(message)
        else:
            yield row
    if empty:
        raise InputError(f"{source.path}: no rows found")


def _fit_checks(columns: Sequence[Column], sources: Sequence[Source]) -> list[Column]:
    """Return the columns with the checks that depend on all values of the files."""

    def values(name: str) -> Iterator[object]:
        for source in sources:
            for _, cells, _ in _cells(source, columns):
                yield from (value for match, value in cells if match.column.name == name)

    return [replace(each, check=each.fit(values(each.name))) if each.fit else each for each in columns]


def _cells(
    source: Source, columns: Sequence[Column]
) -> Iterator[tuple[int, list[tuple[ColumnMatch, object]], str | None]]:
    """Yield the number and the raw values of each row, or its fault; the matches hold for the whole file."""
    matches: list[ColumnMatch] = []
    for column in columns:
        source = column.arrange(source) if column.arrange else source
    if source.names is not None:
        try:
            matches = find_columns(source.names, columns, partial(sample_rows, source), by_number=True)
        except ValueError as error:
            notes = f" ({'; '.join(source.notes)})" if source.notes else ""
            raise InputError(f"{source.path}: {error}{missing_column_advice(source, columns)}{notes}") from None
    named = [match for match in matches if source.has_header and match.column.option and match.is_unusual]
    adapters = [column.adapt for column in columns if column.adapt]
    for number, values, fault in source.records():
        cells = []
        if values is not None:
            try:
                for adapt in adapters:
                    values = adapt(values)
                matches = matches or find_columns(list(values), columns, partial(tuple, [values]))
                cells = [(match, match.value(values)) for match in matches]
            except ValueError as error:
                fault = str(error)
            except KeyError as error:
                fault = f"column {error} is missing"
            else:
                if named and (header_fault := repeated_header_fault(source, named, values)):
                    raise InputError(f"{source.location(number)}: {header_fault}")
        yield number, cells, fault


def _check_cells(cells: list[tuple[ColumnMatch, object]]) -> Values:
    """Return the clean values of a row; raise a ValueError for the first bad cell, or if the values do not fit."""
    values: Values = {}
    for match, raw in cells:
        try:
            values[match.column.name] = match.column.check(raw)
        except ValueError as error:
            raise ValueError(f"column {match.name!r} {error}") from None
    for match, _ in cells:
        if match.column.check_row:
            match.column.check_row(values)
    return values
