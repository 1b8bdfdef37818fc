"""Read Parquet files."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.arrow import open_batches, reading
from tfhub_ft.data.formats.source import ReadOptions, Source

if TYPE_CHECKING:
    import pyarrow as pa

# A row group is read in parts of this size, because a file may have a single one.
_ROWS, _BUFFER = 8192, 2**20


def open_parquet(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """Open a Parquet file, of which only the columns that are needed are read."""
    import pyarrow.parquet as pq

    with reading(path), pq.ParquetFile(path) as file:
        schema = file.schema_arrow
    return open_batches(path, schema, partial(_batches, path), columns)


def _batches(path: Path, names: list[str]) -> "Iterator[pa.RecordBatch]":
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
        yield from file.iter_batches(_ROWS, columns=names)
