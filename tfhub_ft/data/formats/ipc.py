"""Read Arrow IPC files and streams, which are also called Feather."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.arrow import open_batches, reading
from tfhub_ft.data.formats.source import ReadOptions, Source

if TYPE_CHECKING:
    import pyarrow as pa

# The first bytes of a file, which a stream lacks.
_FILE = b"ARROW1"


def open_ipc(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """Open an Arrow IPC file or stream, such as a Feather file of version 2."""
    import pyarrow as pa

    with open(path, "rb") as file:
        is_file = file.read(len(_FILE)) == _FILE
    with reading(path), pa.memory_map(os.fspath(path)) as mapped:
        schema = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(mapped).schema
    return open_batches(path, schema, partial(_batches, path, schema, is_file=is_file), columns)


def _batches(path: Path, schema: "pa.Schema", names: list[str], *, is_file: bool) -> "Iterator[pa.RecordBatch]":
    import pyarrow as pa

    options = pa.ipc.IpcReadOptions(
        included_fields=[number for number, name in enumerate(schema.names) if name in names]
    )
    # Mapped, so that a batch with all rows of the file does not have to fit into memory.
    with pa.memory_map(os.fspath(path)) as mapped:
        if is_file:
            file = pa.ipc.open_file(mapped, options=options)
            yield from (file.get_batch(number) for number in range(file.num_record_batches))
        else:
            yield from pa.ipc.open_stream(mapped, options=options)
