"""Rows from csv, tsv, jsonl, txt, CoNLL and SQuAD files, checked one by one; all but SQuAD's in bounded memory."""

import csv
import difflib
import gzip
import io
import itertools
import json
import math
import operator
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tfhub_ft.console import say
from tfhub_ft.data.sequences import kept
from tfhub_ft.data.tfrecords import example_records
from tfhub_ft.errors import InputError
from tfhub_ft.files import matching_files

# Far above any text, and still small enough that a quote left open near the top of a huge file cannot fill the memory.
_FIELD_LIMIT = 2**22

_BROKEN_BYTE = re.compile("[\udc80-\udcff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# The fields of a csv row that are followed by a comma, and a field whose quote is not closed.
_CLOSED_FIELDS = re.compile(r'(?:(?:"[^"]*(?:""[^"]*)*"|[^",\r\n][^,\r\n]*)?,)*')
_OPEN_FIELD = re.compile(r'"[^"]*(?:""[^"]*)*')


@dataclass(frozen=True, slots=True)
class Row:
    """One checked row of a file.

    Args:
        line: the physical line of the file that the row starts in, from 1.
        values: the clean values, by the names of the task's fields.
    """

    line: int
    values: dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column that a task reads from its rows.

    Args:
        name: the task's field, which is also the first column name looked for.
        aliases: other column names looked for, in this order, where `column` names none. Case does not matter.
        check: takes the raw value (a str from csv and tsv, any JSON value from jsonl) and returns the clean one, or
            raises a ValueError whose message reads well behind "column 'text' ...", such as "is empty".
        column: the column's name in the user's file, where the user named it.
        option: the command-line option that names the column, for an error's advice.
        instead: the columns that are read in a file that lacks this one.

    Example:
        Column("text", ("sentence", "review"), check_text, option="--text-column")
    """

    name: str
    aliases: tuple[str, ...]
    check: Callable[[Any], Any]
    column: str | None = None
    option: str = ""
    instead: "tuple[Column, ...]" = ()


def without_options(columns: Sequence[Column]) -> list[Column]:
    """The columns as a command reads them that has no options for their names: an error says to rename one."""
    return [replace(column, option="", instead=tuple(without_options(column.instead))) for column in columns]


def check_text(value: Any) -> str:
    """Return a text as it stands.

    Args:
        value: the raw value.

    Returns:
        The value, unchanged.

    Raises:
        ValueError: it is no string, has nothing but white space, or cannot be written as UTF-8.
    """
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("is empty")
        if not value.isascii() and _SURROGATE.search(value):
            raise ValueError("holds half a character (a lone \\ud800 to \\udfff escape), which is not text")
        return value
    raise ValueError(f"is {_kind(value)}, not text")


def check_label(value: Any) -> str:
    """Return a label as a string without white space around it.

    Args:
        value: the raw value. Whole numbers, true and false, as jsonl files hold them, are labels too.

    Returns:
        The label as it is spelled in a csv file: 1 becomes "1", true becomes "true".

    Raises:
        ValueError: it is empty or of another kind.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return check_text(value).strip()
    raise ValueError(f"is {_kind(value)}, not a label; write a text or a whole number")


def check_number(value: Any) -> float:
    """Return a score as a finite float.

    Args:
        value: the raw value, a number or a text of one.

    Raises:
        ValueError: it is no number, or not a finite one.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"is {_kind(value)}, not a number")
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"is {value!r}, not a number" if value.strip() else "is empty") from None
    except OverflowError:
        raise ValueError("is too large a number") from None
    if not math.isfinite(number):
        raise ValueError(f"is {value!r}, not a finite number")
    return number


def check_labels(value: Any) -> tuple[str, ...]:
    """Return a row's labels, each once, as a tuple.

    Args:
        value: a list of labels, as jsonl files hold it; or a text of labels between commas, as csv files do. Both may
            be empty.

    Raises:
        ValueError: it is of another kind, or a label in it is.
    """
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if not isinstance(value, list):
        raise ValueError(f"is {_kind(value)}, not a list of labels")
    return tuple(dict.fromkeys(map(check_label, value)))


RowCheck = Callable[[dict[str, Any]], None]


def check_tokens(value: Any) -> list[str]:
    """Return a row's tokens, which are texts without white space around them.

    Args:
        value: a list of texts, as jsonl files hold it.

    Raises:
        ValueError: it is of another kind or empty, or a token is.
    """
    if not isinstance(value, list):
        raise ValueError(f"is {_kind(value)}, not a list of tokens")
    if not value:
        raise ValueError("is an empty list")
    for number, token in enumerate(value, 1):
        try:
            check_text(token)
        except ValueError as error:
            raise ValueError(f"has a token, number {number}, that {error}") from None
    return [token.strip() for token in value]


def check_bio_tags(value: Any) -> list[str]:
    """Return a row's tags: O, or B- or I- and a kind of entity; an I- goes on with the entity before it.

    Args:
        value: a list of tags.

    Raises:
        ValueError: it is of another kind, or breaks that rule.

    Reference:
        Ramshaw and Marcus 1995, https://aclanthology.org/W95-0107
    """
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise ValueError(f"is {_kind(value)}, not a list of tags" if not isinstance(value, list) else "has no texts")
    before = "O"
    for number, tag in enumerate(value, 1):
        if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) < 3):
            raise ValueError(f"has the tag {tag!r}, number {number}: tags are O, B-KIND and I-KIND")
        if tag.startswith("I-") and before[2:] != tag[2:]:
            raise ValueError(
                f"breaks BIO at tag {number}: {tag} goes on with no entity of its kind (before it stands {before});"
                f" an entity starts with B-{tag[2:]}"
            )
        before = tag
    return list(value)


def check_answers(value: Any) -> list[dict[str, Any]]:
    """Return the answers of a question, {"text", "answer_start"} each; none where it cannot be answered.

    Args:
        value: a list as SQuAD has it, or {"text": [...], "answer_start": [...]}.

    Raises:
        ValueError: it is of another kind.
    """
    if value is None:
        raise ValueError('is missing or empty; a question without an answer says "is_impossible": true')
    if isinstance(value, dict) and isinstance(value.get("text"), list) and isinstance(value.get("answer_start"), list):
        pairs = itertools.zip_longest(value["text"], value["answer_start"])
        value = [{"text": text, "answer_start": start} for text, start in pairs]
    if not isinstance(value, list):
        raise ValueError(f"is {_kind(value)}, not a list of answers")
    for answer in value:
        start = answer.get("answer_start") if isinstance(answer, dict) else None
        if not isinstance(start, int) or isinstance(start, bool) or not isinstance(answer.get("text"), str):
            raise ValueError('has an answer that is no {"text": a text, "answer_start": a whole number}')
        check_text(answer["text"])
    return [{"text": answer["text"], "answer_start": answer["answer_start"]} for answer in value]


def read_rows(
    path: str | os.PathLike,
    columns: Sequence[Column],
    *,
    check: RowCheck | None = None,
    on_bad_row: Callable[[str], None] | None = None,
) -> Iterator[Row]:
    """Read and check the rows of a file, one at a time.

    The file is UTF-8 text, and its suffix tells its format, `.gz` behind it that it is compressed:

    - `.csv`: a header line, then rows as in RFC 4180. A quoted field may hold commas, doubled quotes and line ends.
    - `.tsv`: a header line, then rows of fields between tabs. There is no quoting: a quote is a character like any
      other. The format has none, and the many tsv files with a lone quote in a text would lose rows to a reader that
      pairs them.
    - `.jsonl`, `.ndjson`: a JSON object a line. The first object that has every column settles the keys that are read.
    - `.conll`, `.bio`: a token and its tag a line, the first and the last of the line's columns; a blank line ends a
      row, whose columns are `tokens` and `tags`.
    - `.txt`: a text a line, the column `text`.
    - `.tfrecord`: a tf.train.Example a row, whose features are the columns; its number stands for the line.
    - `.json`: SQuAD 1 or 2; a row is a question, with the columns `question`, `context` and `answers`.

    Blank lines are skipped. Line ends are LF, CRLF or CR.

    Args:
        path: the file.
        columns: the columns to read; others are ignored.
        check: takes a row's clean values, and raises a ValueError where they do not fit together.
        on_bad_row: called with the error message of each bad row, which is then skipped. Without it the first bad
            row is an error. Faults of the file as a whole are errors in any case; a quote that is never closed and
            takes in further lines is one, because nobody can tell how many rows it would skip.

    Yields:
        The good rows, in the file's order.

    Raises:
        InputError: the file cannot be read, has no rows or lacks a column; or a row is bad and `on_bad_row` is None.

    Example:
        columns = [Column("text", ("review",), check_text), Column("label", (), check_label)]
        for row in read_rows("reviews.csv", columns):
            print(row.line, row.values["text"], row.values["label"])
    """
    path = Path(path)
    parse = _parser(path)
    if parse is _text_records and (others := [c.name for c in columns if "text" not in (c.name, *c.aliases, c.column)]):
        raise InputError(
            f"{path}: a .txt file has a text a line, and no {', '.join(others)}; name a table .csv or, if its columns"
            " are parted by tabs, .tsv"
        )
    rows = _table_rows if parse in (_csv_records, _tsv_records) else _object_rows
    empty = True
    for line, cells, fault in rows(path, parse, columns):
        empty = False
        values, fault = (None, fault) if fault else _checked(cells, check)
        if not fault:
            yield Row(line, values)
        elif on_bad_row is None:
            raise InputError(_located(path, line, fault))
        else:
            on_bad_row(_located(path, line, fault))
    if empty:
        raise InputError(f"{path}: has no rows")


def read_all(
    path: str | os.PathLike, columns: Sequence[Column], *, check: RowCheck | None = None, skip_bad_rows: bool = False
) -> Sequence[Row]:
    """Read and check all rows of a file, or of many.

    Args:
        path: the file, as for `read_rows`, or a pattern such as part-*.jsonl.
        columns: the columns to read; others are ignored.
        check: as for `read_rows`.
        skip_bad_rows: leave bad rows out and say on standard error how many there were.

    Returns:
        The rows, in the files' order; at least one. Where they are many they are kept in a temporary file.

    Raises:
        InputError: as in `read_rows`, or no good row is left.

    Example:
        rows = read_all("reviews.csv", [Column("text", (), check_text)], skip_bad_rows=True)
    """
    skipped, first = 0, ""

    def skip(message: str) -> None:
        nonlocal skipped, first
        skipped, first = skipped + 1, first or message.removeprefix(f"{Path(path)}, ")

    on_bad_row = skip if skip_bad_rows else None
    files = (read_rows(file, columns, check=check, on_bad_row=on_bad_row) for file in matching_files(path))
    rows = keep_rows(itertools.chain.from_iterable(files))
    bad = f"{skipped} bad row{'s' if skipped > 1 else ''} (first: {first})"
    if not rows:
        raise InputError(f"{Path(path)}: has no good row, only {bad}")
    if skipped:
        say(f"{Path(path)}: skipped {bad}")
    return rows


def keep_rows(rows: Iterable[Row]) -> Sequence[Row]:
    """All rows of an iterable, which is read once; many rows are kept in a temporary file."""
    return kept(rows, parts=operator.attrgetter("line", "values"), made=lambda parts: Row(*parts))


def file_columns(path: str | os.PathLike) -> list[str]:
    """The columns that a file has: the header of a csv or tsv file, the keys of a jsonl file's first row.

    Args:
        path: the file, as for `read_rows`.

    Returns:
        The names, in the file's order.

    Raises:
        InputError: the file cannot be read or has no rows, or its first line is bad.

    Example:
        file_columns("reviews.csv")  # ["text", "label"]
    """
    path = Path(path)
    return list(_first(path, _parser(path)(path)))


class _Line(NamedTuple):
    """A physical line, its end included; `fault` says what is wrong with its bytes."""

    number: int
    text: str
    fault: str | None


# A row's line, its content and what is wrong with it; one of the last two is None. The content is what a parser finds
# (the fields of a csv or tsv row, the dict of a json row), later its cells: column, name in the file, raw value.
_Record = tuple[int, Any, str | None]
_Parser = Callable[[Path], Iterator[_Record]]


def _parser(path: Path) -> _Parser:
    """The parser of a file that is there, by the file's suffix."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file{_nearest(path)}") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: is a folder; name a file in it")
    suffix = _suffix(path)
    if suffix not in _PARSERS:
        raise InputError(f"{path}: is none of {', '.join(_PARSERS)}, with or without .gz; convert it to one of them")
    return _PARSERS[suffix]


def _suffix(path: Path) -> str:
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def _nearest(path: Path) -> str:
    try:
        near = difflib.get_close_matches(path.name, [near.name for near in path.parent.iterdir()], n=1)
    except OSError:
        return ""
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def _lines(path: Path) -> Iterator[_Line]:
    """The lines of a text file. A byte that is not UTF-8 becomes a lone surrogate, so that the line can be parsed."""
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opened(path, "rb") as file:
            end = _line_end(file)
            for number, text in enumerate(io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", end), 1):
                yield _Line(number, text, _byte_fault(text))
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise InputError(f"{path}: is not a whole gzip file; fetch or compress it again") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> InputError:
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


def _csv_records(path: Path) -> Iterator[_Record]:
    # The limit is one for the process; it is only ever raised, so that no other reader's rows turn bad.
    csv.field_size_limit(max(csv.field_size_limit(), _FIELD_LIMIT))
    taken: list[_Line] = []

    def texts() -> Iterator[str]:
        for line in _lines(path):
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
        if not _is_blank(taken[0].text):
            broken = next((line for line in taken if line.fault), None)
            yield (broken.number, None, broken.fault) if broken else (taken[0].number, fields, None)


def _quoting_fault(path: Path, taken: list[_Line], error: str) -> _Record:
    """The record of the lines that csv refuses; an InputError where nobody can tell the rows behind them apart."""
    start, last = taken[0].number, taken[-1].number
    if "new-line character" in error:
        return last, None, "a carriage return stands in the middle; put the field that holds it in quotes"
    if "expected after" in error:
        end = f" in line {last}" if last > start else ""
        return start, None, f'text follows a closing quote{end}; double each quote that belongs to a text ("")'
    opened = _open_quote(taken)
    if opened is None:
        return start, None, f"a field has more than {_FIELD_LIMIT} characters"
    advice = 'close it, or double it if it belongs to the text ("")'
    if opened < last:
        raise InputError(f"{path}, line {opened}: a quote opens here and is still open in line {last}; {advice}")
    return opened, None, f"a quote opens here and is never closed; {advice}"


def _open_quote(taken: list[_Line]) -> int | None:
    """The line in which the quote opens that a row's lines leave open, if they do."""
    text = "".join(line.text for line in taken)
    place = _CLOSED_FIELDS.match(text).end()
    if not _OPEN_FIELD.fullmatch(text, place):
        return None
    ends = itertools.accumulate(len(line.text) for line in taken)
    return next(line.number for line, end in zip(taken, ends, strict=True) if place < end)


def _tsv_records(path: Path) -> Iterator[_Record]:
    for number, text, fault in _lines(path):
        if not _is_blank(text):
            yield number, None if fault else text.rstrip("\r\n").split("\t"), fault


def _jsonl_records(path: Path) -> Iterator[_Record]:
    for number, text, fault in _lines(path):
        if not _is_blank(text):
            yield number, *((None, fault) if fault else _parsed_object(text))


def _parsed_object(text: str) -> tuple[dict | None, str | None]:
    """The object of a json line, or what is wrong with the line."""
    try:
        value = json.loads(text.rstrip("\r\n"))
    except json.JSONDecodeError as error:
        return None, f"is not valid JSON at column {error.colno} ({error.msg}); is the line cut off?"
    except (ValueError, RecursionError) as error:
        return None, f"is no JSON that can be read ({error})"
    return (value, None) if isinstance(value, dict) else (None, f"is {_kind(value)}, not a JSON object")


def _text_records(path: Path) -> Iterator[_Record]:
    for number, text, fault in _lines(path):
        if not _is_blank(text):
            yield number, *((None, fault) if fault else ({"text": text.rstrip("\r\n")}, None))


def _conll_records(path: Path) -> Iterator[_Record]:
    lines = (line for line in _lines(path) if not line.text.startswith("-DOCSTART-"))
    for blank, group in itertools.groupby(lines, key=lambda line: _is_blank(line.text)):
        if blank:
            continue
        sentence = list(group)
        fields = [line.text.rstrip("\r\n").split("\t" if "\t" in line.text else None) for line in sentence]
        short = next((i for i, each in enumerate(fields) if len(each) < 2), None)
        fault = next((line.fault for line in sentence if line.fault), None)
        if short is not None:
            yield sentence[short].number, None, "has no tag behind the token"
            continue
        row = {"tokens": [each[0] for each in fields], "tags": [each[-1] for each in fields]}
        yield sentence[0].number, *((None, fault) if fault else (row, None))


def _squad_records(path: Path) -> Iterator[_Record]:
    """The questions of a SQuAD file, counted from 1 over the whole file."""
    text = "".join(line.text for line in _lines(path))
    try:
        articles = json.loads(text)["data"]
        paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
        asked = [(paragraph.get("context"), question) for paragraph in paragraphs for question in paragraph["qas"]]
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}: is not valid JSON ({error.msg}); is the file cut off?"
        ) from None
    except (KeyError, TypeError, AttributeError):
        raise InputError(
            f'{path}: is no SQuAD file: it has no {{"data": [{{"paragraphs": [{{"context": ..., "qas": [...]}}]}}]}};'
            " rows of other kinds come as csv, tsv or jsonl"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON that can be read ({error})") from None
    for number, (context, question) in enumerate(asked, 1):
        if not isinstance(question, dict):
            yield number, None, f"is {_kind(question)}, not a JSON object"
            continue
        answers = [] if question.get("is_impossible") else question.get("answers")
        if answers == [] and not question.get("is_impossible"):
            answers = None
        yield number, {"question": question.get("question"), "context": context, "answers": answers}, None


_PARSERS = {
    ".csv": _csv_records,
    ".tsv": _tsv_records,
    ".jsonl": _jsonl_records,
    ".ndjson": _jsonl_records,
    ".conll": _conll_records,
    ".bio": _conll_records,
    ".json": _squad_records,
    ".txt": _text_records,
    ".tfrecord": example_records,
}


def _is_blank(text: str) -> bool:
    return not text.strip(" \r\n")


def _first(path: Path, records: Iterator[_Record]) -> Any:
    """The content of the first record. A file is not read on behind a first line that is bad."""
    line, content, fault = next(records, (0, None, None))
    if fault:
        raise InputError(_located(path, line, fault))
    if content is None:
        raise InputError(f"{path}: has no rows")
    return content


def _table_rows(path: Path, parse: _Parser, columns: Sequence[Column]) -> Iterator[_Record]:
    """The rows of a csv or tsv file, its header taken off, as cells."""
    records = parse(path)
    header = _first(path, records)
    try:
        places = _places(header, columns)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    separator = "a comma that is not in quotes" if parse is _csv_records else "a tab"
    for line, fields, fault in records:
        if not fault and len(fields) != len(header):
            fault = f"has {len(fields)} of {len(header)} fields"
            fault += f"; is there {separator} in a text?" if len(fields) > len(header) else ""
        yield line, None if fault else [(c, header[p], fields[p]) for c, p in places], fault


def _object_rows(path: Path, parse: _Parser, columns: Sequence[Column]) -> Iterator[_Record]:
    """The rows of a jsonl file as cells. One set of keys holds for the whole file, or rows could mix their meanings."""
    keys: list[tuple[Column, str]] = []
    for line, row, fault in parse(path):
        cells = None
        if not fault:
            try:
                keys = keys or [(column, list(row)[place]) for column, place in _places(list(row), columns)]
                cells = [(column, key, row[key]) for column, key in keys]
            except ValueError as error:
                fault = str(error)
            except KeyError as error:
                fault = f"has no column {error}"
        yield line, cells, fault


def _places(names: Sequence[str], columns: Sequence[Column]) -> list[tuple[Column, int]]:
    """The columns that a file has, each with its place; a ValueError says what is missing."""
    places = []
    for column in columns:
        try:
            places.append((column, _place(names, column)))
        except ValueError as missing:
            if not column.instead:
                raise
            try:
                places += _places(names, column.instead)
            except ValueError as error:
                raise ValueError(f"{missing}; or, in its place: {error}") from None
    return places


def _place(names: Sequence[str], column: Column) -> int:
    """The place of a column among a file's column names; a ValueError says what to do where there is not one."""
    wanted = (column.column,) if column.column else (column.name, *column.aliases)
    for name in wanted:
        places = [i for i, n in enumerate(names) if n == name]
        places = places or [i for i, n in enumerate(names) if n.strip().casefold() == name.casefold()]
        if len(places) > 1:
            other = f", or name another with {column.option}" if column.option else ""
            raise ValueError(f"has {len(places)} columns {name!r}; rename one{other}")
        if places:
            return places[0]
    advice = f"name one of them with {column.option}" if column.option else f"rename one of them to {wanted[0]!r}"
    raise ValueError(f"has no column {' or '.join(map(repr, wanted))}; its columns are {_listed(names)}; {advice}")


def _listed(names: Sequence[str]) -> str:
    """Column names for a message; a file without a header has whole texts for names, so each is cut short."""
    short = [repr(name if len(name) <= 40 else f"{name[:37]}...") for name in names[:20]]
    return ", ".join(short) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _checked(cells: list[tuple[Column, str, Any]], check: RowCheck | None) -> tuple[dict[str, Any] | None, str | None]:
    """A row's clean values, or what is wrong with the first cell that is bad, or with the row."""
    values = {}
    for column, name, raw in cells:
        try:
            values[column.name] = column.check(raw)
        except ValueError as error:
            return None, f"column {name!r} {error}"
    try:
        if check:
            check(values)
    except ValueError as error:
        return None, str(error)
    return values, None


def _located(path: Path, line: int, fault: str) -> str:
    return f"{path}, {'question' if _suffix(path) == '.json' else 'line'} {line}: {fault}"


def _kind(value: Any) -> str:
    """What a JSON value is, for a message."""
    kinds = {type(None): "null", bool: "true or false", dict: "an object", list: "a list", str: "a text"}
    return kinds.get(type(value), f"a number ({value})" if isinstance(value, (int, float)) else "of an unknown kind")
