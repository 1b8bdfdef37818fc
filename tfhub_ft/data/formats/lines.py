"""The lines of a text file, which may be compressed, each with what is wrong with its bytes."""

import codecs
import contextlib
import functools
import gzip
import io
import re
import zlib
from collections.abc import Iterator
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
    """A physical line, its end included; `fault` says what is wrong with its bytes."""

    number: int
    text: str
    fault: str | None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed where its first bytes are those of gzip, whatever its name.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with open(path, "rb", buffering=HEAD) as file, contextlib.ExitStack() as stack:
            yield stack.enter_context(gzip.open(file)) if file.peek(2).startswith(GZIP) else file
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise InputError(f"{path}: is not a whole gzip file; fetch or compress it again") from None
    except OSError as error:
        raise unreadable(path, error) from None


def read_lines(path: Path, options: ReadOptions) -> Iterator[Line]:
    """The lines of a text file.

    A byte that does not fit the encoding becomes a lone surrogate, so that the line can be parsed.

    Raises:
        InputError: the file cannot be read.
    """
    with opened(path) as file:
        encoding = encoding_of(file.peek(HEAD), options, path)
        yield from _lines(file, path, encoding, options)


def read_stream(stream: BinaryIO, name: str, options: ReadOptions) -> Iterator[Line]:
    """The lines of a stream that cannot be read twice; `name` is what an error calls it. Otherwise as `read_lines`."""
    buffered = stream if hasattr(stream, "peek") else io.BufferedReader(stream)
    yield from _lines(buffered, name, encoding_of(buffered.peek(HEAD), options, None), options)


def encoding_of(head: bytes, options: ReadOptions, path: Path | None) -> str:
    """The encoding of a text file.

    Args:
        head: its first bytes.
        options: may name it.
        path: the file, where it can be read again.
    """
    if options.encoding:
        return "utf-8-sig" if codecs.lookup(options.encoding).name == "utf-8" else options.encoding
    marked = next((name for mark, name in BYTE_ORDER_MARKS.items() if head.startswith(mark)), None)
    if not marked and options.usual_encoding and not (_can_decode(path, "utf-8") if path else _is_utf8(head)):
        return options.usual_encoding
    return marked or "utf-8-sig"


def _is_utf8(head: bytes) -> bool:
    """Whether the first bytes of a stream are UTF-8; the last character may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def is_blank(text: str) -> bool:
    """Whether a line has nothing but spaces."""
    return not text.strip(" \r\n")


def unreadable(path: Path, error: OSError) -> InputError:
    """The error of a file that the system does not let us read."""
    return InputError(f"{path}: cannot be read ({error.strerror or error}); check the path and its permissions")


def _lines(file: BinaryIO, name: Path | str, encoding: str, options: ReadOptions) -> Iterator[Line]:
    head = file.peek(HEAD)
    text_file = io.TextIOWrapper(file, encoding, "surrogateescape", _line_end(head, encoding))
    fault_of = functools.partial(_byte_fault, encoding, _Advice(name, head, options))
    number = 0
    try:
        for number, text in enumerate(text_file, 1):
            text = text.removeprefix("\ufeff") if number == 1 else text
            yield Line(number, text, fault_of(text))
    except UnicodeError as error:
        reason = getattr(error, "reason", error)
        other = f"; name its encoding with --encoding, such as {_utf_16(head) or 'cp1252'}" if options.named else ""
        raise InputError(f"{name}: is not {encoding} after line {number} ({reason}){other}") from None
    finally:
        # Whoever opened the file closes it.
        with contextlib.suppress(ValueError):
            text_file.detach()


def _line_end(head: bytes, encoding: str) -> str:
    """The end of the first line: in a file of LF or CRLF lines a CR is part of a text, not the end of a line."""
    text = ""
    with contextlib.suppress(UnicodeError):
        text = codecs.getincrementaldecoder(encoding)("ignore").decode(head)
    first = re.search("\r\n?|\n", text)
    return "\r" if first and first[0] == "\r" else "\n"


class _Advice:
    """What to do about bytes that do not fit the encoding; the file is looked through when it is first needed.

    Args:
        name: the file, or the name of a stream.
        head: its first bytes.
        options: tell whether an encoding can be named.
    """

    def __init__(self, name: Path | str, head: bytes, options: ReadOptions):
        self._name, self._head, self._options = name, head, options

    @functools.cached_property
    def of_byte(self) -> str:
        """For a byte that is not text in the encoding."""
        if not self._options.named:
            return "save the file as UTF-8"
        fits = isinstance(self._name, str) or _can_decode(self._name, "cp1252")
        other = next(each for each in ("cp1252", "latin-1") if fits or each == "latin-1")
        return f"save the file as UTF-8, or name its encoding, such as --encoding {other}"

    @functools.cached_property
    def of_nul(self) -> str:
        """For a NUL byte."""
        encoding = _utf_16(self._head)
        if not encoding:
            return "remove it"
        return f"name the file's encoding: --encoding {encoding}" if self._options.named else "save the file as UTF-8"


def _byte_fault(encoding: str, advice: _Advice, text: str) -> str | None:
    if not text.isascii() and (broken := _BROKEN_BYTE.search(text)):
        byte, name = f"(0x{ord(broken[0]) & 0xFF:02x})", "UTF-8" if encoding == "utf-8-sig" else encoding
        place = f"byte {len(text[: broken.start()].encode()) + 1}" if name == "UTF-8" else "a byte"
        return f"{place} {byte} is not {name}; {advice.of_byte}"
    if "\0" in text:
        return f"holds a NUL byte; {advice.of_nul}"
    return None


def _utf_16(head: bytes) -> str | None:
    """UTF-16 without a byte order mark, where every other byte of most of the characters is NUL."""
    for start, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(head) > 1 and head[start::2].count(0) > 0.6 * len(head[start::2]) > head[1 - start :: 2].count(0):
            return encoding
    return None


def _can_decode(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with opened(path) as file:
            while chunk := file.read(2**20):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True
