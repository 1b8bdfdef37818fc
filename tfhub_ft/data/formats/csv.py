"""Tables: csv files, with quotes, and tsv files, without."""

import csv
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.lines import Line, is_blank, read_lines
from tfhub_ft.data.formats.source import Record, Source, first_record
from tfhub_ft.errors import InputError

# Far above any text, and still small enough that a quote left open near the top of a huge file cannot fill the memory.
FIELD_LIMIT = 2**22

# The fields of a csv row that are followed by a comma, and a field whose quote is not closed.
_CLOSED_FIELDS = re.compile(r'(?:(?:"[^"]*(?:""[^"]*)*"|[^",\r\n][^,\r\n]*)?,)*')
_OPEN_FIELD = re.compile(r'"[^"]*(?:""[^"]*)*')

# A row's line, its fields, and what is wrong with it; one of the last two is None.
_Fields = tuple[int, list[str] | None, str | None]


def open_csv(path: Path, columns: Sequence[Column]) -> Source:
    """A csv file: a header line, then rows as in RFC 4180; quoted fields may hold commas, doubled quotes, line ends."""
    return _open_table(path, _csv_fields, "a comma that is not in quotes")


def open_tsv(path: Path, columns: Sequence[Column]) -> Source:
    """A tsv file: a header line, then rows of fields between tabs.

    There is no quoting: a quote is a character like any other. The format has none, and the many tsv files with a lone
    quote in a text would lose rows to a reader that pairs them.
    """
    return _open_table(path, _tsv_fields, "a tab")


def _open_table(path: Path, fields: Callable[[Path], Iterator[_Fields]], separator: str) -> Source:
    header = first_record(path, fields(path))
    return Source(path, partial(_records, path, fields, header, separator), names=header)


def _records(
    path: Path, fields: Callable[[Path], Iterator[_Fields]], header: list[str], separator: str
) -> Iterator[Record]:
    for line, values, fault in itertools.islice(fields(path), 1, None):
        if not fault and len(values) != len(header):
            fault = f"has {len(values)} of {len(header)} fields"
            fault += f"; is there {separator} in a text?" if len(values) > len(header) else ""
        yield line, None if fault else dict(zip(header, values)), fault


def _csv_fields(path: Path) -> Iterator[_Fields]:
    # The limit is one for the process; it is only ever raised, so that no other reader's rows turn bad.
    csv.field_size_limit(max(csv.field_size_limit(), FIELD_LIMIT))
    taken: list[Line] = []

    def texts() -> Iterator[str]:
        for line in read_lines(path):
            taken.append(line)
            yield line.text.replace("\0", "\ufffd")  # Python 3.10 stops at a NUL

    parser = csv.reader(texts(), strict=True)
    while True:
        taken.clear()
        try:
            fields = next(parser)
        except StopIteration:
            return
        except csv.Error as error:
            yield _quoting_fault(path, taken, str(error))
            continue
        if not is_blank(taken[0].text):
            broken = next((line for line in taken if line.fault), None)
            yield (broken.number, None, broken.fault) if broken else (taken[0].number, fields, None)


def _quoting_fault(path: Path, taken: list[Line], error: str) -> _Fields:
    """The record of the lines that csv refuses; an InputError where nobody can tell the rows after them apart."""
    start, last = taken[0].number, taken[-1].number
    if "new-line character" in error:
        return last, None, "a carriage return is in the middle; put the field that holds it in quotes"
    if "expected after" in error:
        end = f" in line {last}" if last > start else ""
        return start, None, f'text follows a closing quote{end}; double each quote that belongs to a text ("")'
    opened = _open_quote(taken)
    if opened is None:
        return start, None, f"a field has more than {FIELD_LIMIT} characters"
    advice = 'close it, or double it if it belongs to the text ("")'
    if opened < last:
        raise InputError(f"{path}, line {opened}: a quote opens here and is still open in line {last}; {advice}")
    return opened, None, f"a quote opens here and is never closed; {advice}"


def _open_quote(taken: list[Line]) -> int | None:
    """The line in which the quote opens that a row's lines leave open, if they do."""
    text = "".join(line.text for line in taken)
    place = _CLOSED_FIELDS.match(text).end()
    if not _OPEN_FIELD.fullmatch(text, place):
        return None
    ends = itertools.accumulate(len(line.text) for line in taken)
    return next(line.number for line, end in zip(taken, ends, strict=True) if place < end)


def _tsv_fields(path: Path) -> Iterator[_Fields]:
    for number, text, fault in read_lines(path):
        if not is_blank(text):
            yield number, None if fault else text.rstrip("\r\n").split("\t"), fault
