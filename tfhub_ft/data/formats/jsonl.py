"""JSON: an object a line, objects over several lines, or a list of objects."""

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tfhub_ft.data.columns import Column, kind_of
from tfhub_ft.data.formats.lines import Line, is_blank, read_lines
from tfhub_ft.data.formats.source import ReadOptions, Record, Source
from tfhub_ft.utils.errors import InputError

# Characters that are read at once, and the most of one object, of the first one and of any.
CHUNK, FIRST, MOST = 2**16, 2**22, 2**26
_BETWEEN = re.compile(r"[\s,]*")


def open_jsonl(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """A jsonl file: an object a line; or, as its first line says, objects over several lines, or a list of them.

    The first object that has every column settles the keys that are read.
    """
    first = first_text(path, options)
    if first.startswith("[") or (first.startswith("{") and not _is_whole(first) and _goes_over_lines(path, options)):
        return Source(path, partial(_values, path, options), unit="row")
    return Source(path, partial(_lines, path, options))


def first_text(path: Path, options: ReadOptions) -> str:
    """The first line of a file that is not blank, without white space around it."""
    return next((line.text.strip() for line in read_lines(path, options) if not is_blank(line.text)), "")


def _is_whole(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _goes_over_lines(path: Path, options: ReadOptions) -> bool:
    """Whether the first object of a file ends after its first line."""
    try:
        _, record, _ = next(_values(path, options, most=FIRST))
    except (InputError, StopIteration):
        return False
    return record is not None


def _lines(path: Path, options: ReadOptions) -> Iterator[Record]:
    for number, text, fault in read_lines(path, options):
        if not is_blank(text):
            yield number, *((None, fault) if fault else _parsed_object(text))


def _parsed_object(text: str) -> tuple[dict | None, str | None]:
    """The object of a json line, or what is wrong with the line."""
    try:
        value = json.loads(text.rstrip("\r\n"))
    except json.JSONDecodeError as error:
        return None, f"is not valid JSON at column {error.colno} ({error.msg}); is the line cut off?"
    except (ValueError, RecursionError) as error:
        return None, f"is JSON that cannot be read ({error})"
    return _object(value)


def _object(value: Any) -> tuple[dict | None, str | None]:
    return (value, None) if isinstance(value, dict) else (None, f"is {kind_of(value)}, not a JSON object")


def _values(path: Path, options: ReadOptions, most: int = MOST) -> Iterator[Record]:
    """The objects of a list, or one after the other, counted from 1; none may have more characters than `most`."""
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
        yield number, *((None, fault) if fault else _object(value))
    if in_list and not character:
        raise InputError(f"{path}: its list is not closed; is the file cut off?")
    text.skip(1)
    if in_list and text.peek():
        raise InputError(f"{path}, line {text.line}: text follows the end of the list; leave it out")


class _Text:
    """Text that is read from lines as far as it is needed.

    Args:
        lines: of the file.
    """

    def __init__(self, lines: Iterator[Line]):
        self._lines, self._decoder = lines, json.JSONDecoder()
        self._buffer, self._place, self.line = "", 0, 1
        self._faults: list[tuple[int, str]] = []

    def peek(self) -> str:
        """The next character that is neither white space nor a comma; "" at the end."""
        while True:
            self.skip(_BETWEEN.match(self._buffer, self._place).end() - self._place)
            if self._place < len(self._buffer) or not self._read():
                return self._buffer[self._place : self._place + 1]

    def skip(self, count: int) -> None:
        """Skip characters."""
        self.line += self._buffer.count("\n", self._place, self._place + count)
        self._place += count

    def value(self, most: int) -> tuple[Any, str | None]:
        """The next JSON value, and what is wrong with the bytes of its lines.

        Raises:
            ValueError: it is not JSON, or has more characters than `most`.
        """
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._place)
                break
            except json.JSONDecodeError:
                if len(self._buffer) - self._place > most or not self._read():
                    raise
        start = self.line
        self.skip(end - self._place)
        fault = next((fault for line, fault in self._faults if start <= line <= self.line), None)
        self._faults = [each for each in self._faults if each[0] > self.line]
        return value, fault

    def _read(self) -> bool:
        """Read as much again as is waiting, or a chunk; False at the end."""
        wanted = max(CHUNK, len(self._buffer) - self._place)
        parts = []
        while wanted > 0 and (line := next(self._lines, None)):
            parts.append(line.text)
            wanted -= len(line.text)
            if line.fault:
                self._faults.append((line.number, line.fault))
        self._buffer, self._place = "".join(itertools.chain([self._buffer[self._place :]], parts)), 0
        return bool(parts)
