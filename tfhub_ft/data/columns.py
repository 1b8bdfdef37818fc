"""Columns that tasks read from rows, and checks of their values."""

import ast
import contextlib
import itertools
import json
import math
import re
import shlex
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tfhub_ft.data.list_cells import is_list, parse_list
from tfhub_ft.settings import TEMPLATES, option_name
from tfhub_ft.utils.templates import Template

# The values of a row by column: str from tables, any JSON value from other formats.
Values = dict[str, Any]
# The field of a row's weight in the training loss.
WEIGHT = "weight"

FLAGS = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "y", "x"), True),
    **dict.fromkeys(("0", "0.0", "false", "no", "n", ""), False),
}
_SURROGATE = re.compile("[\ud800-\udfff]")


class FittedCheck:
    """A check that depends on all raw values of its column; its messages are read after the last value."""

    def __call__(self, value: object) -> object:
        """Return the clean value; raise a ValueError for a bad one."""
        raise NotImplementedError

    def replacements(self) -> Mapping[Any, object]:
        """Return clean values that are replaced in all rows, with their replacements."""
        return {}

    def notes(self) -> list[str]:
        """Return lines that say how the values were read."""
        return []

    def warnings(self) -> list[str]:
        """Return warnings of other possible meanings of the values."""
        return []


@dataclass(frozen=True)
class Column:
    """A column that a task reads from its rows.

    Args:
        name: The task's field, and the first column name to look for.
        aliases: Other column names to look for, in this order, unless `column` is set. Case does not matter.
        check: Takes the raw value (a str from csv and tsv, any JSON value from jsonl) and returns the clean one, or
            raises a ValueError whose message completes "column 'text' ...", such as "is empty".
        column: The column name that the user set.
        option: The command-line option that sets `column`, for error messages.
        preferred: Another name to look for before the usual ones.
        template: The text of several columns, to read instead of one column.
        instead: The columns to read from a file that lacks this one. Other columns with the same ones go with it: they
            are read together or not at all.
        only_instead: Whether to read `instead` even if the file has the column.
        arrange: Takes the `Source` of the rows, and returns the one to read in its place.
        adapt: Takes the raw values of a row, and returns them in the layout in which columns are looked for.
        several: Whether `column` may name several columns, separated by commas; `check` then takes a dictionary.
        whole_row: Whether to read the whole row; `check` then takes a dictionary of all columns.
        fit: Makes the check from all raw values of the column.
        check_row: Takes the clean values of a row. It raises a ValueError if this column does not fit the others, or
            replaces them by other values.
        hint: Takes the option and some rows of a file that lacks the column, and returns what to do about it.
    """

    name: str
    aliases: tuple[str, ...]
    check: Callable[[Any], Any]
    column: str | None = None
    option: str = ""
    preferred: str | None = None
    template: Template | None = None
    instead: "tuple[Column, ...]" = ()
    only_instead: bool = False
    arrange: Callable[[Any], Any] | None = None
    adapt: Callable[[Values], Values] | None = None
    several: bool = False
    whole_row: bool = False
    fit: Callable[[Iterable[object]], FittedCheck] | None = None
    check_row: Callable[[Values], None] | None = None
    hint: Callable[[str, Iterable[Values]], str | None] | None = None

    def of_file(self, split: str, setting_names: Collection[str]) -> "Column":
        """Return the column with the options of the file of a split, if these are settings."""

        def renamed(option: str) -> str:
            split_option = f"--{split}-{option[2:]}"
            return split_option if option and split_option in map(option_name, setting_names) else option

        template = self.template and replace(self.template, option=renamed(self.template.option))
        instead = tuple(column.of_file(split, setting_names) for column in self.instead)
        return replace(self, option=renamed(self.option), template=template, instead=instead)


class ColumnMatch(NamedTuple):
    """A column with its name in a file, or with the names of several; the name of a template is the template."""

    column: Column
    name: str
    names: tuple[str, ...] = ()

    @property
    def is_unusual(self) -> bool:
        """Whether the user set a column name that is not among the default ones."""
        usual = (self.column.name, *self.column.aliases)
        return self.column.column == self.name and not self.names and self.name not in usual

    def value(self, row: Values) -> object:
        """Return the raw value of the column in a row."""
        if self.column.whole_row:
            return row
        if self.column.template:
            return _fill_template(self.column.template, {name: row[name] for name in self.names}, self.names)
        return {name: row[name] for name in self.names} if self.names else row[self.name]


def text_column(name: str, aliases: tuple[str, ...], settings: Any, *setting_names: str) -> Column:
    """Return the column of a text. The first of some settings with a value names it or has its template."""
    option = option_name(setting_names[0])
    for setting_name in setting_names:
        template_name = TEMPLATES.get(setting_name)
        if template_name and (template := getattr(settings, template_name, None)):
            return Column(
                name, aliases, check_text, option=option, template=Template(template, option_name(template_name))
            )
        if column := getattr(settings, setting_name, None):
            return Column(name, aliases, check_text, column, option)
    return Column(name, aliases, check_text, option=option)


def weight_columns(settings: Any) -> list[Column]:
    """Return the column of row weights, if the settings name one, which only training rows need."""
    name = getattr(settings, "weight_column", None)
    return [] if name is None else [Column(WEIGHT, (), check_weight, name, "--weight-column")]


def find_columns(
    names: Sequence[str],
    columns: Sequence[Column],
    sample: Callable[[], Iterable[Values]] = tuple,
    *,
    by_number: bool = False,
) -> list[ColumnMatch]:
    """Match columns, or those to read instead of them, with the column names of a file.

    Raise a ValueError that says what to do if a column is missing or ambiguous. `sample` returns the first rows of the
    file, for hints. With `by_number`, the user may name a column by its number, from 1.
    """
    matches: list[ColumnMatch] = []
    replaced: list[tuple[Column, ...]] = []
    for column in columns:
        if column.whole_row:
            if repeated := [name for number, name in enumerate(names) if name in names[:number]]:
                raise ValueError(f"column {repeated[0]!r} occurs twice; rename one of them")
            matches.append(ColumnMatch(column, column.name))
            continue
        if column.instead and column.instead in replaced:
            continue
        missing: ValueError | None = None
        if not column.only_instead:
            try:
                matches.append(_find_column(names, column, sample, by_number))
                continue
            except ValueError as error:
                if not column.instead:
                    raise
                missing = error
        try:
            instead = find_columns(names, column.instead, sample, by_number=by_number)
        except ValueError as error:
            raise ValueError(f"{missing}; or, instead: {error}" if missing else str(error)) from None
        matches = [match for match in matches if match.column.instead != column.instead] + instead
        replaced.append(column.instead)
    for match, other in itertools.combinations(matches, 2):
        if match.name == other.name:
            advice = f"; name another with {other.column.option}" if other.column.option else ""
            raise ValueError(f"{match.column.name} and {other.column.name} are both read from {match.name!r}{advice}")
    for match in matches:
        if match.column.template:
            _check_separate(match, matches)
    return matches


def other_columns(columns: Sequence[Column]) -> Column:
    """Return the column, with the name "", of the values that no other column reads; templates read none for itself."""
    read_by_names: dict[tuple[str, ...], set[str]] = {}

    def others(row: Values) -> Values:
        names = tuple(row)
        if names not in read_by_names:
            matches = [match for match in find_columns(names, columns, by_number=True) if not match.column.template]
            read_by_names[names] = {name for match in matches for name in match.names or (match.name,)}
        return {name: value for name, value in row.items() if name not in read_by_names[names]}

    return Column("", (), others, whole_row=True)


def needed_names(names: Sequence[str], columns: Sequence[Column], matches: Sequence[ColumnMatch]) -> list[str]:
    """Return the column names of a file that its columns, as matched, are read from: all, if one takes whole rows."""
    is_whole = any(column.whole_row or column.arrange or column.adapt for column in columns)
    used = {name for match in matches for name in match.names or (match.name,)}
    return [name for name in dict.fromkeys(names) if is_whole or name in used]


def _check_separate(match: ColumnMatch, matches: Iterable[ColumnMatch]) -> None:
    """Raise a ValueError if a template reads a column that is not an input, such as the labels."""
    for other in matches:
        is_input = other.column.template or other.column.whole_row or other.column.check is check_text
        if not is_input and (shared := {*match.names} & {*(other.names or (other.name,))}):
            raise ValueError(
                f"{match.column.template} contains {min(shared)!r}, which is the column of the {other.column.name};"
                " remove it from the text"
            )


def _fill_template(template: Template, row: Values, names: Sequence[str]) -> str:
    """Return the text of a row; missing values are left empty, and so is a text without any value."""
    values = [_cell_text(name, row[name]) for name in names]
    return template.fill(values) if any(value.strip() for value in values) else ""


def _cell_text(name: str, value: object) -> str:
    if is_missing(value):
        return ""
    if isinstance(value, dict | list | tuple | bytes):
        raise ValueError(f"column {name!r} is {kind_of(value)}, not text")
    return str(value)


def has_columns(names: Sequence[str], columns: Sequence[Column], *, by_number: bool = False) -> bool:
    """Return whether `find_columns` finds all columns."""
    try:
        find_columns(names, columns, by_number=by_number)
    except ValueError:
        return False
    return True


def _find_column(
    names: Sequence[str], column: Column, sample: Callable[[], Iterable[Values]], by_number: bool
) -> ColumnMatch:
    if column.template:
        return _find_template(names, column, column.template, by_number)
    usual = (*([column.preferred] if column.preferred else []), column.name, *column.aliases)
    candidates = (column.column,) if column.column else usual
    for candidate in candidates:
        if name := _find_name(names, candidate, column):
            return ColumnMatch(column, name)
    if by_number and column.column and (name := _numbered_name(names, column.column)):
        return ColumnMatch(column, name)
    if column.several and column.column and "," in column.column:
        parts = [part.strip() for part in column.column.split(",") if part.strip()]
        name_by_part = {part: name for part in parts if (name := _find_name(names, part, column))}
        candidates = tuple(part for part in parts if part not in name_by_part)
        if not candidates:
            return ColumnMatch(column, column.column, tuple(name_by_part[part] for part in parts))
    hint = column.hint(column.option, sample()) if column.hint else None
    advice = f"name one of them with {column.option}" if column.option else f"rename one of them to {candidates[0]!r}"
    raise ValueError(
        f"column {' or '.join(map(repr, candidates))} not found; the columns are {_shorten_names(names)};"
        f" {hint or advice}"
    )


def _find_template(names: Sequence[str], column: Column, template: Template, by_number: bool) -> ColumnMatch:
    """Match the names of a template."""
    found = []
    for wanted in template.names:
        name = _find_name(names, wanted, column) or (_numbered_name(names, wanted) if by_number else None)
        if name is None:
            raise ValueError(
                f"column {wanted!r} of {template} not found; the columns are {_shorten_names(names)}; correct the name,"
                f" or name the column of the text with {template.column_option}"
            )
        found.append(name)
    return ColumnMatch(column, template.text, tuple(found))


def _numbered_name(names: Sequence[str], number: str) -> str | None:
    return names[int(number) - 1] if number.isdecimal() and 0 < int(number) <= len(names) else None


def _find_name(names: Sequence[str], wanted: str, column: Column) -> str | None:
    """Return the exact name, otherwise the name in another case; raise a ValueError if there are two."""
    matches = [name for name in names if name == wanted]
    matches = matches or [name for name in names if name.strip().casefold() == wanted.casefold()]
    if len(matches) > 1:
        advice = f", or name another with {column.option}" if column.option else ""
        raise ValueError(f"{len(matches)} columns are called {wanted!r}; rename one{advice}")
    return matches[0] if matches else None


def _shorten_names(names: Sequence[str]) -> str:
    """Return up to 20 column names for a message; the names of a file without a header are whole texts."""
    short = [repr(name if len(name) <= 40 else f"{name[:37]}...") for name in names[:20]]
    return ", ".join(short) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def check_text(value: object) -> str:
    """Return a text unchanged; raise a ValueError if it is not a str, is blank, or is not valid Unicode."""
    if not isinstance(value, str):
        raise ValueError(f"is {kind_of(value)}, not text")
    if not value.strip():
        raise ValueError("is empty")
    if not value.isascii() and _SURROGATE.search(value):
        raise ValueError("contains half a character (an unpaired \\ud800 to \\udfff escape), which is not text")
    return value


def check_label(value: object) -> str:
    """Return a label, stripped and in NFC; raise a ValueError if it is missing (empty, null or nan).

    Whole numbers and booleans become texts such as "1" and "true".
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    if isinstance(value, float) and math.isfinite(value):
        raise ValueError(
            f"is a number that is not whole ({value}), not a label; to predict numbers, train the recipe regression"
            " (similarity for pairs of texts)"
        )
    if isinstance(value, str):
        label = to_nfc(check_text(value).strip())
        if is_nan(label):
            raise ValueError(f"is {label!r}, a missing value")
        return label
    raise ValueError(f"is {kind_of(value)}, not a label; write a text or a whole number")


def to_nfc(label: str) -> str:
    """Return a label in Unicode's composed form, NFC."""
    return label if label.isascii() else unicodedata.normalize("NFC", label)


def is_missing(value: object) -> bool:
    """Return whether a raw value is null, NaN or a blank text."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def is_nan(text: str) -> bool:
    """Return whether a text is what pandas and NumPy print for a missing value."""
    return text.strip().casefold() == "nan"


def check_number(value: object) -> float:
    """Return a number, or the number in a text, as a finite float; raise a ValueError for other values."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"is {kind_of(value)}, not a number")
    try:
        number = float(value)
    except ValueError:
        raise ValueError("is empty" if not str(value).strip() else f"is {value!r}, not a number") from None
    except OverflowError:
        raise ValueError("is too large a number") from None
    if not math.isfinite(number):
        raise ValueError(f"is {value!r}, not a finite number")
    return number


def check_weight(value: object) -> float:
    """Return a number of at least 0, or the one in a text, as a float; raise a ValueError for other values."""
    number = check_number(value)
    if number < 0:
        raise ValueError(f"is {value}, a negative weight; weights are numbers of at least 0")
    return number


def check_labels(value: object) -> tuple[str, ...]:
    """Return the labels of a row without duplicates, from a list of labels or a dictionary from labels to flags.

    Flags are 1 and 0, true and false, yes and no, or x and "". A missing value is 0.
    """
    if isinstance(value, dict):
        value = [label for label, flag in value.items() if _check_flag(label, flag)]
    if not isinstance(value, list):
        raise ValueError(f"is {kind_of(value)}, not a list of labels")
    return tuple(dict.fromkeys(map(check_label, value)))


def _flag(value: object) -> bool | None:
    if is_missing(value):
        return False
    return None if isinstance(value, list | dict) else FLAGS.get(str(value).strip().casefold())


def _check_flag(label: str, value: object) -> bool:
    flag = _flag(value)
    if flag is None:
        raise ValueError(f"has {value!r} for the label {label!r}; expected 1 or 0")
    return flag


def label_columns_hint(option: str, rows: Iterable[Values]) -> str | None:
    """Return how to name the columns of a file that has a column of 0 and 1 for each label; None for other files."""
    flags: dict[str, set[bool | None]] = {}
    for row in rows:
        for name, value in row.items():
            flags.setdefault(name, set()).add(_flag(value))
    names = [name for name, values in flags.items() if None not in values and True in values and "," not in name]
    if not option or len(names) < 2:
        return None
    return f"if each label has its own column of 0 and 1, name them all: {option} {shlex.quote(','.join(names))}"


def check_tokens(value: object) -> list[str]:
    """Return the tokens of a row, stripped, from a list of texts or from a cell of a table that contains one."""
    value = list_from_cell(value)
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


def list_from_cell(value: object) -> object:
    """Return the list in a cell of a table; other values unchanged."""
    return parse_list(value) if isinstance(value, str) and is_list(value) else value


def check_answers(value: Any) -> list[Values]:
    """Return the answers of a question, {"text", "answer_start"} each, or an empty list if it is unanswerable.

    The value is a list as in SQuAD, {"text": [...], "answer_start": [...]}, or a cell of a table that contains either.
    """
    if value is None:
        raise ValueError('is missing or empty; write "is_impossible": true for a question without an answer')
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


def kind_of(value: object) -> str:
    """Return the kind of a JSON value for a message."""
    kinds = {type(None): "null", bool: "true or false", dict: "an object", list: "a list", str: "a text"}
    if isinstance(value, bytes):
        return "bytes that are not UTF-8"
    if isinstance(value, float) and math.isnan(value):
        return "NaN, a missing value"
    other = f"a number ({value})" if isinstance(value, int | float) else f"of the type {type(value).__name__}"
    return kinds.get(type(value), other)
