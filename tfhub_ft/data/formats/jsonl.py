"""Read JSON objects, one per line or several, or in a list."""

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tfhub_ft.data.columns import Column, kind_of
from tfhub_ft.data.formats.lines import Line, is_blank, read_lines
from tfhub_ft.data.formats.source import ReadOptions, Record, Source
from tfhub_ft.utils.errors import InputError

# Characters that are read at once, and the most of the first object and of any object.
CHUNK, MOST_OF_FIRST, MOST = 2**16, 2**22, 2**26
_BETWEEN = re.compile(r"[\s,]*")


def open_jsonl(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """Open a jsonl file: an object per line or, if its first line says so, objects over several lines or a list."""
    first = first_text(path, options)
    if first.startswith("[") or (first.startswith("{") and not _is_json(first) and _spans_lines(path, options)):
        return Source(path, partial(_values, path, options), unit="row")
    return Source(path, partial(_lines, path, options))


def first_text(path: Path, options: ReadOptions) -> str:
    """Return the first line of a file that is not blank, stripped."""
    return next((line.text.strip() for line in read_lines(path, options) if not is_blank(line.text)), "")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _spans_lines(path: Path, options: ReadOptions) -> bool:
    """Return whether the first object of a file ends after its first line."""
    try:
        return next(_values(path, options, most=MOST_OF_FIRST)).values is not None
    except (InputError, StopIteration):
        return False


def _lines(path: Path, options: ReadOptions) -> Iterator[Record]:
    for number, text, fault in read_lines(path, options):
        if not is_blank(text):
            yield Record(number, None, fault) if fault else _parse_line(number, text)


def _parse_line(number: int, text: str) -> Record:
    try:
        return _object_record(number, json.loads(text.rstrip("\r\n")))
    except json.JSONDecodeError as error:
        fault = f"is not valid JSON at column {error.colno} ({error.msg}); is the line cut off?"
    except (ValueError, RecursionError) as error:
        fault = f"is JSON that cannot be read ({error})"
    return Record(number, None, fault)


def _object_record(number: int, value: object) -> Record:
    if isinstance(value, dict):
        return Record(number, value)
    return Record(number, None, f"is {kind_of(value)}, not a JSON object")


def _values(path: Path, options: ReadOptions, most: int = MOST) -> Iterator[Record]:
    """Yield the objects of a list or of a file, numbered from 1; none may have more than `most` characters."""
    text = _Text(read_lines(path, options))
    in_list, number = text.peek() == "[", 0
    if in_list:
        text.skip(1)
    while (character := text.peek()) and not (in_list and character == "]"):
        number += 1
        try:
            value, fault = text.value(most)
        except json.JSONDecodeError as error:
            message = f"is not valid JSON ({error.msg}); is the file cut off?"
            raise InputError(f"{path}, line {text.line}: {message}") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {text.line}: is JSON that cannot be read ({error})") from None
        yield Record(number, None, fault) if fault else _object_record(number, value)
    if in_list and not character:
        raise InputError(f"{path}: its list is not closed; is the file cut off?")
    text.skip(1)
    if in_list and text.peek():
        raise InputError(f"{path}, line {text.line}: text follows the end of the list; remove it")


class _Text:
    """The text of lines, read as it is needed."""

    def __init__(self, lines: Iterator[Line]):
        self._lines, self._decoder = lines, json.JSONDecoder()
        self._buffer, self._position, self.line = "", 0, 1
        self._faults: list[tuple[int, str]] = []

    def peek(self) -> str:
        """Return the next character that is neither white space nor a comma; "" at the end."""
        while True:
            if between := _BETWEEN.match(self._buffer, self._position):
                self.skip(between.end() - self._position)
            if self._position < len(self._buffer) or not self._read():
                return self._buffer[self._position : self._position + 1]

    def skip(self, count: int) -> None:
        """Skip characters."""
        self.line += self._buffer.count("\n", self._position, self._position + count)
        self._position += count

    def value(self, most: int) -> tuple[object, str | None]:
        """Return the next JSON value, of at most `most` characters, and what is wrong with the bytes of its lines."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._position)
                break
            except json.JSONDecodeError:
                if len(self._buffer) - self._position > most or not self._read():
                    raise
        start = self.line
        self.skip(end - self._position)
        fault = next((fault for line, fault in self._faults if start <= line <= self.line), None)
        self._faults = [(line, fault) for line, fault in self._faults if line > self.line]
        return value, fault

    def _read(self) -> bool:
        """Double the text that is waiting, or read a chunk; return False at the end."""
        missing = max(CHUNK, len(self._buffer) - self._position)
        parts = []
        while missing > 0 and (line := next(self._lines, None)):
            parts.append(line.text)
            missing -= len(line.text)
            if line.fault:
                self._faults.append((line.number, line.fault))
        self._buffer, self._position = "".join(itertools.chain([self._buffer[self._position :]], parts)), 0
        return bool(parts)
