"""Read TFRecord files of tf.train.Example."""

import itertools
import struct
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.lines import open_bytes
from tfhub_ft.data.formats.source import ReadOptions, Record, Source
from tfhub_ft.utils.errors import InputError

# The length of a record and its checksum precede the record, another checksum follows it.
_HEADER, _FOOTER = struct.Struct("<QI"), struct.Struct("<I")
# Larger than any row.
_MOST = 2**28
_AGAIN = "write or download the file again"
_DAMAGED = f"differs from its checksum; {_AGAIN}"


def open_tfrecord(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """Open a TFRecord file, compressed or not, whose features are the columns.

    A bytes feature is UTF-8 text, a feature with several values a list.

    Reference:
        https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
    """
    return Source(path, partial(_records, path), unit="record")


def _records(path: Path) -> Iterator[Record]:
    from google.protobuf.message import DecodeError
    from tensorflow.core.example.example_pb2 import Example

    for number, (content, is_valid) in enumerate(_contents(path), 1):
        if not is_valid:
            yield Record(number, None, _DAMAGED)
            continue
        try:
            features = Example.FromString(content).features.feature
            yield Record(number, {name: _value(feature) for name, feature in features.items()})
        except UnicodeDecodeError as error:
            yield Record(number, None, f"has bytes that are not UTF-8 ({error.reason})")
        except DecodeError:
            yield Record(number, None, "is not a tf.train.Example")


def record_contents(path: Path) -> Iterator[bytes]:
    """Yield the contents of the records of a TFRecord file; raise an InputError if one is damaged."""
    for number, (content, is_valid) in enumerate(_contents(path), 1):
        if not is_valid:
            raise InputError(f"{path}, record {number}: {_DAMAGED}")
        yield content


def _contents(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Yield the content of each record, and whether it matches its checksum."""
    with open_bytes(path) as file:
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
    """Return the checksum of a part of a TFRecord: its CRC-32C, rotated right by 15 bits, plus a constant."""
    from google_crc32c import value

    crc = value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _value(feature: Any) -> object:
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value) if kind else []
    if kind == "bytes_list":
        values = [value.decode() for value in values]
    return values[0] if len(values) == 1 else values
