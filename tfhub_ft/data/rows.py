"""Rows from files of many formats, checked one by one, in bounded memory but for SQuAD's."""

import itertools
import operator
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tfhub_ft.data.columns import Column, Place, check_label, check_text, find_columns, is_nan, without_options
from tfhub_ft.data.formats import open_source
from tfhub_ft.data.formats.source import ReadOptions, Source, delimiter_advice
from tfhub_ft.data.sequences import kept
from tfhub_ft.utils.console import log, warn
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import matching_files

__all__ = [
    "Column",
    "ReadOptions",
    "Row",
    "check_label",
    "check_text",
    "keep_rows",
    "read_all",
    "read_rows",
    "without_options",
]


@dataclass(frozen=True, slots=True)
class Row:
    """One checked row of a file.

    Args:
        line: the physical line of the file that the row starts in, from 1; in formats without lines its number.
        values: the clean values, by the names of the task's fields.
    """

    line: int
    values: dict[str, Any]


# The number of a row, its columns with their raw values, and what is wrong with it; one of the last two is None.
_Cells = tuple[int, list[tuple[Place, Any]] | None, str | None]
# Rows that an error about a missing column looks at.
_SAMPLE = 1000


def read_rows(
    path: str | os.PathLike,
    columns: Sequence[Column],
    *,
    options: ReadOptions | None = None,
    on_bad_row: Callable[[str], None] | None = None,
) -> Iterator[Row]:
    """Read and check the rows of a file, one at a time.

    The file is UTF-8 text, or text in another encoding that a byte order mark or the options tell; it may be compressed
    by gzip. Its suffix, with or without `.gz`, tells its format:

    - `.csv`: a header line, then rows as in RFC 4180. A quoted field may hold delimiters, doubled quotes and line ends.
      The delimiter is detected.
    - `.tsv`: a header line, then rows of fields between tabs. A quote is a character like any other, unless the whole
      file has quotes as pandas writes them.
    - `.jsonl`, `.ndjson`: a JSON object a line, objects over several lines, or a list of them. The first object that
      has every column settles the keys that are read.
    - `.json`: SQuAD 1 or 2, where a row is a question, with the columns `question`, `context` and `answers`; a list of
      objects, or an object a line.
    - `.conll`, `.bio`, `.iob`, `.iob2`: a token and its tag a line, the first and the last of the line's columns; a
      blank line ends a row, whose columns are `tokens` and `tags`.
    - `.txt`: a text a line, the column `text`; where tokens and tags are read, a CoNLL file.
    - `.tfrecord`: a tf.train.Example a row, whose features are the columns.

    Blank lines, and rows of delimiters alone, are skipped. Line ends are LF, CRLF or CR.

    Args:
        path: the file.
        columns: the columns to read; others are ignored.
        options: what the file itself does not tell.
        on_bad_row: called with the error message of each bad row, which is then skipped. Without it the first bad
            row is an error. Faults of the file as a whole are errors in any case; a quote that is never closed and
            takes in further lines is one, because nobody can tell how many rows it would skip.

    Yields:
        The good rows, in the file's order.

    Raises:
        InputError: the file cannot be read, is empty or lacks a column; or a row is bad and `on_bad_row` is None.

    Example:
        columns = [Column("text", ("review",), check_text), Column("label", (), check_label)]
        for row in read_rows("reviews.csv", columns):
            print(row.line, row.values["text"], row.values["label"])
    """
    source = open_source(Path(path), columns, options or ReadOptions())
    yield from rows_of(source, _fitted(columns, [source]), on_bad_row=on_bad_row)


def read_all(
    path: str | os.PathLike,
    columns: Sequence[Column],
    *,
    options: ReadOptions | None = None,
    skip_bad_rows: bool = False,
) -> Sequence[Row]:
    """Read and check all rows of a file, or of many.

    Args:
        path: the file, as for `read_rows`, or a pattern such as part-*.jsonl.
        columns: the columns to read; others are ignored.
        options: as for `read_rows`.
        skip_bad_rows: leave bad rows out and print their number to standard error.

    Returns:
        The rows, in the files' order; at least one. Where they are many they are kept in a temporary file.

    Raises:
        InputError: as in `read_rows`, or no good row is left.

    Example:
        rows = read_all("reviews.csv", [Column("text", (), check_text)], skip_bad_rows=True)
    """
    skipped, first = 0, ""

    def skip(message: str) -> None:
        nonlocal skipped, first
        skipped, first = skipped + 1, first or message.removeprefix(f"{Path(path)}, ")

    on_bad_row = skip if skip_bad_rows else None
    sources = [open_source(file, columns, options or ReadOptions()) for file in matching_files(path)]
    columns = _fitted(columns, sources)
    found = itertools.chain.from_iterable(rows_of(source, columns, on_bad_row=on_bad_row) for source in sources)
    texts = [column.name for column in columns if column.check is check_text]
    missing = 0

    def counted(row: Row) -> Row:
        nonlocal missing
        missing += any(is_nan(row.values.get(name, "")) for name in texts)
        return row

    rows = keep_rows(map(counted, found))
    bad = f"{skipped} bad row{'s' if skipped > 1 else ''} (first: {first})"
    if not rows:
        raise InputError(f"{Path(path)}: no good row found, only {bad}")
    if skipped:
        log(f"{Path(path)}: skipped {bad}")
    if missing:
        warn(
            f"{Path(path)}: {missing:,} row{'s have' if missing > 1 else ' has'} the text nan, which pandas writes for"
            " a missing value; remove them if that is what it means"
        )
    fitted = [column.check for column in columns if column.fit]
    notes = [source.notes for source in sources] + [check.notes() for check in fitted]
    for note in dict.fromkeys(itertools.chain(*notes)):
        log(f"{Path(path)}: {note}")
    for warning in (warning for check in fitted for warning in check.warnings()):
        warn(f"{Path(path)}: {warning}")
    return rows


def keep_rows(rows: Iterable[Row]) -> Sequence[Row]:
    """All rows of an iterable, which is read once; many rows are kept in a temporary file."""
    return kept(rows, parts=operator.attrgetter("line", "values"), made=lambda parts: Row(*parts))


def rows_of(
    source: Source,
    columns: Sequence[Column],
    *,
    on_bad_row: Callable[[str], None] | None = None,
) -> Iterator[Row]:
    """The good rows of an opened file; the other arguments and errors are those of `read_rows`."""
    empty = True
    for number, cells, fault in _cells(source, columns):
        empty = False
        values, fault = (None, fault) if fault else _checked(cells)
        if not fault:
            yield Row(number, values)
        elif on_bad_row is None:
            raise InputError(source.located(number, fault))
        else:
            on_bad_row(source.located(number, fault))
    if empty:
        raise InputError(f"{source.path}: no rows found")


def _fitted(columns: Sequence[Column], sources: Sequence[Source]) -> list[Column]:
    """The columns with the checks that follow from all values of the files."""

    def values(name: str) -> Iterator[Any]:
        for source in sources:
            for _, cells, _ in _cells(source, columns):
                yield from (raw for place, raw in cells or () if place.column.name == name)

    return [replace(each, check=each.fit(values(each.name))) if each.fit else each for each in columns]


def _cells(source: Source, columns: Sequence[Column]) -> Iterator[_Cells]:
    """The records of a file as cells. One set of names holds for the whole file, or rows could mix their meanings."""
    places: list[Place] = []
    if source.names is not None:
        try:
            places = find_columns(source.names, columns, partial(_sample, source), by_number=True)
        except ValueError as error:
            how = f" ({'; '.join(source.notes)})" if source.notes else ""
            raise InputError(f"{source.path}: {error}{_other_reading(source, columns)}{how}") from None
    named = [place for place in places if source.has_header and place.column.option and place.is_unusual]
    for number, record, fault in source.records():
        cells = None
        if not fault:
            try:
                places = places or find_columns(list(record), columns, lambda: [record])  # noqa: B023
                cells = [(place, place.value(record)) for place in places]
                if named and any(record[place.name] == place.name for place in named):
                    raise InputError(source.located(number, _repeated(source, named, record)))
            except ValueError as error:
                fault = str(error)
            except KeyError as error:
                fault = f"column {error} is missing"
        yield number, cells, fault


def _other_reading(source: Source, columns: Sequence[Column]) -> str:
    """What an error about a missing column adds where the file may lack a header, or have another delimiter."""
    other = _other_delimiter(source, columns)
    if other and source.has_header and _has_columns(_split(source.names[0], other), columns):
        return _delimiter(source, columns, other)
    return _no_header(source, columns) + _delimiter(source, columns, other)


def _no_header(source: Source, columns: Sequence[Column]) -> str:
    """What an error about a missing column adds where the first line may be a row."""
    if not source.has_header or not (_is_like_row(source) or _is_unknown(source, columns)):
        return ""
    option = next((column.option for column in columns if column.option), None)
    if not option:
        return "; if line 1 is a row, add a line with the names of the columns above it"
    return f"; or, if line 1 is a row, add --no-header and name columns by number, such as {option} 1"


def _is_like_row(source: Source) -> bool:
    """Whether the names of a file's columns are long, are numbers, or occur in their columns."""
    names = [name for name in source.names if name.strip()]
    if any(len(name.split()) > 4 or re.fullmatch(r"\s*-?\d+([.,]\d+)?\s*", name) for name in names):
        return True
    return any(row[name] == name for row in _sample(source) for name in names)


def _is_unknown(source: Source, columns: Sequence[Column]) -> bool:
    """Whether no column of a file has a usual name of those that are looked for, and it is of no other layout."""
    if any(column.hint and column.hint(column.option, _sample(source)) for column in columns):
        return False
    return not any(_has_columns(source.names, [replace(column, column=None)]) for column in columns)


def _has_columns(names: Sequence[str], columns: Sequence[Column]) -> bool:
    try:
        find_columns(names, columns, by_number=True)
    except ValueError:
        return False
    return True


def _delimiter(source: Source, columns: Sequence[Column], other: str | None) -> str:
    """What an error about a missing column adds where a table has a single one, and `other` separates its columns."""
    if source.delimiter is None or len(source.names) > 1:
        return ""
    if not any(column.option for column in columns):
        return f"; if {other!r} separates its columns, save it with commas in place of that" if other else ""
    if other:
        return f"; or, {delimiter_advice(other)}"
    absent = f"; the delimiter {source.delimiter!r} is not in line 1: leave --delimiter out, or name another one"
    return absent if source.delimiter_named else ""


def _other_delimiter(source: Source, columns: Sequence[Column]) -> str | None:
    """The character that separates the columns of a table in which they are read as one; None where there is none."""
    if source.delimiter is None or len(source.names) > 1:
        return None
    rows = [row[source.names[0]] for row in _sample(source)]
    first = source.names[0] if source.has_header else next(iter(rows), "")
    best, best_fit = None, (False, False)
    for character in dict.fromkeys(first):
        parts = _split(first, character)
        if character.isalnum() or character in ('"', "_", source.delimiter):
            continue
        names = parts if source.has_header else [str(place) for place in range(1, len(parts) + 1)]
        is_regular = bool(rows) and all(row.count(character) == len(parts) - 1 for row in rows)
        fit = (_has_columns(names, columns), is_regular)
        # A space and a full stop are in many texts.
        is_between = bool(parts[0] and parts[-1]) and (character != " " or is_regular)
        if fit > best_fit and (is_between or (source.has_header and fit[0])):
            best, best_fit = character, fit
    return best


def _split(text: str, delimiter: str) -> list[str]:
    """The names of columns in the first line of a table that was read as a single column."""
    return [part.strip(' "') for part in text.split(delimiter)]


def _repeated(source: Source, named: Sequence[Place], record: dict[str, Any]) -> str:
    """The fault of a row with a value that is the name of its column, which the user took from the first line."""
    name = next(place.name for place in named if record[place.name] == place.name)
    numbers = " ".join(f"{place.column.option} {source.names.index(place.name) + 1}" for place in named)
    return (
        f"column {name!r} has the value {name!r}, as if line 1 were a row and not a header; add --no-header and name"
        f" the columns by number: {numbers}"
    )


def _sample(source: Source) -> list[dict[str, Any]]:
    """The first good records of a file."""
    records = (record for _, record, _ in source.records() if record is not None)
    return list(itertools.islice(records, _SAMPLE))


def _checked(cells: list[tuple[Place, Any]]) -> tuple[dict[str, Any] | None, str | None]:
    """A row's clean values, or what is wrong with the first cell that is bad, or with the row."""
    values = {}
    for place, raw in cells:
        try:
            values[place.column.name] = place.column.check(raw)
        except ValueError as error:
            return None, f"column {place.name!r} {error}"
    try:
        for place, _ in cells:
            if place.column.check_row:
                place.column.check_row(values)
    except ValueError as error:
        return None, str(error)
    return values, None
