"""Write predictions to Parquet files."""

import bisect
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.row_writers import with_known_type
from tfhub_ft.data.texts import TextRow, TextRows
from tfhub_ft.inference.prediction_tables import prediction_table, with_fields
from tfhub_ft.tasks.base import Prediction
from tfhub_ft.tasks.prediction_columns import free_names
from tfhub_ft.utils.errors import InputError, first_line
from tfhub_ft.utils.files import atomic_write

if TYPE_CHECKING:
    import pyarrow as pa

# Predictions that are Python objects at a time, and rows of a row group.
ROWS_AT_ONCE, ROWS_OF_GROUP = 4096, 65_536


def write_parquet(predicted: Iterable[tuple[TextRow, Prediction]], path: Path, rows: TextRows | None = None) -> int:
    """Write rows and their predictions to a Parquet file, whole or not at all; return the number of rows.

    Columns of Arrow data keep their types. Those of JSON are numbers or booleans if all their values are, otherwise
    texts, in which lists and objects are JSON. The columns of other files are texts.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    predicted, count, writer = iter(predicted), 0, None
    group: list[pa.Table] = []
    columns = _ArrowColumns(rows, rows.source.batches()) if rows and rows.source.batches else _PythonColumns(rows)
    with atomic_write(path) as aside:
        try:
            while part := [*itertools.islice(predicted, ROWS_AT_ONCE)]:
                kept = columns.of([row for row, _ in part])
                added = prediction_table([prediction for _, prediction in part])
                if writer is None:
                    names = free_names(kept.schema.names, added.column_names)
                    fields = map(with_known_type, added.schema)
                    writer = parquet.ParquetWriter(aside, with_fields(kept.schema, names, fields))
                # Only fields of predictions whose type is not known may differ.
                added = added.cast(pa.schema(list(writer.schema)[len(kept.schema) :]))
                group.append(pa.Table.from_arrays([*kept.columns, *added.columns], schema=writer.schema))
                count += len(part)
                if sum(map(len, group)) >= ROWS_OF_GROUP:
                    writer.write_table(pa.concat_tables(group))
                    group.clear()
            if writer and group:
                writer.write_table(pa.concat_tables(group))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise InputError(f"--output {path}: cannot be written ({first_line(error)}); write a jsonl file") from None
        finally:
            if writer:
                writer.close()
        if not count:
            raise InputError(f"--output {path}: no rows to write; all of them were skipped")
    return count


class _PythonColumns:
    """The columns of rows whose values are Python objects."""

    def __init__(self, rows: TextRows | None):
        self.types = rows.value_types if rows and not rows.by_line else {}

    def of(self, rows: Sequence[TextRow]) -> "pa.Table":
        import pyarrow as pa

        return pa.table({name: self._array(name, [row.values[name] for row in rows]) for name in rows[0].values})

    def _array(self, name: str, values: list[Any]) -> "pa.Array":
        import pyarrow as pa

        types = self.types.get(name, set())
        for kind, accepted in ((pa.bool_(), {bool}), (pa.int64(), {int}), (pa.float64(), {int, float})):
            if types and types <= accepted:
                return pa.array(values, kind)
        return pa.array([value if value is None else _text(value) for value in values], pa.string())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class _ArrowColumns:
    """The columns of rows of Arrow data, whose batches are read once more, along with the rows."""

    def __init__(self, rows: TextRows, batches: "Iterator[tuple[int, pa.RecordBatch]]"):
        self.names, self.batches = rows.names, batches
        self.start, self.end, self.batch = 0, 0, None

    def of(self, rows: Sequence[TextRow]) -> "pa.Table":
        """Return the columns of some rows, which are after those of earlier calls."""
        import pyarrow as pa

        parts: list[pa.RecordBatch] = []
        numbers = [row.number for row in rows]
        while numbers:
            while self.batch is None or numbers[0] >= self.end:
                self.start, self.batch = next(self.batches)
                self.end = self.start + self.batch.num_rows
            count = bisect.bisect_left(numbers, self.end)
            indices = [number - self.start for number in numbers[:count]]
            is_range = indices[-1] - indices[0] == count - 1
            part = self.batch.select(self.names)
            parts.append(part.slice(indices[0], count) if is_range else part.take(pa.array(indices)))
            numbers = numbers[count:]
        return pa.Table.from_batches(parts)
