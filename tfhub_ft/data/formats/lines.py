"""Read the lines of text files in any encoding, compressed or not."""

import codecs
import contextlib
import functools
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tfhub_ft.data.formats.source import ReadOptions
from tfhub_ft.utils.errors import InputError

HEAD = 2**16
GZIP = b"\x1f\x8b"
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_BROKEN_BYTE = re.compile("[\udc80-\udcff]")


class Line(NamedTuple):
    """A physical line with its line end, and what is wrong with its bytes."""

    number: int
    text: str
    fault: str | None


def suffix_of(path: Path) -> str:
    """Return the suffix before .gz, in lower case."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


@contextlib.contextmanager
def open_bytes(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file and decompress it if its first bytes are those of gzip; raise an InputError if it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as raw:
            file: io.BufferedReader = io.BufferedReader(raw, HEAD)
            if file.peek(2).startswith(GZIP):
                file = io.BufferedReader(gzip.GzipFile(fileobj=file), HEAD)
            yield file
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise InputError(f"{path}: is not a complete gzip file; download or compress it again") from None
    except OSError as error:
        raise unreadable_error(path, error) from None


def read_lines(path: Path, options: ReadOptions) -> Iterator[Line]:
    """Yield the lines of a file; bytes that do not fit the encoding become lone surrogates, so that lines parse."""
    with open_bytes(path) as file:
        encoding = encoding_of(file.peek(HEAD), options, path)
        yield from _lines(file, path, encoding, options)


def read_stream(stream: BinaryIO, name: str, options: ReadOptions) -> Iterator[Line]:
    """Yield the lines of a stream, which can be read once; errors call it `name`."""
    file = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)  # pyright: ignore[reportArgumentType]
    yield from _lines(file, name, encoding_of(file.peek(HEAD), options, None), options)


def encoding_of(head: bytes, options: ReadOptions, path: Path | None) -> str:
    """Return the encoding of a text file from its first bytes, the options and, if it can be read again, the file."""
    if options.encoding:
        return "utf-8-sig" if codecs.lookup(options.encoding).name == "utf-8" else options.encoding
    encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if head.startswith(mark)), None)
    if not encoding and options.usual_encoding and not (_can_decode(path, "utf-8") if path else _is_utf8(head)):
        return options.usual_encoding
    return encoding or "utf-8-sig"


def _is_utf8(head: bytes) -> bool:
    """Return whether bytes are UTF-8; the last character may be incomplete."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def is_blank(text: str) -> bool:
    """Return whether a line is empty or has only spaces."""
    return not text.strip(" \r\n")


def unreadable_error(path: Path, error: OSError) -> InputError:
    """Return the error for a file that the system cannot open."""
    return InputError(f"{path}: cannot be read ({error.strerror or error}); check the path and its permissions")


def _lines(file: io.BufferedReader, name: Path | str, encoding: str, options: ReadOptions) -> Iterator[Line]:
    head = file.peek(HEAD)
    text_file = io.TextIOWrapper(file, encoding, "surrogateescape", _line_end(head, encoding))
    utf_16, save, number = _utf_16(head), "save the file as UTF-8", 0
    nul_advice = "remove it"
    if utf_16:
        nul_advice = f"name the file's encoding: --encoding {utf_16}" if options.named else save

    @functools.cache
    def byte_advice() -> str:
        if not options.named:
            return save
        is_cp1252 = isinstance(name, str) or _can_decode(name, "cp1252")
        return f"{save}, or name its encoding, such as --encoding {'cp1252' if is_cp1252 else 'latin-1'}"

    try:
        for number, text in enumerate(text_file, 1):
            text = text.removeprefix("\ufeff") if number == 1 else text
            yield Line(number, text, _byte_fault(text, encoding, byte_advice, nul_advice))
    except UnicodeError as error:
        reason = getattr(error, "reason", error)
        advice = f"; name its encoding with --encoding, such as {utf_16 or 'cp1252'}" if options.named else ""
        raise InputError(f"{name}: is not {encoding} after line {number} ({reason}){advice}") from None
    finally:
        # The caller closes the file.
        with contextlib.suppress(ValueError):
            text_file.detach()


def _line_end(head: bytes, encoding: str) -> str:
    """Return the end of the first line: in a file of LF or CRLF lines, a CR is part of the text."""
    text = ""
    with contextlib.suppress(UnicodeError):
        text = codecs.getincrementaldecoder(encoding)("ignore").decode(head)
    first = re.search("\r\n?|\n", text)
    return "\r" if first and first[0] == "\r" else "\n"


def _byte_fault(text: str, encoding: str, byte_advice: Callable[[], str], nul_advice: str) -> str | None:
    if not text.isascii() and (broken := _BROKEN_BYTE.search(text)):
        byte, name = f"(0x{ord(broken[0]) & 0xFF:02x})", "UTF-8" if encoding == "utf-8-sig" else encoding
        position = f"byte {len(text[: broken.start()].encode()) + 1}" if name == "UTF-8" else "a byte"
        return f"{position} {byte} is not {name}; {byte_advice()}"
    return f"contains a NUL byte; {nul_advice}" if "\0" in text else None


def _utf_16(head: bytes) -> str | None:
    """Return the UTF-16 encoding of bytes without a byte order mark, in which most other bytes are NUL."""
    for start, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(head) > 1 and head[start::2].count(0) > 0.6 * len(head[start::2]) > head[1 - start :: 2].count(0):
            return encoding
    return None


def _can_decode(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with open_bytes(path) as file:
            while chunk := file.read(2**20):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True
