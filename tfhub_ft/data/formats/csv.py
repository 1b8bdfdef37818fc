"""Tables: csv and tsv files, with any delimiter, with and without quotes or a header."""

import contextlib
import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfhub_ft.data.columns import Column, find_columns
from tfhub_ft.data.formats.lines import Line, is_blank, read_lines
from tfhub_ft.data.formats.source import ReadOptions, Record, Source, delimiter_advice
from tfhub_ft.utils.errors import InputError

# Far above any text, and still small enough that a quote left open near the top of a huge file cannot fill the memory.
FIELD_LIMIT = 2**22
# Lines and characters at the start of a file that tell its delimiter.
LINES_EXAMINED, CHARACTERS_EXAMINED = 200, 2**18
DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}

# The first line that Excel reads the delimiter from.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
# A first field in quotes, and what is between it and a second one.
_AFTER_QUOTES = re.compile(r' *"[^"]*(?:""[^"]*)*"([^\w"\r\n]) *"')
# A field in quotes but for the last one, and the spaces before it.
_SPACED_FIELD = re.compile(r'( *)"[^"]*(?:""[^"]*)*')
_OPEN_FIELD = re.compile(r'"[^"]*(?:""[^"]*)*')
_TSV_FIELD = r'(?:"([^"]*(?:""[^"]*)*)"|[^"\t\r\n]*)'
_TSV_RECORD = re.compile(rf"{_TSV_FIELD}(?:\t{_TSV_FIELD})*[\r\n]*")
_TSV_FIELDS = re.compile(rf"(?:^|\t){_TSV_FIELD}")

# A row's line, its fields (none of a blank line), and what is wrong with it; one of the last two is None.
_Fields = tuple[int, list[str] | None, str | None]


def open_csv(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """A csv file: rows as in RFC 4180. A quoted field may hold delimiters, doubled quotes and line ends.

    The delimiter is the one in a first line such as sep=; or the one by which the header has the columns, and
    the rows as many fields as the header.
    """
    return _open_table(path, columns, options, tuple(DELIMITERS), quoted=True)


def open_tsv(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """A tsv file: rows of fields between tabs.

    A quote is a character like any other, since the many tsv files with a lone quote in a text would lose rows to a
    reader that pairs them. Only where every quote of the file is as pandas and the csv module write it, around whole
    fields and doubled within, and not all of them could be left out, the fields are read as in a csv file.
    """
    return _open_table(path, columns, options, ("\t", *(each for each in DELIMITERS if each != "\t")), quoted=False)


@dataclass(frozen=True)
class _Table:
    """How a table is read.

    Args:
        path: the file.
        options: of the file.
        delimiter: between fields.
        quoted: whether fields may be in quotes.
        spaced: whether the spaces after a delimiter do not belong to the field.
        skipped: lines at the start of the file that are not part of the table.
    """

    path: Path
    options: ReadOptions
    delimiter: str
    quoted: bool
    spaced: bool
    skipped: int

    def lines(self) -> Iterator[Line]:
        return itertools.islice(read_lines(self.path, self.options), self.skipped, None)

    def rows(self) -> Iterator[_Fields]:
        """The rows of the file, its header among them, from the first one on that has something in it."""
        return itertools.dropwhile(lambda row: row[1] is not None and _is_empty(row[1]), self._all_rows())

    def _all_rows(self) -> Iterator[_Fields]:
        return _quoted_rows(self) if self.quoted else _plain_rows(self)

    def records(self, header: list[str]) -> Iterator[Record]:
        rows = self._all_rows()
        if self.options.header:
            rows = itertools.islice(self.rows(), 1, None)
        width = len(header)
        for line, fields, fault in rows:
            if fault:
                yield line, None, fault
            elif not any(map(str.strip, fields)):
                # A blank line is an empty field only where there is a single column.
                if self.options.keep_blank and (fields or width == 1):
                    yield line, dict.fromkeys(header, ""), None
            elif len(fields) == width or (len(fields) > width and _is_empty(fields[width:])):
                yield line, dict(zip(header, fields)), None
            else:
                yield line, None, self._width_fault(len(fields), width)

    def _width_fault(self, found: int, wanted: int) -> str:
        fault = f"has {found} of {wanted} fields"
        if found < wanted:
            return fault
        named = DELIMITERS.get(self.delimiter, repr(self.delimiter))
        return f"{fault}; is there {named}{' that is not in quotes' if self.quoted else ''} in a text?"


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
    found = named or _delimiter(head, columns, options, delimiters) or options.usual_delimiter or delimiters[0]
    notes = []
    if not quoted:
        quoted = found != "\t" or _has_quoted_fields(path, options)
        if found == "\t" and quoted:
            notes.append("fields in quotes are read as in a csv file; every quote of the file is as pandas writes it")
    spaced = quoted and head.is_spaced(found)
    table = _Table(path, options, found, quoted, spaced, skipped=1 if separator else 0)
    if found != delimiters[0] and not named:
        notes.append(f"read with the delimiter {found!r}")
    if spaced:
        notes.append("the spaces after delimiters are left out: a quote follows them")
    header = _header(table, head)
    return Source(
        path,
        lambda: table.records(header),
        header,
        has_header=options.header,
        delimiter=found,
        delimiter_named=bool(options.delimiter),
        notes=tuple(notes),
    )


def _header(table: _Table, head: "_Head") -> list[str]:
    """The names of the columns; empty ones at the end, as spreadsheets leave them, are none."""
    number, fields, fault = next(table.rows(), (0, None, None))
    if fault:
        other = _AFTER_QUOTES.match(head.texts[0])
        advice = f"; or, {delimiter_advice(other[1])}" if other and table.options.named else ""
        raise InputError(f"{table.path}, line {number}: {fault}{advice}")
    if fields is None:
        raise InputError(f"{table.path}: no rows found")
    if not table.options.header:
        return [str(place) for place in range(1, len(fields) + 1)]
    while len(fields) > 1 and not fields[-1].strip():
        fields.pop()
    return [name.strip() for name in fields] if table.spaced else fields


@dataclass(frozen=True)
class _Head:
    """The first lines of a table.

    Args:
        texts: the lines, their ends included.
        cut: whether others may follow.
    """

    texts: Sequence[str]
    cut: bool

    def rows(self, delimiter: str) -> Iterator[list[str]]:
        """The fields of the lines, as far as they can be parsed."""
        lines, spaced = (text.replace("\0", "\ufffd") for text in self.texts), self.is_spaced(delimiter)
        with contextlib.suppress(csv.Error):
            yield from csv.reader(lines, delimiter=delimiter, skipinitialspace=spaced)

    def is_spaced(self, delimiter: str) -> bool:
        """Whether fields in quotes follow spaces, as in `a, "b, c"`: every quote after such spaces encloses a field."""
        if delimiter == " ":
            return False
        text, found, place = "".join(self.texts), False, 0
        ends = rf"{re.escape(delimiter)}\r\n"
        closing, unquoted = re.compile(rf'"(?:[{ends}]|\Z)'), re.compile(rf"[^{ends}]*[{ends}]?")
        while place < len(text):
            field = _SPACED_FIELD.match(text, place)
            if field and (end := closing.match(text, field.end())):
                found = found or bool(field[1] and text[place - 1 : place] == delimiter)
                place = end.end()
            elif field and field[1]:
                return found and self.cut and field.end() == len(text)
            else:
                place = unquoted.match(text, place).end()
        return found


def _delimiter(head: _Head, columns: Sequence[Column], options: ReadOptions, delimiters: Sequence[str]) -> str | None:
    """The delimiter that gives the columns and rows of as many fields; None where the header has one field only.

    Args:
        head: the first lines.
        columns: those that will be read.
        options: tell whether there is a header.
        delimiters: those that may be, the likeliest first.
    """
    best, best_fit = None, (False, 0.0)
    for delimiter in delimiters:
        rows = [row for row in head.rows(delimiter) if not _is_empty(row)]
        if not rows or len(rows[0]) < 2:
            continue
        names = rows[0] if options.header else [str(place) for place in range(1, len(rows[0]) + 1)]
        fit = (_has_columns(names, columns), sum(len(row) == len(rows[0]) for row in rows) / len(rows))
        if fit > best_fit:
            best, best_fit = delimiter, fit
    return best


def _is_empty(fields: Sequence[str]) -> bool:
    return not any(map(str.strip, fields))


def _has_columns(names: Sequence[str], columns: Sequence[Column]) -> bool:
    try:
        find_columns(names, columns)
    except ValueError:
        return False
    return True


def _has_quoted_fields(path: Path, options: ReadOptions) -> bool:
    """Whether all quotes of a tsv file are around whole fields, doubled within, and some of these fields need them."""
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
        # A header is in quotes where all fields are.
        needed = needed or number == 1 or any(set(field) & set('"\t\r\n') for field in _TSV_FIELDS.findall(record))
        parts, size = [], 0
    return needed and not is_open


def _quoted_rows(table: _Table) -> Iterator[_Fields]:
    # The limit is one for the process; it is only ever raised, so that no other reader's rows turn bad.
    csv.field_size_limit(max(csv.field_size_limit(), FIELD_LIMIT))
    taken: list[Line] = []

    def texts() -> Iterator[str]:
        for line in table.lines():
            taken.append(line)
            yield line.text.replace("\0", "\ufffd")  # Python 3.10 stops at a NUL

    parser = csv.reader(texts(), delimiter=table.delimiter, skipinitialspace=table.spaced, strict=True)
    while True:
        taken.clear()
        try:
            fields = next(parser)
        except StopIteration:
            return
        except csv.Error as error:
            line, _, fault = _quoting_fault(table, taken, str(error))
            yield line, None, fault
            # Each may be a row of its own that the quote has taken in.
            for other in taken:
                if other.number != line:
                    yield other.number, None, f"belongs to the quotes of line {taken[0].number}"
            continue
        if is_blank(taken[0].text):
            yield taken[0].number, [], None
            continue
        broken = next((line for line in taken if line.fault), None)
        yield (broken.number, None, broken.fault) if broken else (taken[0].number, fields, None)


def _quoting_fault(table: _Table, taken: list[Line], error: str) -> _Fields:
    """The record of the lines that csv refuses; an InputError where nobody can tell the rows after them apart."""
    start, last = taken[0].number, taken[-1].number
    if "new-line character" in error:
        return last, None, "a carriage return is in the middle; put the field that holds it in quotes"
    if "expected after" in error:
        end = f" in line {last}" if last > start else ""
        return start, None, f'text follows a closing quote{end}; double each quote that belongs to a text ("")'
    line = _open_quote(table, taken)
    if line is None:
        return start, None, f"a field has more than {FIELD_LIMIT} characters"
    advice = 'close it, or double it if it belongs to the text ("")'
    if line < last:
        raise InputError(f"{table.path}, line {line}: a quote opens here and is still open in line {last}; {advice}")
    return line, None, f"a quote opens here and is never closed; {advice}"


def _open_quote(table: _Table, taken: list[Line]) -> int | None:
    """The line in which the quote opens that a row's lines leave open, if they do."""
    text, between = "".join(line.text for line in taken), re.escape(table.delimiter)
    spaces, space = (" *", " ") if table.spaced else ("", "")
    field = rf'"[^"]*(?:""[^"]*)*"|[^"{space}{between}\r\n][^{between}\r\n]*'
    place = re.compile(rf"(?:{spaces}(?:{field})?{between})*{spaces}").match(text).end()
    if not _OPEN_FIELD.fullmatch(text, place):
        return None
    ends = itertools.accumulate(len(line.text) for line in taken)
    return next(line.number for line, end in zip(taken, ends, strict=True) if place < end)


def _plain_rows(table: _Table) -> Iterator[_Fields]:
    for number, text, fault in table.lines():
        fields = [] if is_blank(text) else text.rstrip("\r\n").split(table.delimiter)
        yield number, None if fault else fields, fault
