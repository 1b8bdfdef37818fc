"""Read rows from objects in memory: data frames, Arrow tables, datasets, lists."""

import itertools
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from tfhub_ft.data.columns import Column, check_text, find_columns, has_columns, needed_names
from tfhub_ft.data.formats.arrow import open_batches
from tfhub_ft.data.formats.plain_values import is_numpy_time, list_method, plain_value
from tfhub_ft.data.formats.source import Record, Source
from tfhub_ft.data.sequences import spool
from tfhub_ft.utils.arguments import type_name
from tfhub_ft.utils.console import log
from tfhub_ft.utils.errors import InputError, RunError, first_line
from tfhub_ft.utils.files import temporary_folder, write_fault
from tfhub_ft.utils.keras_compat import is_endless

# Rows of a frame or an array that are Python objects at a time.
ROWS_CONVERTED = 10_000
# Rows of a `tf.data.Dataset`, which may be infinite, between two messages.
ROWS_LOGGED = 1_000_000
_CLASSES = (
    ("pandas", "DataFrame"),
    ("polars", "DataFrame"),
    ("pyarrow", "Table"),
    ("pyarrow", "RecordBatch"),
    ("datasets", "Dataset"),
    ("tensorflow", "data.Dataset"),
)
_EXPECTED = (
    "a DataFrame, an Arrow table, a Dataset, a list of dicts, or a tuple of texts and labels such as (texts, labels)"
)


class _ArrowStream(Protocol):
    """A data frame, a table or another object with the Arrow C stream interface."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


class _Dataset(Protocol):
    """A `datasets.Dataset` of Hugging Face."""

    @property
    def column_names(self) -> Any: ...

    def __len__(self) -> int: ...


class _TensorDataset(Protocol):
    """A `tf.data.Dataset`."""

    @property
    def element_spec(self) -> Any: ...


class _Array(Protocol):
    """An array of NumPy or pandas."""

    def tolist(self) -> Any: ...


Rows = _ArrowStream | _Dataset | _TensorDataset | _Array | Mapping[str, Any] | Sequence[Any]
"""Rows in memory, which `data`, `train`, `validation`, `test` and `unlabeled` take in place of a file.

A pandas or polars DataFrame; a pyarrow Table or another object with the Arrow C stream interface; a Hugging Face
`Dataset`; a finite `tf.data.Dataset` of (text, label) or of dictionaries, batched or not; a list of dictionaries or of
such tuples; a dictionary of columns; or a tuple of arrays (texts, labels), for two texts ((first, second), labels).
"""


def is_path(rows: object) -> bool:
    """Return whether rows are named by a path, not given as an object in memory."""
    return isinstance(rows, str | os.PathLike)


def kind_of_rows(rows: object) -> str:
    """Return what messages call an object of rows, such as "DataFrame"."""
    if isinstance(rows, tuple) and not is_list_of_rows(rows):
        return "tuple of arrays"
    return "tf.data.Dataset" if _is_a(rows, "tensorflow", "data.Dataset") else type(rows).__name__


def open_rows(rows: Any, columns: Sequence[Column], name: str | None = None, *, argument: str = "data") -> Source:
    """Open rows in memory as a source whose records are numbered from 0.

    Values are those of `plain_value`. Class labels of Hugging Face datasets are their names. What can be read only
    once, such as a stream, or may differ the next time, such as a `tf.data.Dataset`, is stored in a temporary file.

    Args:
        rows: A pandas or polars DataFrame; an object with the Arrow C stream interface, such as a pyarrow Table; a
            Hugging Face `Dataset`; a finite `tf.data.Dataset` of dictionaries or tuples such as (text, label), batched
            or not; a list of such elements; a dictionary of columns; or a tuple of arrays such as (texts, labels), for
            two texts ((first, second), labels). Where a single column is read, also texts without a label.
        columns: The columns to read, which name the values of tuples.
        name: What messages call the rows; by default their type.
        argument: The argument that the rows were passed as, for messages.

    Raises:
        InputError: The object has another type, or is infinite.
    """
    name = name or kind_of_rows(rows)
    check_rows_type(rows, argument)
    rows = _by_name(rows)
    if _is_a(rows, "pandas", "DataFrame"):
        source = _open_pandas(rows, columns, name)
    elif _is_a(rows, "datasets", "Dataset"):
        source = _open_datasets(rows, columns, name)
    elif _is_a(rows, "tensorflow", "data.Dataset"):
        source = _open_tensors(rows, columns, name, argument)
    elif _is_a(rows, "pyarrow", "Table") or _is_a(rows, "pyarrow", "RecordBatch"):
        batches = rows.to_batches() if hasattr(rows, "to_batches") else [rows]
        source = open_batches(name, rows.schema, lambda _: batches, columns, start=0)
    elif _is_a(rows, "polars", "DataFrame"):
        schema = _stream(rows.head(0), name).schema
        source = open_batches(name, schema, lambda names: _stream(rows.select(names), name), columns, start=0)
    elif isinstance(rows, Mapping):
        source = _open_arrays(dict(rows), name, argument)
    elif isinstance(rows, tuple) and not is_list_of_rows(rows):
        source = _open_arrays(_named_arrays(rows, columns, argument), name, argument)
    elif _is_array(rows):
        if len(shape := getattr(rows, "shape", (0,))) != 1:
            raise InputError(f"{argument}: has the shape {tuple(shape)}; pass its columns as {_layout(columns)}")
        source = _open_elements(partial(_parts, rows), columns, name)
    else:
        source = _open_stream(rows, columns, name)
    return replace(source, place=source.place or (lambda number: f"position {number} (from 0)"))


def _is_a(rows: object, module: str, name: str) -> bool:
    """Return whether an object has a class of a library, without importing the library."""
    kind: Any = sys.modules.get(module)
    for part in name.split("."):
        kind = getattr(kind, part, None)
    return isinstance(kind, type) and isinstance(rows, kind)


def check_rows_type(rows: object, argument: str) -> None:
    """Raise an InputError if an object has a type that `open_rows` does not read."""
    if fault := _refusal(rows):
        raise InputError(f"{argument}: {fault}")
    is_library_class = any(_is_a(rows, *names) for names in _CLASSES)
    has_rows = isinstance(rows, Mapping) or _is_array(rows) or hasattr(rows, "__arrow_c_stream__")
    if isinstance(rows, type) or not (is_library_class or has_rows):
        raise InputError(
            f"{argument}: expected a path (str or Path) or rows in memory, {_EXPECTED}; got {type_name(rows)}"
        )


def _refusal(rows: object) -> str | None:
    """Return why an object is refused, and what to pass instead; None for others."""
    if _is_a(rows, "datasets", "DatasetDict") or _is_a(rows, "datasets", "IterableDatasetDict"):
        names = [str(name) for name in rows]  # pyright: ignore[reportGeneralTypeIssues]
        example = names[0] if names else "train"
        return f"got a DatasetDict with the splits {', '.join(names)}; pass one of them, such as datasets[{example!r}]"
    if _is_a(rows, "datasets", "IterableDataset"):
        return "got an IterableDataset, which may be infinite; pass list(dataset.take(1000)), or load it as a Dataset"
    if _is_a(rows, "polars", "LazyFrame"):
        return "got a LazyFrame, whose rows are not computed yet; pass frame.collect()"
    if isinstance(rows, Iterator) and not hasattr(rows, "__arrow_c_stream__"):
        return f"got {type_name(rows)}, which can be read only once; pass a list of its rows"
    return None


# Frames, tables and datasets.


def _needed_names(names: list[str], columns: Sequence[Column]) -> list[str]:
    """Return the names of the columns to read; all of them if columns are missing or all others are wanted."""
    try:
        matches = find_columns(names, columns, by_number=True)
    except ValueError:
        return names
    return needed_names(names, columns, matches)


def _open_pandas(frame: Any, columns: Sequence[Column], name: str) -> Source:
    if not len(frame):
        raise InputError(f"{name}: no rows found")
    names = [str(column) for column in frame.columns]
    needed = {column: names.index(column) for column in _needed_names(names, columns)}

    def records() -> Iterator[Record]:
        for start in range(0, len(frame), ROWS_CONVERTED):
            part = frame.iloc[start : start + ROWS_CONVERTED]
            cells = [_python_values(part.iloc[:, position]) for position in needed.values()]
            for number, values in enumerate(zip(*cells, strict=True), start):
                yield _record(number, dict(zip(needed, values, strict=True)))

    def place(number: int) -> str:
        label = frame.index[number]
        if isinstance(label, tuple):
            return f"index {tuple(plain_value(label))}"
        return f"index {label!r}" if isinstance(label, str) else f"index {label}"

    return Source(name, records, names, place=place)


def _open_datasets(dataset: Any, columns: Sequence[Column], name: str) -> Source:
    features = dataset.features
    if dataset.format["type"] == "custom":
        # A transform may add columns and remove others.
        source = _open_elements(partial(iter, dataset), columns, name)
    else:

        def batches(names: list[str]) -> Iterator[Any]:
            for table in dataset.select_columns(names).with_format("arrow").iter(batch_size=ROWS_CONVERTED):
                yield from table.to_batches()

        source = open_batches(name, features.arrow_schema, batches, columns, start=0)
    labels = {column: feature for column, feature in features.items() if _has_class_labels(feature)}
    if not labels:
        return source

    def records() -> Iterator[Record]:
        for record in source.records():
            values = record.values
            yield (
                record
                if values is None
                else record._replace(
                    values={name: _class_names(labels.get(name), value) for name, value in values.items()}
                )
            )

    return replace(source, records=records)


def _has_class_labels(feature: Any) -> bool:
    if isinstance(feature, Mapping):
        return any(map(_has_class_labels, feature.values()))
    return hasattr(feature, "int2str") or (hasattr(feature, "feature") and _has_class_labels(feature.feature))


def _class_names(feature: Any, value: Any) -> Any:
    """Return class labels of a Hugging Face dataset by name; None for the label -1 of rows without one."""
    if isinstance(value, list) and hasattr(feature, "feature"):
        return [_class_names(feature.feature, each) for each in value]
    if isinstance(value, Mapping) and isinstance(feature, Mapping):
        return {name: _class_names(feature.get(name), each) for name, each in value.items()}
    if not hasattr(feature, "int2str") or not isinstance(value, int) or isinstance(value, bool):
        return value
    return feature.int2str(value) if 0 <= value < feature.num_classes else None


def _stream(rows: Any, name: str) -> Any:
    """Return a reader of the Arrow C stream of an object."""
    import pyarrow as pa

    try:
        return pa.RecordBatchReader.from_stream(rows)
    except Exception as error:
        raise InputError(
            f"{name}: cannot be read as an Arrow table ({first_line(error)}); pass a list of dicts, or select columns"
        ) from None


def is_stream(rows: object) -> bool:
    """Return whether an object has only the Arrow C stream interface, so that it may be readable only once."""
    is_library_class = any(_is_a(rows, *names) for names in _CLASSES)
    return hasattr(rows, "__arrow_c_stream__") and not (
        is_library_class or isinstance(rows, Mapping) or _is_array(rows)
    )


def store_stream(rows: Any, name: str) -> tuple[Any, Any]:
    """Return the rows of an Arrow C stream as a pyarrow Table of a file, and the temporary folder of that file.

    The folder has to live as long as the table.
    """
    import pyarrow as pa

    reader = _stream(rows, name)
    folder = temporary_folder()
    path = os.path.join(folder.name, "rows.arrow")
    try:
        with pa.ipc.new_file(path, reader.schema) as file:
            for batch in reader:
                file.write_batch(batch)
    except (OSError, pa.ArrowException) as error:
        if fault := write_fault(error, f"a copy of {name} in {folder.name}"):
            raise fault from None
        raise RunError(f"{name}: cannot be read to its end ({first_line(error)}); pass it as a table") from None
    table = pa.ipc.open_file(pa.memory_map(path)).read_all()
    if not len(table):
        raise InputError(f"{name}: no rows found; if it was read before, pass a new one")
    return table, folder


def _open_stream(rows: Any, columns: Sequence[Column], name: str) -> Source:
    table, folder = store_stream(rows, name)

    def batches(_: list[str], folder: Any = folder) -> Iterator[Any]:
        """Yield the batches of the file, whose folder lives as long as this function."""
        return iter(table.to_batches())

    return open_batches(name, table.schema, batches, columns, start=0)


# Lists, arrays and tf.data.


def _is_array(rows: object) -> bool:
    """Return whether an object is a sequence of elements: a list, a NumPy array, a Series, a column."""
    if isinstance(rows, str | bytes) or getattr(rows, "shape", None) == ():
        return False
    return isinstance(rows, Sequence) or list_method(rows) is not None


def is_list_of_rows(rows: Sequence[object]) -> bool:
    """Return whether the elements of a list or tuple, at least one, are all dictionaries."""
    return bool(rows) and all(isinstance(row, Mapping) for row in rows)


def _python_values(array: Any) -> list[Any]:
    """Return the values of an array as Python objects; missing values of pandas are None or NaN."""
    method = list_method(array)
    if method is None or is_numpy_time(array):
        return [*array]
    values = getattr(array, method)()
    return values.tolist() if method == "numpy" else values


def _parts(array: Any) -> Iterator[Any]:
    """Yield the values of an array, of which few are Python objects at a time."""
    if isinstance(array, list | tuple):
        yield from array
        return
    sliced = getattr(array, "iloc", array)
    for start in range(0, len(array), ROWS_CONVERTED):
        yield from _python_values(sliced[start : start + ROWS_CONVERTED])


def _open_arrays(arrays: Mapping[Any, Any], name: str, argument: str) -> Source:
    """Open the columns of a dictionary, which are arrays of equal length."""
    for column, array in arrays.items():
        if not _is_array(array):
            advice = "; pass a single column" if hasattr(array, "columns") else "; pass a row as a list: [row]"
            raise InputError(f"{argument}: expected an array as {column!r}, got {type_name(array)}{advice}")
        shape = getattr(array, "shape", None)
        if shape is not None and len(shape) != 1:
            raise InputError(f"{argument}: {column!r} has the shape {tuple(shape)}; pass an array of one dimension")
    lengths = {str(column): len(array) for column, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        counts = " and ".join(f"{length:,} of {column}" for column, length in lengths.items())
        raise InputError(f"{argument}: its arrays have different lengths ({counts}); pass one value for each row")

    def records() -> Iterator[Record]:
        for number, values in enumerate(zip(*map(_parts, arrays.values()), strict=True)):
            yield _record(number, dict(zip(lengths, values, strict=True)))

    if not any(lengths.values()):
        raise InputError(f"{name}: no rows found")
    return Source(name, records, [*lengths])


def _column_names(columns: Sequence[Column]) -> list[list[str]]:
    """Return the names by which columns find values that have a position only; a row may have other columns instead."""
    instead = list(dict.fromkeys(each for column in columns for each in (column.instead or (column,))))
    choices = [[*columns], instead] if not any(column.only_instead for column in columns) else [instead]
    return [[name for column in choice for name in _names_of(column)] for choice in choices]


def _names_of(column: Column) -> Sequence[str]:
    if column.template:
        return column.template.names
    return [] if column.whole_row else [column.column or column.preferred or column.name]


def _named_arrays(arrays: tuple[Any, ...], columns: Sequence[Column], argument: str) -> dict[str, Any]:
    """Return the arrays of a tuple by the names of the columns."""
    first = arrays[0] if arrays else None
    flat = [*arrays]
    if isinstance(first, tuple | list) and first and all(map(_is_array, first)):
        flat = [*first, *arrays[1:]]
    for names in _column_names(columns):
        for each in (arrays, flat):
            if len(each) == len(names):
                return dict(zip(names, each))
    raise InputError(f"{argument}: got a tuple of {len(arrays)} arrays; expected {_layout(columns)}")


def _layout(columns: Sequence[Column]) -> str:
    """Return how a tuple has the values of columns, such as ((sentence1, sentence2), label)."""
    names = _column_names(columns)[0]
    texts = [name for column in columns if column.check is check_text for name in _names_of(column)]
    if len(texts) > 1 and names[: len(texts)] == texts and len(names) > len(texts):
        names = [f"({', '.join(texts)})", *names[len(texts) :]]
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"


def _open_elements(values: Callable[[], Iterable[Any]], columns: Sequence[Column], name: str) -> Source:
    """Open elements that are dictionaries, tuples or, for a single column, values."""

    def records() -> Iterator[Record]:
        return (_element_record(number, element, columns) for number, element in enumerate(values()))

    return Source(name, records)


def _element_record(number: int, element: Any, columns: Sequence[Column]) -> Record:
    """Return a dictionary, a tuple such as (text, label) or the value of a single column as a record."""
    element = _by_name(element)
    if isinstance(element, Mapping):
        return _record(number, {str(name): value for name, value in element.items()})
    is_tuple = isinstance(element, tuple)
    values = [*element] if is_tuple else [element]
    if is_tuple and isinstance(values[0], tuple) and len(values) < len(columns):
        values = [*values[0], *values[1:]]
    named: dict[str, Any] = {}
    if is_tuple and isinstance(values[0], Mapping):
        named = {str(name): value for name, value in values.pop(0).items()}
        columns = [column for column in columns if not has_columns([*named], [column])]
    for names in _column_names(columns):
        if len(values) == len(names):
            return _record(number, {**named, **dict(zip(names, values))})
    found = f"{len(values)} values" if is_tuple else type_name(element)
    return Record(number, None, f"is {found}, not a row; pass a dict, or a tuple {_layout(columns)}")


def _by_name(element: Any) -> Any:
    """Return a named tuple as a dictionary; other elements unchanged."""
    fields = getattr(element, "_fields", None) if isinstance(element, tuple) else None
    return dict(zip(fields, element)) if fields else element


def _open_tensors(dataset: Any, columns: Sequence[Column], name: str, argument: str) -> Source:
    """Open a `tf.data.Dataset`, whose elements are stored because their order may change."""
    import tensorflow as tf

    if is_endless(dataset):
        raise InputError(f"{argument}: the tf.data.Dataset is infinite; remove .repeat(), or pass dataset.take(1000)")
    for spec in _leaves(dataset.element_spec):
        if not isinstance(spec, tf.TensorSpec | tf.RaggedTensorSpec):
            kind = type(spec).__name__.removesuffix("Spec")
            raise InputError(f"{argument}: its elements have a {kind}; map them to tensors")
    is_batched = _is_batched(dataset.element_spec, columns)
    rows = itertools.chain.from_iterable(map(_rows_of_batch if is_batched else _single_row, dataset))
    try:
        elements = spool(_watched(rows, columns, name))
    except tf.errors.OpError as error:
        fault = re.sub(r"\{\{.*?\}\}\s*", "", first_line(error))
        raise InputError(f"{name}: cannot be read to its end ({fault}); check its functions") from None
    return _open_elements(lambda: elements, columns, name)


def _watched(rows: Iterable[Any], columns: Sequence[Column], name: str) -> Iterator[Any]:
    """Yield rows of the same type; refuse them if the first one is not a row, and log how many there are so far."""
    for number, row in enumerate(rows):
        if not number and (fault := _element_record(0, row, columns).fault):
            raise InputError(f"{name}: each element {fault}")
        if number and number % ROWS_LOGGED == 0:
            log(f"{name}: {number:,} rows read; if it is infinite, stop and pass dataset.take(1000)")
        yield row


def _is_batched(spec: Any, columns: Sequence[Column]) -> bool:
    """Return whether elements have several rows: no value is a scalar, and if only lists are read, none is a list."""
    ranks = [each.shape.rank for each in _leaves(spec)]
    if any(rank == 0 for rank in ranks):
        return False
    reads_texts = any(column.check is check_text for column in columns)
    return reads_texts or all(rank is not None and rank > 1 for rank in ranks)


def _leaves(element: Any) -> list[Any]:
    if isinstance(element, Mapping):
        return [leaf for value in element.values() for leaf in _leaves(value)]
    return [leaf for value in element for leaf in _leaves(value)] if isinstance(element, tuple) else [element]


def _python_element(element: Any) -> Any:
    """Return an element of a `tf.data.Dataset` with Python values."""
    element = _by_name(element)
    if isinstance(element, Mapping):
        return {name: _python_element(value) for name, value in element.items()}
    if isinstance(element, tuple):
        return tuple(map(_python_element, element))
    return plain_value(element)


def _single_row(element: Any) -> list[Any]:
    return [_python_element(element)]


def _rows_of_batch(batch: Any) -> Iterator[Any]:
    """Yield the rows of a batch, in which a column of shape (rows, 1) is one of scalars."""
    batch = _by_name(batch)
    if isinstance(batch, Mapping):
        columns = [[*_rows_of_batch(value)] for value in batch.values()]
        yield from (dict(zip(batch, row, strict=True)) for row in zip(*columns, strict=True))
    elif isinstance(batch, tuple):
        yield from zip(*map(_rows_of_batch, batch), strict=True)
    else:
        is_column = batch.shape.rank == 2 and batch.shape[1] == 1 and hasattr(batch, "numpy")
        values = _python_element(batch)
        yield from (value[0] for value in values) if is_column else values


# Values.


def _record(number: int, values: dict[str, Any]) -> Record:
    return Record(number, {name: plain_value(value) for name, value in values.items()})
