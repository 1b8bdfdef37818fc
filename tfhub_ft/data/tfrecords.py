"""Rows of TFRecord files, in which each record is a tf.train.Example."""

import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfhub_ft.errors import InputError

# The length of a record and its checksum, in front of it; behind it is another checksum.
_HEADER, _FOOTER = struct.Struct("<QI"), 4
# Far above any row.
_MOST = 2**28


def example_records(path: Path) -> Iterator[tuple[int, dict[str, Any] | None, str | None]]:
    """The records of a file: the number of each, from 1, its features, and what is wrong with it.

    A feature of bytes is UTF-8 text; one with several values is a list. TensorFlow itself is not started.

    Args:
        path: a TFRecord file, compressed by gzip where its name ends in .gz.

    Raises:
        InputError: the file ends within a record, or is no TFRecord file.

    Reference:
        https://www.tensorflow.org/tutorials/load_data/tfrecord
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.example.example_pb2 import Example

    for number, content in enumerate(record_contents(path), 1):
        try:
            features = Example.FromString(content).features.feature
            yield number, {name: _value(feature) for name, feature in features.items()}, None
        except UnicodeDecodeError as error:
            yield number, None, f"has bytes that are not UTF-8 ({error.reason})"
        except DecodeError:
            yield number, None, "is no tf.train.Example"


def record_contents(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file as they stand; the arguments and errors are those of `example_records`."""
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opened(path, "rb") as file:
            while header := file.read(_HEADER.size):
                length = _HEADER.unpack(header)[0] if len(header) == _HEADER.size else _MOST
                content = file.read(length + _FOOTER) if length < _MOST else b""
                if len(content) < length + _FOOTER:
                    raise InputError(f"{path}: is no whole TFRecord file; write or fetch it again")
                yield content[:length]
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise InputError(f"{path}: is not a whole gzip file; fetch or compress it again") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _value(feature: Any) -> Any:
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value) if kind else []
    if kind == "bytes_list":
        values = [value.decode() for value in values]
    return values[0] if len(values) == 1 else values
