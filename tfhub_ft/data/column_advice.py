"""Advice for tables without an expected column, header or delimiter."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace

from tfhub_ft.data.columns import Column, ColumnMatch, Values, has_columns
from tfhub_ft.data.formats.csv import numbered_names
from tfhub_ft.data.formats.source import Source, delimiter_advice

# Rows that the advice looks at.
_SAMPLE = 1000


def sample_rows(source: Source) -> list[Values]:
    """Return the first good rows of a file."""
    rows = (record.values for record in source.records() if record.values is not None)
    return list(itertools.islice(rows, _SAMPLE))


def missing_column_advice(source: Source, columns: Sequence[Column]) -> str:
    """Return what to add to the error about a missing column if the header or the delimiter may be wrong."""
    names = source.names or []
    is_single = source.delimiter is not None and len(names) == 1
    delimiter = _other_delimiter(source, names[0], columns) if is_single else None
    advice = _delimiter_advice(source, columns, delimiter) if is_single else ""
    if delimiter and source.has_header and has_columns(_split(names[0], delimiter), columns, by_number=True):
        return advice
    return _header_advice(source, names, columns) + advice


def _header_advice(source: Source, names: Sequence[str], columns: Sequence[Column]) -> str:
    if not source.has_header or not (_is_like_row(source, names) or _is_unknown(source, names, columns)):
        return ""
    option = next((column.option for column in columns if column.option), None)
    if not option:
        return "; if line 1 is a row, add a line with the names of the columns above it"
    return f"; or, if line 1 is a row, add --no-header and name columns by number, such as {option} 1"


def _is_like_row(source: Source, names: Sequence[str]) -> bool:
    """Return whether column names are long, are numbers, or occur in their columns."""
    names = [name for name in names if name.strip()]
    if any(len(name.split()) > 4 or re.fullmatch(r"\s*-?\d+([.,]\d+)?\s*", name) for name in names):
        return True
    return any(row[name] == name for row in sample_rows(source) for name in names)


def _is_unknown(source: Source, names: Sequence[str], columns: Sequence[Column]) -> bool:
    """Return whether a file has none of the usual column names, and is not of another known layout."""
    if any(column.template or (column.hint and column.hint(column.option, sample_rows(source))) for column in columns):
        return False
    return not any(has_columns(names, [replace(column, column=None)], by_number=True) for column in columns)


def _delimiter_advice(source: Source, columns: Sequence[Column], other: str | None) -> str:
    """Return what to do about a table that is read as a single column although `other` separates its columns."""
    if not any(column.option for column in columns):
        return f"; if {other!r} separates its columns, save it with commas instead" if other else ""
    if other:
        return f"; or, {delimiter_advice(other)}"
    absent = f"; the delimiter {source.delimiter!r} is not in line 1: leave --delimiter out, or name another one"
    return absent if source.delimiter_named else ""


def _other_delimiter(source: Source, name: str, columns: Sequence[Column]) -> str | None:
    """Return the character that separates the columns of a table that is read as a single column, if there is one."""
    rows = [row[name] for row in sample_rows(source)]
    first = name if source.has_header else next(iter(rows), "")
    best, best_fit = None, (False, False)
    for character in dict.fromkeys(first):
        parts = _split(first, character)
        if character.isalnum() or character in ('"', "_", source.delimiter):
            continue
        names = parts if source.has_header else numbered_names(len(parts))
        is_regular = bool(rows) and all(row.count(character) == len(parts) - 1 for row in rows)
        fit = (has_columns(names, columns, by_number=True), is_regular)
        # A space and a full stop are in many texts.
        is_between = bool(parts[0] and parts[-1]) and (character != " " or is_regular)
        if fit > best_fit and (is_between or (source.has_header and fit[0])):
            best, best_fit = character, fit
    return best


def _split(text: str, delimiter: str) -> list[str]:
    """Return the column names in a header that was read as a single column."""
    return [part.strip(' "') for part in text.split(delimiter)]


def repeated_header_fault(source: Source, named: Sequence[ColumnMatch], values: Values) -> str | None:
    """Return the fault of a row with a value equal to a column name, which the user took from the first line."""
    name = next((match.name for match in named if values[match.name] == match.name), None)
    if name is None:
        return None
    names = source.names or []
    options = " ".join(f"{match.column.option} {names.index(match.name) + 1}" for match in named)
    return (
        f"column {name!r} has the value {name!r}, as if line 1 were a row and not a header; add --no-header and name"
        f" the columns by number: {options}"
    )
