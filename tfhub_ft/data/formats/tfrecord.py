"""TFRecord files, in which each record is a tf.train.Example."""

import struct
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.lines import opened
from tfhub_ft.data.formats.source import ReadOptions, Record, Source
from tfhub_ft.errors import InputError

# The length of a record and its checksum come before it, another checksum after it.
_HEADER, _FOOTER = struct.Struct("<QI"), 4
# Far above any row.
_MOST = 2**28


def open_tfrecord(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """A TFRecord file, which may be compressed: a row's columns are the features of a record.

    A feature of bytes is UTF-8 text; one with several values is a list. TensorFlow itself is not started.

    Reference:
        https://www.tensorflow.org/tutorials/load_data/tfrecord
    """
    return Source(path, partial(_records, path), unit="record")


def _records(path: Path) -> Iterator[Record]:
    from google.protobuf.message import DecodeError
    from tensorflow.core.example.example_pb2 import Example

    for number, content in enumerate(record_contents(path), 1):
        try:
            features = Example.FromString(content).features.feature
            yield number, {name: _value(feature) for name, feature in features.items()}, None
        except UnicodeDecodeError as error:
            yield number, None, f"has bytes that are not UTF-8 ({error.reason})"
        except DecodeError:
            yield number, None, "is not a tf.train.Example"


def record_contents(path: Path) -> Iterator[bytes]:
    """The contents of the records of a TFRecord file.

    Raises:
        InputError: the file ends within a record, or is not a TFRecord file.
    """
    with opened(path) as file:
        while header := file.read(_HEADER.size):
            length = _HEADER.unpack(header)[0] if len(header) == _HEADER.size else _MOST
            content = file.read(length + _FOOTER) if length < _MOST else b""
            if len(content) < length + _FOOTER:
                raise InputError(f"{path}: is not a whole TFRecord file; write or fetch it again")
            yield content[:length]


def _value(feature: Any) -> Any:
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value) if kind else []
    if kind == "bytes_list":
        values = [value.decode() for value in values]
    return values[0] if len(values) == 1 else values
