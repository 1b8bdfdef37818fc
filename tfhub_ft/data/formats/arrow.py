"""Read rows from Arrow record batches."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column, find_columns, kind_of, needed_names
from tfhub_ft.data.formats.plain_values import plain_value, shorten_time
from tfhub_ft.data.formats.source import Record, Source
from tfhub_ft.utils.errors import InputError, first_line

if TYPE_CHECKING:
    import pyarrow as pa

# Rows that are Python objects at a time.
ROWS_CONVERTED = 1024


def open_batches(
    path: Path | str,
    schema: "pa.Schema",
    batches: "Callable[[list[str]], Iterable[pa.RecordBatch]]",
    columns: Sequence[Column],
    *,
    unit: str = "row",
    start: int = 1,
    notes: Sequence[str] = (),
) -> Source:
    """Return the rows of record batches, which are converted to Python values a part at a time.

    Texts, numbers, booleans and null are Python's, lists, structs and maps are lists and dictionaries. Dates and times
    are texts such as "2026-01-31 12:00:00", in UTC if they have a time zone, and so are bytes that are UTF-8.

    Args:
        path: The file, or what messages call the rows.
        schema: The schema of all columns.
        batches: Takes the names of the columns that are needed, and returns batches that have at least these columns;
            called again for each pass over the rows.
        columns: The columns to read.
        unit: What a row's number counts.
        start: The number of the first row.
        notes: How the rows are read, if it is unusual.

    Raises:
        InputError: No value of a column can have the type that is wanted.
    """
    names = [*schema.names]
    try:
        matches = find_columns(names, columns, by_number=True)
    except ValueError:
        # `rows_of` raises the error, with advice that depends on the values.
        needed = [*dict.fromkeys(names)]
    else:
        for match in matches:
            for name in match.names or (match.name,) if not match.column.whole_row else ():
                _check_type(path, name, schema.field(names.index(name)).type, match.column, several=bool(match.names))
        needed = needed_names(names, columns, matches)
    return Source(
        path,
        partial(_records, path, batches, needed, start),
        names,
        unit=unit,
        notes=tuple(notes),
        batches=lambda: _numbered(batches(needed), start),
    )


def _numbered(batches: "Iterable[pa.RecordBatch]", start: int) -> "Iterator[tuple[int, pa.RecordBatch]]":
    for batch in batches:
        yield start, batch
        start += batch.num_rows


def _check_type(path: Path | str, name: str, kind: "pa.DataType", column: Column, *, several: bool) -> None:
    """Raise an InputError if a column refuses every value of a type, such as the lists of a nested text."""
    if column.fit:
        return
    example = _example(kind)
    try:
        column.check({name: example} if several else example)
    except ValueError as error:
        if str(error).startswith(f"is {kind_of(example)}"):
            wanted = str(error).removeprefix(f"is {kind_of(example)}").removeprefix(", ")
            advice = f"name another column with {column.option}" if column.option else "convert it"
            raise InputError(f"{path}: column {name!r} has the type {kind}, {wanted}; {advice}") from None


def _example(kind: "pa.DataType") -> object:
    """Return a value that a column of this type may have."""
    import pyarrow as pa
    import pyarrow.types as types

    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _example(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _example(kind.storage_type)
    if types.is_null(kind):
        return None
    if types.is_boolean(kind):
        return False
    if types.is_integer(kind):
        return 1
    if types.is_floating(kind) or types.is_decimal(kind):
        return 1.0
    if types.is_struct(kind):
        return {field.name: _example(field.type) for field in kind.fields}
    if types.is_map(kind):
        return {"a": _example(kind.item_type)}
    if hasattr(kind, "value_type"):
        return [_example(kind.value_type)]
    return "a"


def _records(
    path: Path | str,
    batches: "Callable[[list[str]], Iterable[pa.RecordBatch]]",
    names: list[str],
    start: int,
) -> Iterator[Record]:
    with reading(path):
        for batch in batches(names):
            positions = [batch.schema.get_all_field_indices(name)[0] for name in names]
            for offset in range(0, batch.num_rows, ROWS_CONVERTED):
                part = batch.slice(offset, ROWS_CONVERTED)
                cells = [_values(part.column(position)) for position in positions]
                for number, row in enumerate(zip(*cells), start):
                    yield Record(number, dict(zip(names, row)))
                start += part.num_rows


@contextlib.contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turn the errors of Arrow within this context into one that names what is read."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, NotImplementedError) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)}); write or download it again") from None


def _values(array: "pa.Array") -> list[Any]:
    """Return the values of an array as Python objects that JSON can represent, except for bytes that are not UTF-8."""
    import pyarrow as pa
    import pyarrow.types as types

    if isinstance(array, pa.DictionaryArray):
        words = array.dictionary
        # Polars has views of strings, which cannot be taken from.
        words = words.cast(pa.large_string()) if types.is_string_view(words.type) else words
        array = words.take(array.indices)
    kind = array.type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        try:
            return array.to_pylist()
        except UnicodeDecodeError:
            # Parquet files are not validated.
            return [*map(plain_value, array.cast(pa.large_binary()).to_pylist())]
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_null(kind):
        return array.to_pylist()
    if types.is_timestamp(kind) and kind.tz:
        array = array.cast(pa.timestamp(kind.unit, "UTC"))
    if types.is_timestamp(kind) or types.is_time(kind) or types.is_date(kind):
        return [text and shorten_time(text) for text in array.cast(pa.string()).to_pylist()]
    return [*map(plain_value, array.to_pylist(maps_as_pydicts="lossy"))]
