"""TFRecord files, in which each record is a tf.train.Example."""

import itertools
import struct
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.lines import opened
from tfhub_ft.data.formats.source import ReadOptions, Record, Source
from tfhub_ft.utils.errors import InputError

# The length of a record and its checksum come before it, another checksum after it.
_HEADER, _FOOTER = struct.Struct("<QI"), struct.Struct("<I")
# Far above any row.
_MOST = 2**28
_AGAIN = "write or fetch the file again"
_DAMAGED = f"differs from its checksum; {_AGAIN}"


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

    for number, (content, is_whole) in enumerate(_contents(path), 1):
        if not is_whole:
            yield number, None, _DAMAGED
            continue
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
        InputError: the file ends within a record, is not a TFRecord file, or a record differs from its checksum.
    """
    for number, (content, is_whole) in enumerate(_contents(path), 1):
        if not is_whole:
            raise InputError(f"{path}, record {number}: {_DAMAGED}")
        yield content


def _contents(path: Path) -> Iterator[tuple[bytes, bool]]:
    """The content of each record, and whether it agrees with its checksum."""
    with opened(path) as file:
        for number in itertools.count(1):
            header = file.read(_HEADER.size)
            if not header:
                return
            if len(header) < _HEADER.size:
                raise InputError(f"{path}: ends within record {number}; {_AGAIN}")
            length, checksum = _HEADER.unpack(header)
            if masked_checksum(header[:8]) != checksum or length > _MOST:
                if number == 1:
                    raise InputError(f"{path}: is not a TFRecord file; {_AGAIN}")
                raise InputError(f"{path}, record {number}: its length differs from its checksum; {_AGAIN}")
            content = file.read(length + _FOOTER.size)
            if len(content) < length + _FOOTER.size:
                raise InputError(f"{path}: ends within record {number}; {_AGAIN}")
            content, (checksum,) = content[:length], _FOOTER.unpack(content[length:])
            yield content, masked_checksum(content) == checksum


def masked_checksum(content: bytes) -> int:
    """The checksum of a part of a TFRecord: its CRC-32C, rotated right by 15 bits, plus a constant.

    Reference:
        https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
    """
    from google_crc32c import value

    crc = value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _value(feature: Any) -> Any:
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value) if kind else []
    if kind == "bytes_list":
        values = [value.decode() for value in values]
    return values[0] if len(values) == 1 else values
