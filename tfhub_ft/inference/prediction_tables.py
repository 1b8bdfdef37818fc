"""Predictions as Arrow tables."""

import functools
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
    # The metadata of pandas has types by name.
    is_same = all(field.name == names[field.name] for field in schema)
    return pa.schema([*renamed, *fields], schema.metadata if is_same else None)


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
