"""Add predictions to data frames, Arrow tables, datasets, dicts of columns and lists of dicts."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.formats.memory import is_list_of_rows, kind_of_rows
from tfhub_ft.inference.prediction_tables import prediction_table, with_fields
from tfhub_ft.tasks.base import Prediction
from tfhub_ft.tasks.prediction_columns import free_names
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

# Predictions that are Python objects at a time.
CONVERTED_AT_ONCE = 4096


def is_frame(rows: object) -> bool:
    """Return whether an object has named columns: a frame, a table, a dataset, a dict, a list of dicts or a stream."""
    if isinstance(rows, list | tuple):
        return is_list_of_rows(rows)
    if isinstance(rows, Mapping) or _has(rows, "column_names"):
        return True
    if _has(rows, "columns"):
        return _has(rows, "iloc", "collect", "__arrow_c_stream__")
    return _has(rows, "__arrow_c_stream__") and not _has(rows, "to_list", "to_pylist", "tolist")


def _has(rows: object, *names: str) -> bool:
    """Return whether the class of an object has one of these attributes, whose values may be expensive."""
    return any(hasattr(type(rows), name) for name in names)


def as_table(frame: Any) -> Any:
    """Return a stream of Arrow as a table, because it can be read only once; other frames unchanged."""
    import pyarrow as pa

    is_stream = _has(frame, "__arrow_c_stream__") and not _has(frame, "columns")
    return pa.table(frame) if is_stream else frame


def column_names(frame: Any) -> list[Any]:
    """Return the names of the columns of a frame; raise an InputError if two are equal."""
    if isinstance(frame, list | tuple):
        return [*dict.fromkeys(itertools.chain.from_iterable(frame))]
    names = [*(frame if isinstance(frame, Mapping) else getattr(frame, "column_names", None) or frame.columns)]
    if repeated := [name for number, name in enumerate(names) if name in names[:number]]:
        raise InputError(f"{kind_of_rows(frame)}: column {repeated[0]!r} occurs twice; rename one of them")
    return names


def with_predictions(frame: Any, predictions: Iterable[Prediction]) -> Any:
    """Return a frame of the same kind, with its columns and those of a prediction for each row.

    A column that has the name of one of a prediction becomes input_NAME. For a frame without rows, any prediction gives
    the columns.
    """
    table = _concatenated(predictions)
    if not len(frame):
        table = table.slice(0, 0)
    names = free_names(column_names(frame), table.column_names)
    if isinstance(frame, list | tuple):
        rows = zip(frame, table.to_pylist(), strict=True)
        return [{names[name]: value for name, value in row.items()} | prediction for row, prediction in rows]
    if isinstance(frame, Mapping):
        return {names[name]: values for name, values in frame.items()} | table.to_pydict()
    if _has(frame, "iloc"):
        return _add_to_pandas(frame, names, table)
    if _has(frame, "hstack"):
        import polars as pl

        return frame.rename(names).hstack(pl.DataFrame(table))
    if _has(frame, "features"):
        return _add_to_dataset(frame, names, table)
    return _add_to_arrow(frame, names, table)


def _concatenated(predictions: Iterable[Prediction]) -> "pa.Table":
    import pyarrow as pa

    predictions = iter(predictions)
    parts = iter(lambda: [*itertools.islice(predictions, CONVERTED_AT_ONCE)], [])
    return pa.concat_tables(map(prediction_table, parts), promote_options="permissive")


def _add_to_pandas(frame: Any, names: Mapping[Any, Any], table: "pa.Table") -> Any:
    import pandas as pd
    import pyarrow as pa

    text_type = pd.Series(["a"]).dtype
    types = {pa.float64(): "float64", pa.string(): text_type, pa.int64(): "Int64"}
    columns = {
        name: pd.Series(column.to_pylist(), index=frame.index, dtype=types.get(column.type, "object"))
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    renamed = frame.set_axis([*names.values()], axis="columns") if {*names} != {*names.values()} else frame
    return pd.concat([renamed, pd.DataFrame(columns, index=frame.index)], axis="columns")


def _add_to_dataset(dataset: Any, names: Mapping[str, str], table: "pa.Table") -> Any:
    import datasets

    renamed = dataset.rename_columns({name: free for name, free in names.items() if name != free})
    added = datasets.Dataset(table)
    if len(dataset):
        added = datasets.concatenate_datasets([renamed.with_format(None), added], axis=1)
    else:
        features = {**renamed.features, **added.features}
        added = datasets.Dataset.from_dict(dict.fromkeys(features, []), datasets.Features(features))
    kind = dataset.format["type"]
    return added if kind in (None, "custom") else added.with_format(kind, **dataset.format["format_kwargs"])


def _add_to_arrow(table: Any, names: Mapping[str, str], predictions: "pa.Table") -> Any:
    import pyarrow as pa

    columns: Sequence[Any] = predictions.columns
    if isinstance(table, pa.RecordBatch):
        columns = [column.combine_chunks() for column in columns]
    return type(table).from_arrays(
        [*table.columns, *columns], schema=with_fields(table.schema, names, predictions.schema)
    )
