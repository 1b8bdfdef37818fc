"""The columns that tasks read from rows, and the checks of their values."""

import ast
import contextlib
import itertools
import json
import math
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tfhub_ft.data.list_cells import is_list, parse_list

# What a column of a label may hold.
FLAGS = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "y", "x"), True),
    **dict.fromkeys(("0", "0.0", "false", "no", "n", ""), False),
}
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Column:
    """A column that a task reads from its rows.

    Args:
        name: the task's field, which is also the first column name looked for.
        aliases: other column names looked for, in this order, where `column` names none. Case does not matter.
        check: takes the raw value (a str from csv and tsv, any JSON value from jsonl) and returns the clean one, or
            raises a ValueError whose message reads well after "column 'text' ...", such as "is empty".
        column: the column's name in the user's file, where the user named it.
        option: the command-line option that names the column, for an error's advice.
        instead: the columns that are read in a file that lacks this one.
        several: whether `column` may name several columns of the file, with commas between them; `check` then takes
            their values by name.
        rest: whether it is read from all columns that no other one is read from; `check` then takes their values by
            name.
        fit: makes the check from all raw values of the column, where it depends on them. What it returns has the
            methods `notes` and `warnings`, which are called after the last value: lines about what was read.
        check_row: takes the clean values of a row, and raises a ValueError where this column's value does not fit the
            others.
        hint: takes the option and some rows of a file that lacks the column, and returns what to do about it.

    Example:
        Column("text", ("sentence", "review"), check_text, option="--text-column")
    """

    name: str
    aliases: tuple[str, ...]
    check: Callable[[Any], Any]
    column: str | None = None
    option: str = ""
    instead: "tuple[Column, ...]" = ()
    several: bool = False
    rest: bool = False
    fit: Callable[[Iterable[Any]], Callable[[Any], Any]] | None = None
    check_row: Callable[[dict[str, Any]], None] | None = None
    hint: Callable[[str, Iterable[dict[str, Any]]], str | None] | None = None


class Place(NamedTuple):
    """Where a column is found.

    Args:
        column: the column.
        name: its name in the file.
        names: those of the file's columns that it is read from, where these are several; or, of what is left of a row,
            those that it is not read from.
    """

    column: Column
    name: str
    names: tuple[str, ...] = ()

    @property
    def is_unusual(self) -> bool:
        """Whether the user named the column, by a name that is none of the usual ones."""
        usual = (self.column.name, *self.column.aliases)
        return self.column.column == self.name and not self.names and self.name not in usual

    def value(self, record: dict[str, Any]) -> Any:
        """The raw value of the column in a record."""
        if self.column.rest:
            return {name: value for name, value in record.items() if name not in self.names}
        return {name: record[name] for name in self.names} if self.names else record[self.name]


def without_options(columns: Sequence[Column]) -> list[Column]:
    """The columns as a command without options for their names reads them: an error says to rename a column."""
    return [replace(column, option="", instead=tuple(without_options(column.instead))) for column in columns]


def find_columns(
    names: Sequence[str],
    columns: Sequence[Column],
    rows: Callable[[], Iterable[dict[str, Any]]] = tuple,
    *,
    by_number: bool = False,
) -> list[Place]:
    """Find columns among the names of a file's columns.

    Args:
        names: of the file's columns, in its order.
        columns: those that are looked for.
        rows: returns the first rows of the file, for what an error says of a missing column.
        by_number: whether a column may be named by its number, from 1.

    Returns:
        The place of each column, or of those that are read instead of it.

    Raises:
        ValueError: a column is missing, or there are two; the message says what to do.
    """
    places = []
    for column in columns:
        if column.rest:
            if twice := [name for number, name in enumerate(names) if name in names[:number]]:
                raise ValueError(f"the column {twice[0]!r} is there twice; rename one of them")
            read = itertools.chain.from_iterable(place.names or (place.name,) for place in places)
            places.append(Place(column, column.name, tuple(read)))
            continue
        try:
            places.append(_find(names, column, rows, by_number))
        except ValueError as missing:
            if not column.instead:
                raise
            try:
                places += find_columns(names, column.instead, rows, by_number=by_number)
            except ValueError as error:
                raise ValueError(f"{missing}; or, in its place: {error}") from None
    for place, other in itertools.combinations(places, 2):
        if place.name == other.name:
            advice = f"; name another with {other.column.option}" if other.column.option else ""
            raise ValueError(f"{place.column.name} and {other.column.name} are both read from {place.name!r}{advice}")
    return places


def _find(names: Sequence[str], column: Column, rows: Callable[[], Iterable[dict[str, Any]]], by_number: bool) -> Place:
    wanted = (column.column,) if column.column else (column.name, *column.aliases)
    for name in wanted:
        if found := _named(names, name, column):
            return Place(column, found)
    if by_number and column.column and column.column.isdecimal() and 0 < int(column.column) <= len(names):
        return Place(column, names[int(column.column) - 1])
    if column.several and column.column and "," in column.column:
        wanted = tuple(part.strip() for part in column.column.split(",") if part.strip())
        found = [_named(names, name, column) for name in wanted]
        if all(found):
            return Place(column, column.column, tuple(found))
        wanted = tuple(name for name, each in zip(wanted, found) if not each)
    hint = column.hint(column.option, rows()) if column.hint else None
    advice = f"name one of them with {column.option}" if column.option else f"rename one of them to {wanted[0]!r}"
    raise ValueError(
        f"column {' or '.join(map(repr, wanted))} not found; the columns are {_listed(names)}; {hint or advice}"
    )


def _named(names: Sequence[str], name: str, column: Column) -> str | None:
    """The column of that name, in any case where none is spelled so; a ValueError where there are two."""
    found = [each for each in names if each == name]
    found = found or [each for each in names if each.strip().casefold() == name.casefold()]
    if len(found) > 1:
        other = f", or name another with {column.option}" if column.option else ""
        raise ValueError(f"{len(found)} columns are called {name!r}; rename one{other}")
    return found[0] if found else None


def _listed(names: Sequence[str]) -> str:
    """Column names for a message; a file without a header has whole texts for names, so each is cut short."""
    short = [repr(name if len(name) <= 40 else f"{name[:37]}...") for name in names[:20]]
    return ", ".join(short) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def check_text(value: Any) -> str:
    """Return a text unchanged.

    Args:
        value: the raw value.

    Raises:
        ValueError: it is not a str, is blank, or cannot be written as UTF-8.
    """
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("is empty")
        if not value.isascii() and _SURROGATE.search(value):
            raise ValueError("holds half a character (a lone \\ud800 to \\udfff escape), which is not text")
        return value
    raise ValueError(f"is {kind_of(value)}, not text")


def check_label(value: Any) -> str:
    """Return a label as a string in Unicode's composed form (NFC), without white space around it.

    Args:
        value: the raw value. Whole numbers, true and false, as jsonl files hold them, are labels, too.

    Returns:
        The label as it is spelled in a csv file: 1 becomes "1", 1.0 becomes "1.0", true becomes "true".

    Raises:
        ValueError: it is missing (empty, null or nan) or of another kind.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(value)
    if isinstance(value, str):
        label = composed(check_text(value).strip())
        if is_nan(label):
            raise ValueError(f"is {label!r}, a missing value")
        return label
    raise ValueError(f"is {kind_of(value)}, not a label; write a text or a whole number")


def composed(label: str) -> str:
    """A label in Unicode's composed form, NFC."""
    return label if label.isascii() else unicodedata.normalize("NFC", label)


def is_missing(value: Any) -> bool:
    """Whether a raw value is null, NaN or a blank text."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def is_nan(text: str) -> bool:
    """Whether a text is what pandas and NumPy print for a missing value."""
    return text.strip().casefold() == "nan"


def check_number(value: Any) -> float:
    """Return a score as a finite float.

    Args:
        value: the raw value, a number or a text of one.

    Raises:
        ValueError: it is not a number, or not a finite one.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"is {kind_of(value)}, not a number")
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
        value: a list of labels, which may be empty; or a dictionary that says of each label whether the row has it, by
            1 and 0, true and false, yes and no, or x and nothing.

    Raises:
        ValueError: it is of another kind, or a label in it is.
    """
    if isinstance(value, dict):
        value = [label for label, flag in value.items() if _has_label(label, flag)]
    if not isinstance(value, list):
        raise ValueError(f"is {kind_of(value)}, not a list of labels")
    return tuple(dict.fromkeys(map(check_label, value)))


def _has_label(label: str, flag: Any) -> bool:
    known = FLAGS.get(str(flag).strip().casefold())
    if known is None or isinstance(flag, list | dict):
        raise ValueError(f"has {flag!r} for the label {label!r}, where 1 or 0 says whether the row has it")
    return known


def columns_of_flags(option: str, rows: Iterable[dict[str, Any]]) -> str | None:
    """What to do about a missing column of labels where there is a column for each label, which holds 0 and 1.

    Args:
        option: names the column of labels.
        rows: some rows of the file.
    """
    found: dict[str, set[bool | None]] = {}
    for row in rows:
        for name, value in row.items():
            flag = None if isinstance(value, list | dict) else FLAGS.get(str(value).strip().casefold())
            found.setdefault(name, set()).add(flag)
    names = [name for name, flags in found.items() if None not in flags and True in flags and "," not in name]
    if not option or len(names) < 2:
        return None
    return f"if each label has a column, which holds 0 and 1, name them all: {option} {shlex.quote(','.join(names))}"


def check_tokens(value: Any) -> list[str]:
    """Return a row's tokens, which are texts without white space around them.

    Args:
        value: a list of texts, as jsonl files hold it, or such a list in a cell of a table.

    Raises:
        ValueError: it is of another kind or empty, or a token is.
    """
    value = listed_in_cell(value)
    if not isinstance(value, list):
        raise ValueError(f"is {kind_of(value)}, not a list of tokens such as ['Ada', 'wrote']")
    if not value:
        raise ValueError("is an empty list")
    for number, token in enumerate(value, 1):
        try:
            check_text(token)
        except ValueError as error:
            raise ValueError(f"has a token, number {number}, that {error}") from None
    return [token.strip() for token in value]


def listed_in_cell(value: Any) -> Any:
    """The list that a cell of a table holds; any other value unchanged."""
    return parse_list(value) if isinstance(value, str) and is_list(value) else value


def check_answers(value: Any) -> list[dict[str, Any]]:
    """Return the answers of a question, {"text", "answer_start"} each; an empty list where it cannot be answered.

    Args:
        value: a list as SQuAD has it, or {"text": [...], "answer_start": [...]}; or either in a cell of a table.

    Raises:
        ValueError: it is of another kind.
    """
    if value is None:
        raise ValueError('is missing or empty; a question without an answer says "is_impossible": true')
    for parse in (json.loads, ast.literal_eval):
        if isinstance(value, str) and value.strip()[:1] in ("{", "["):
            with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                value = parse(value.strip())
    if isinstance(value, dict) and isinstance(value.get("text"), list) and isinstance(value.get("answer_start"), list):
        pairs = itertools.zip_longest(value["text"], value["answer_start"])
        value = [{"text": text, "answer_start": start} for text, start in pairs]
    if not isinstance(value, list):
        raise ValueError(f"is {kind_of(value)}, not a list of answers")
    for answer in value:
        start = answer.get("answer_start") if isinstance(answer, dict) else None
        if not isinstance(start, int) or isinstance(start, bool) or not isinstance(answer.get("text"), str):
            raise ValueError('has an answer that is not {"text": a text, "answer_start": a whole number}')
        check_text(answer["text"])
    return [{"text": answer["text"], "answer_start": answer["answer_start"]} for answer in value]


def kind_of(value: Any) -> str:
    """What a JSON value is, for a message."""
    kinds = {type(None): "null", bool: "true or false", dict: "an object", list: "a list", str: "a text"}
    if isinstance(value, float) and math.isnan(value):
        return "NaN, a missing value"
    return kinds.get(type(value), f"a number ({value})" if isinstance(value, int | float) else "of an unknown kind")
