"""Predictions as Arrow tables."""

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfhub_ft.tasks.base import Prediction
from tfhub_ft.tasks.prediction_columns import prediction_columns

if TYPE_CHECKING:
    import pyarrow as pa


def prediction_table(predictions: Sequence[Prediction]) -> "pa.Table":
    """Return predictions, at least one, as a table.

    Numbers are doubles, labels and texts strings, positions int64; the lists of a prediction are list columns. These
    types do not depend on the values. Those of other fields do: a column without a value is null.
    """
    import pyarrow as pa

    rows = [prediction_columns(prediction) for prediction in predictions]
    return pa.table({name: _array(name, [row[name] for row in rows]) for name in rows[0]})


def with_fields(schema: "pa.Schema", names: Mapping[str, str], fields: "Iterable[pa.Field]") -> "pa.Schema":
    """Return a schema with new names of its fields, and further fields."""
    import pyarrow as pa

    renamed = [field.with_name(names[field.name]) for field in schema]
    metadata = dict(schema.metadata or {})
    if any(field.name != names[field.name] for field in schema):
        # Other libraries have types by name, too.
        metadata = {name: value for name, value in metadata.items() if name == b"pandas"}
    if pandas := json.loads(metadata.get(b"pandas", b"null")):
        metadata[b"pandas"] = json.dumps(_renamed(pandas, names)).encode()
    return pa.schema([*renamed, *fields], metadata)


def _renamed(pandas: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the metadata of pandas, the types and the index of a frame, with new names of its columns."""
    columns = []
    for column in pandas["columns"]:
        name = names.get(column["field_name"], column["field_name"])
        has_field_name = column["name"] == column["field_name"]
        columns.append(column | {"name": name if has_field_name else column["name"], "field_name": name})
    index = [names.get(name, name) if isinstance(name, str) else name for name in pandas["index_columns"]]
    # All names are texts, even if those of the frame are numbers.
    return pandas | {"columns": columns, "index_columns": index, "column_indexes": []}


def _array(name: str, values: list[Any]) -> "pa.Array":
    import pyarrow as pa

    known = _known_types().get(name) or (pa.float64() if name.startswith("probability_") else None)
    return pa.array(values, known)


@functools.cache
def _known_types() -> "dict[str, pa.DataType]":
    import pyarrow as pa

    text, number, position = pa.string(), pa.float64(), pa.int64()
    span = {"text": text, "score": number, "start": position, "end": position}
    entity = {"text": text, "label": text, "start": position, "end": position, "score": number}
    texts = pa.list_(text)
    return {
        **dict.fromkeys(("label", "answer", "reply", "filled"), text),
        **dict.fromkeys(("score", "out_of_scope", "explanation_error"), number),
        **dict.fromkeys(("start", "end"), position),
        **dict.fromkeys(("labels", "tokens", "tags", "words"), texts),
        "entities": pa.list_(pa.struct(entity)),
        "answers": pa.list_(pa.struct(span)),
        "replies": pa.list_(pa.struct({"reply": text, "score": number})),
        "guesses": pa.list_(pa.list_(pa.struct({"word": text, "score": number}))),
    }
