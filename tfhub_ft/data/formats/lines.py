"""The lines of a text file, which may be compressed, each with what is wrong with its bytes."""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tfhub_ft.errors import InputError

_BROKEN_BYTE = re.compile("[\udc80-\udcff]")


class Line(NamedTuple):
    """A physical line, its end included; `fault` says what is wrong with its bytes."""

    number: int
    text: str
    fault: str | None


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a text file. A byte that is not UTF-8 becomes a lone surrogate, so that the line can be parsed.

    Raises:
        InputError: the file cannot be read.
    """
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opened(path, "rb") as file:
            end = _line_end(file)
            for number, text in enumerate(io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", end), 1):
                yield Line(number, text, _byte_fault(text))
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise InputError(f"{path}: is not a whole gzip file; fetch or compress it again") from None
    except OSError as error:
        raise unreadable(path, error) from None


def is_blank(text: str) -> bool:
    """Whether a line has nothing but spaces."""
    return not text.strip(" \r\n")


def unreadable(path: Path, error: OSError) -> InputError:
    """The error of a file that the system does not let us read."""
    return InputError(f"{path}: cannot be read ({error.strerror or error}); check the path and its permissions")


def _line_end(file: BinaryIO) -> str:
    """The end of the file's first line: in a file of LF or CRLF lines a CR is part of a text, not the end of a line."""
    first = re.search(rb"\r\n?|\n", file.read(2**16))
    file.seek(0)
    return "\r" if first and first[0] == b"\r" else "\n"


def _byte_fault(text: str) -> str | None:
    if not text.isascii() and (broken := _BROKEN_BYTE.search(text)):
        place = len(text[: broken.start()].encode()) + 1
        return f"byte {place} (0x{ord(broken[0]) & 0xFF:02x}) is not UTF-8; save the file as UTF-8"
    if "\0" in text:
        return "holds a NUL byte; save the file as UTF-8 text"
    return None
