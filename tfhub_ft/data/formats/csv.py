"""Read csv and tsv files with any delimiter, quotes and header."""

import contextlib
import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tfhub_ft.data.columns import Column, has_columns
from tfhub_ft.data.formats.lines import Line, is_blank, read_lines
from tfhub_ft.data.formats.source import ReadOptions, Record, Source, delimiter_advice
from tfhub_ft.utils.errors import InputError

# Longer than any text, and small enough that an open quote near the top of a huge file does not fill the memory.
FIELD_LIMIT = 2**22
# Lines and characters at the start of a file that its delimiter is detected from.
LINES_EXAMINED, CHARACTERS_EXAMINED = 200, 2**18
DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}

# The first line from which Excel reads the delimiter.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
# A first field in quotes, and what is between it and a second one.
_AFTER_QUOTES = re.compile(r' *"[^"]*(?:""[^"]*)*"([^\w"\r\n]) *"')
# A field in quotes without the closing quote, and the spaces before it.
_SPACED_FIELD = re.compile(r'( *)"[^"]*(?:""[^"]*)*')
_OPEN_FIELD = re.compile(r'"[^"]*(?:""[^"]*)*')
_TSV_FIELD = r'(?:"([^"]*(?:""[^"]*)*)"|[^"\t\r\n]*)'
_TSV_RECORD = re.compile(rf"{_TSV_FIELD}(?:\t{_TSV_FIELD})*[\r\n]*")
_TSV_FIELDS = re.compile(rf"(?:^|\t){_TSV_FIELD}")


class _Fields(NamedTuple):
    """The line and the fields of a row (none of a blank line), or what is wrong with it."""

    line: int
    fields: list[str]
    fault: str | None = None


def open_csv(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """Open a csv file as in RFC 4180: a quoted field may contain delimiters, doubled quotes and line ends.

    The delimiter is the one in a first line such as sep=;, otherwise the one with which the header has the columns and
    the rows have as many fields as the header.
    """
    return _open_table(path, columns, options, tuple(DELIMITERS), quoted=True)


def open_tsv(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """Open a tsv file, whose fields are separated by tabs.

    A quote is an ordinary character: pairing quotes would lose rows of the many files with a lone quote in a text.
    Fields are read as in a csv file only if all quotes are as pandas and the csv module write them, around whole
    fields and doubled inside, and some of them are needed.
    """
    return _open_table(path, columns, options, ("\t", *(each for each in DELIMITERS if each != "\t")), quoted=False)


@dataclass(frozen=True)
class _Table:
    """How to read a table: `spaced` drops the spaces after delimiters, `skipped` is the number of lines before it."""

    path: Path
    options: ReadOptions
    delimiter: str
    quoted: bool
    spaced: bool
    skipped: int

    def lines(self) -> Iterator[Line]:
        return itertools.islice(read_lines(self.path, self.options), self.skipped, None)

    def rows(self) -> Iterator[_Fields]:
        """Yield the rows from the first one that is not empty, including the header."""
        return itertools.dropwhile(lambda row: not row.fault and _is_empty(row.fields), self._all_rows())

    def _all_rows(self) -> Iterator[_Fields]:
        return _quoted_rows(self) if self.quoted else _plain_rows(self)

    def records(self, header: list[str]) -> Iterator[Record]:
        rows = itertools.islice(self.rows(), 1, None) if self.options.header else self._all_rows()
        width = len(header)
        for line, fields, fault in rows:
            if fault:
                yield Record(line, None, fault)
            elif _is_empty(fields):
                # A blank line is an empty field only if there is a single column.
                if self.options.keep_blank and (fields or width == 1):
                    yield Record(line, dict.fromkeys(header, ""))
            elif len(fields) == width or (len(fields) > width and _is_empty(fields[width:])):
                yield Record(line, dict(zip(header, fields)))
            else:
                yield Record(line, None, self._width_fault(len(fields), width))

    def _width_fault(self, count: int, width: int) -> str:
        fault = f"has {count} of {width} fields"
        if count < width:
            return fault
        delimiter = DELIMITERS.get(self.delimiter, repr(self.delimiter))
        return f"{fault}; is there {delimiter}{' that is not in quotes' if self.quoted else ''} in a text?"


def _open_table(
    path: Path, columns: Sequence[Column], options: ReadOptions, delimiters: Sequence[str], *, quoted: bool
) -> Source:
    lines, size = [], 0
    for line in itertools.islice(read_lines(path, options), LINES_EXAMINED):
        lines.append(line)
        size += len(line.text)
        if size > CHARACTERS_EXAMINED:
            break
    separator = _SEPARATOR_LINE.fullmatch(lines[0].text) if lines else None
    named = options.delimiter or (separator[1] if separator else None)
    texts = [line.text for line in lines[1 if separator else 0 :] if not is_blank(line.text)]
    head = _Head(texts, cut=len(lines) == LINES_EXAMINED or size > CHARACTERS_EXAMINED)
    delimiter = named or _detect_delimiter(head, columns, options, delimiters)
    delimiter = delimiter or options.usual_delimiter or delimiters[0]
    notes = []
    if not quoted:
        quoted = delimiter != "\t" or _has_quoted_fields(path, options)
        if delimiter == "\t" and quoted:
            notes.append("fields in quotes are read as in a csv file; every quote of the file is as pandas writes it")
    spaced = quoted and head.is_spaced(delimiter)
    table = _Table(path, options, delimiter, quoted, spaced, skipped=1 if separator else 0)
    if delimiter != delimiters[0] and not named:
        notes.append(f"read with the delimiter {delimiter!r}")
    if spaced:
        notes.append("the spaces after delimiters are left out: a quote follows them")
    header = _header(table, head)
    return Source(
        path,
        lambda: table.records(header),
        header,
        has_header=options.header,
        delimiter=delimiter,
        delimiter_named=bool(options.delimiter),
        notes=tuple(notes),
    )


def _header(table: _Table, head: "_Head") -> list[str]:
    """Return the column names, without the empty ones that spreadsheets leave at the end."""
    row = next(table.rows(), None)
    if row is None:
        raise InputError(f"{table.path}: no rows found")
    if row.fault:
        quotes = _AFTER_QUOTES.match(head.texts[0])
        advice = f"; or, {delimiter_advice(quotes[1])}" if quotes and table.options.named else ""
        raise InputError(f"{table.path}, line {row.line}: {row.fault}{advice}")
    names = row.fields
    if not table.options.header:
        return numbered_names(len(names))
    while len(names) > 1 and not names[-1].strip():
        names.pop()
    return [name.strip() for name in names] if table.spaced else names


def numbered_names(count: int) -> list[str]:
    """Return the column names of a table without a header."""
    return [str(number) for number in range(1, count + 1)]


@dataclass(frozen=True)
class _Head:
    """The first lines of a table, with their line ends, and whether more may follow."""

    texts: Sequence[str]
    cut: bool

    def rows(self, delimiter: str) -> Iterator[list[str]]:
        """Yield the fields of the lines, until one cannot be parsed."""
        lines, spaced = (text.replace("\0", "\ufffd") for text in self.texts), self.is_spaced(delimiter)
        with contextlib.suppress(csv.Error):
            yield from csv.reader(lines, delimiter=delimiter, skipinitialspace=spaced)

    def is_spaced(self, delimiter: str) -> bool:
        """Return whether fields in quotes follow spaces, as in `a, "b, c"`, and all such quotes enclose fields."""
        if delimiter == " ":
            return False
        text, is_spaced, position = "".join(self.texts), False, 0
        ends = rf"{re.escape(delimiter)}\r\n"
        closing, unquoted = re.compile(rf'"(?:[{ends}]|\Z)'), re.compile(rf"[^{ends}]*[{ends}]?")
        while position < len(text):
            field = _SPACED_FIELD.match(text, position)
            if field and (end := closing.match(text, field.end())):
                is_spaced = is_spaced or bool(field[1] and text[position - 1 : position] == delimiter)
                position = end.end()
            elif field and field[1]:
                return is_spaced and self.cut and field.end() == len(text)
            elif end := unquoted.match(text, position):
                position = end.end()
        return is_spaced


def _detect_delimiter(
    head: _Head, columns: Sequence[Column], options: ReadOptions, delimiters: Sequence[str]
) -> str | None:
    """Return the delimiter that gives the columns and rows of equal width; None if the header has one field only."""
    best, best_fit = None, (False, 0.0)
    for delimiter in delimiters:
        rows = [row for row in head.rows(delimiter) if not _is_empty(row)]
        if not rows or len(rows[0]) < 2:
            continue
        names = rows[0] if options.header else numbered_names(len(rows[0]))
        fit = (has_columns(names, columns), sum(len(row) == len(rows[0]) for row in rows) / len(rows))
        if fit > best_fit:
            best, best_fit = delimiter, fit
    return best


def _is_empty(fields: Sequence[str]) -> bool:
    return not any(map(str.strip, fields))


def _has_quoted_fields(path: Path, options: ReadOptions) -> bool:
    """Return whether all quotes of a tsv file enclose whole fields, are doubled inside, and some are needed."""
    parts: list[str] = []
    is_open, size, needed = False, 0, False
    for number, text, _ in read_lines(path, options):
        if not is_open and '"' not in text:
            continue
        parts.append(text)
        size += len(text)
        is_open ^= bool(text.count('"') % 2)
        if is_open and size <= FIELD_LIMIT:
            continue
        record = "".join(parts)
        if is_open or not _TSV_RECORD.fullmatch(record):
            return False
        # A header is in quotes if all fields are.
        needed = needed or number == 1 or any(set(field) & set('"\t\r\n') for field in _TSV_FIELDS.findall(record))
        parts, size = [], 0
    return needed and not is_open


def _quoted_rows(table: _Table) -> Iterator[_Fields]:
    # The limit is global to the process; it is only raised, so that rows of other readers stay valid.
    csv.field_size_limit(max(csv.field_size_limit(), FIELD_LIMIT))
    lines: list[Line] = []

    def texts() -> Iterator[str]:
        for line in table.lines():
            lines.append(line)
            yield line.text.replace("\0", "\ufffd")  # Python 3.10 stops at a NUL

    parser = csv.reader(texts(), delimiter=table.delimiter, skipinitialspace=table.spaced, strict=True)
    while True:
        lines.clear()
        try:
            fields = next(parser)
        except StopIteration:
            return
        except csv.Error as error:
            bad = _quoting_fault(table, lines, str(error))
            yield bad
            # Each of the other lines may be a row that the quote has swallowed.
            for line in lines:
                if line.number != bad.line:
                    yield _Fields(line.number, [], f"is inside the quotes that open in line {lines[0].number}")
            continue
        if is_blank(lines[0].text):
            yield _Fields(lines[0].number, [])
            continue
        broken = next((line for line in lines if line.fault), None)
        yield _Fields(broken.number, [], broken.fault) if broken else _Fields(lines[0].number, fields)


def _quoting_fault(table: _Table, lines: list[Line], error: str) -> _Fields:
    """Return the fault of lines that csv refuses; raise an InputError if the following rows are unclear."""
    start, last = lines[0].number, lines[-1].number
    if "new-line character" in error:
        return _Fields(last, [], "a carriage return is in the middle; put the field that contains it in quotes")
    if "expected after" in error:
        end = f" in line {last}" if last > start else ""
        return _Fields(start, [], f'text follows a closing quote{end}; double each quote that belongs to a text ("")')
    line = _open_quote(table, lines)
    if line is None:
        return _Fields(start, [], f"a field has more than {FIELD_LIMIT} characters")
    advice = 'close it, or double it if it belongs to the text ("")'
    if line < last:
        raise InputError(f"{table.path}, line {line}: a quote opens here and is still open in line {last}; {advice}")
    return _Fields(line, [], f"a quote opens here and is never closed; {advice}")


def _open_quote(table: _Table, lines: list[Line]) -> int | None:
    """Return the line of the opening quote that a row's lines do not close; None if there is none."""
    text, between = "".join(line.text for line in lines), re.escape(table.delimiter)
    spaces, space = (" *", " ") if table.spaced else ("", "")
    field = rf'"[^"]*(?:""[^"]*)*"|[^"{space}{between}\r\n][^{between}\r\n]*'
    fields = re.match(rf"(?:{spaces}(?:{field})?{between})*{spaces}", text)
    position = fields.end() if fields else 0
    if not _OPEN_FIELD.fullmatch(text, position):
        return None
    ends = itertools.accumulate(len(line.text) for line in lines)
    return next(line.number for line, end in zip(lines, ends, strict=True) if position < end)


def _plain_rows(table: _Table) -> Iterator[_Fields]:
    for number, text, fault in table.lines():
        fields = [] if is_blank(text) else text.rstrip("\r\n").split(table.delimiter)
        yield _Fields(number, [] if fault else fields, fault)
