"""Cells that hold several labels: lists as Python, JSON and NumPy write them, or labels between separators."""

import ast
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tfhub_ft.data.columns import check_labels, is_nan

# Separators that are detected, the usual one first, and others that are only reported.
SEPARATORS = (",", ";", "|", "#", "\t", "\n")
REPORTED = ("/", "&", "+", " ")
# Separators that are hard to type in a shell.
ESCAPED = {r"\t": "\t", r"\n": "\n", "tab": "\t"}
# The least share of the parts of cells with a separator that other cells have as well: where it may be the separator,
# where it replaces the comma, and where one that is not detected is reported.
LEAST_SHARE, SHARE_OF_RIVAL, REPORTED_SHARE = 1 / 3, 1 / 2, 0.8
CELLS_EXAMINED, LISTS_EXAMINED, LABELS_SHOWN = 100_000, 1000, 10

_WRAPPED = re.compile(r"\s*(?:frozenset|set|array|list|tuple)\((.*?)(?:,\s*dtype=[^)]*)?\)\s*", re.DOTALL)
_BRACKETED = re.compile(r"\s*(?:\[(.*)\]|\((.*)\)|\{(.*)\})\s*", re.DOTALL)
_QUOTED_LIST = re.compile(r"""\s*(?:\w+\(\s*)?[\[({]\s*(?:(?:np\.\w+\()?[uU]?['"]|[\])}])""")
_ITEM = re.compile(
    r"""\s*(?:
        (?P<wrapper>np\.\w+\()? [uU]? (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*') (?(wrapper)\))
        | (?P<bare>np\.\w+\([^()'"]*\)|[^\s,'"\[\](){}:](?:[^,'"\[\](){}:]*[^\s,'"\[\](){}:])?)
    )\s*(?:,|(?=['"]|np\.)|$)""",
    re.DOTALL | re.VERBOSE,
)
_MISSING = ("none", "nan", "null")


class LabelCells:
    """Reads the cells of a column of labels, all in the same way.

    Args:
        separator: what is between the labels of a cell; None where each cell is one label.
        lists: whether the cells hold lists.
        doubts: other separators that the labels contain, each with such a label.
    """

    def __init__(self, separator: str | None, *, lists: bool = False, doubts: Sequence[tuple[str, str]] = ()):
        self.separator, self.lists, self.doubts = separator, lists, doubts
        self._labels: dict[str, None] = {}

    def __call__(self, value: Any) -> tuple[str, ...]:
        """The labels of a cell, each once, as `check_labels` returns them."""
        if not isinstance(value, str):
            return check_labels(value)
        if is_nan(value):
            raise ValueError(f"is {value.strip()!r}, a missing value; leave the cell of a row without labels empty")
        labels = check_labels(self._parts(value))
        self._labels.update(dict.fromkeys(labels))
        return labels

    def _parts(self, cell: str) -> list[str]:
        if not cell.strip():
            return []
        if self.lists:
            parts = parse_list(cell)
        else:
            parts = cell.split(self.separator) if self.separator else [cell]
        return [part for part in parts if part.strip()]

    def notes(self) -> list[str]:
        """What was read, and what else it may mean, for standard error; empty where no cell was a text."""
        if not self._labels:
            return []
        shown = ", ".join(itertools.islice(sorted(self._labels), LABELS_SHOWN))
        more = ", ..." if len(self._labels) > LABELS_SHOWN else ""
        way = f"separated by {self.separator!r}" if self.separator else "at most one in each row"
        way = "in lists" if self.lists else way
        notes = [f"labels: {len(self._labels):,} ({shown}{more}), {way}"]
        for separator, label in self.doubts:
            notes.append(
                f"Warning: labels such as {label!r} contain {separator!r}, which was not read as a separator; if it is"
                f" one, add --label-separator {separator!r}"
            )
        return notes


def fit_labels(values: Iterable[Any], *, separator: str | None = None) -> LabelCells:
    """Find out how the cells of a column hold labels, from all of them: one way holds for the whole file.

    In a column of lists every cell is a list. Otherwise the comma separates labels wherever a cell has one, unless
    another separator fits better; without commas it is the separator whose parts occur in other cells as well.

    Args:
        values: the raw values of the column.
        separator: the separator, where the user named it.

    Example:
        fit_labels(["price;quality", "price", "quality"])("price;delivery")  # ("price", "delivery")
    """
    if separator is not None:
        return LabelCells(ESCAPED.get(separator, separator))
    cells = _distinct_cells(values)
    if cells and (any(map(_QUOTED_LIST.match, cells)) or all(map(_is_list, cells))):
        return LabelCells(None, lists=True)
    chosen = _separator(cells)
    labels = list(dict.fromkeys(part.strip() for cell in cells for part in (cell.split(chosen) if chosen else [cell])))
    doubts = []
    for each in (*SEPARATORS, *REPORTED):
        found = _Separated(labels, each)
        if found.joined and (each in SEPARATORS or found.share >= REPORTED_SHARE):
            doubts.append((each, found.joined[0]))
    return LabelCells(chosen, doubts=doubts)


def parse_list(cell: str) -> list[str]:
    """The items of a list in a cell, such as ['a', 'b'], ["a", "b"], ('a',), {'a', 'b'}, ['a' 'b'] or [].

    Raises:
        ValueError: it cannot be read, or an item is missing.
    """
    wrapped = _WRAPPED.fullmatch(cell)
    inner = wrapped[1] if wrapped else cell
    if not inner.strip():
        return []
    bracketed = _BRACKETED.fullmatch(inner)
    if not bracketed:
        raise ValueError(f"is {_shortened(cell)}, not a list as in other rows")
    content = next(group for group in bracketed.groups() if group is not None)
    items, place = [], 0
    while content[place:].strip():
        item = _ITEM.match(content, place)
        if not item:
            raise ValueError(f"is {_shortened(cell)}, not a list of labels that can be read")
        items.append(_unquoted(item["quoted"]) if item["quoted"] else _bare(item["bare"]))
        place = item.end()
    if len(items) == 1 and not bracketed[0].count("'") and re.fullmatch(r"-?\d+(\s+-?\d+)+", items[0]):
        return items[0].split()
    return items


def _unquoted(literal: str) -> str:
    if "\\" not in literal:
        return literal[1:-1]
    try:
        return json.loads(literal) if literal[0] == '"' else ast.literal_eval(literal)
    except (ValueError, SyntaxError):
        raise ValueError(f"has the label {_shortened(literal)}, whose backslashes cannot be read") from None


def _bare(word: str) -> str:
    wrapped = re.fullmatch(r"np\.\w+\((.*)\)", word)
    word = wrapped[1] if wrapped else word
    if word.casefold() in _MISSING:
        raise ValueError(f"has a missing label ({word})")
    return word


def _shortened(cell: str) -> str:
    return repr(cell if len(cell) <= 60 else f"{cell[:57]}...")


def _distinct_cells(values: Iterable[Any]) -> list[str]:
    """The different texts among raw values; empty where the first values are all lists."""
    cells: dict[str, None] = {}
    for number, value in enumerate(values):
        if isinstance(value, str) and value.strip():
            cells[value.strip()] = None
        if len(cells) >= CELLS_EXAMINED or (number >= LISTS_EXAMINED and not cells):
            break
    return list(cells)


def _is_list(cell: str) -> bool:
    return bool(_BRACKETED.fullmatch(cell) or _WRAPPED.fullmatch(cell))


class _Separated:
    """Cells cut at a separator.

    Args:
        cells: distinct cells.
        separator: may occur in some of them.
    """

    def __init__(self, cells: Sequence[str], separator: str):
        cut = [[part.strip() for part in cell.split(separator) if part.strip()] for cell in cells]
        self.joined = [cell for cell, parts in zip(cells, cut) if len(parts) > 1]
        counts = Counter(part for parts in cut for part in set(parts))
        self.labels = len(counts)
        parts = [part for each in cut if len(each) > 1 for part in each]
        # How many of the parts other cells have as well.
        self.share = sum(counts[part] > 1 for part in parts) / len(parts) if parts else 0.0


def _separator(cells: Sequence[str]) -> str | None:
    """The separator that fits cells best; None where they are single labels."""
    found = {each: _Separated(cells, each) for each in SEPARATORS if any(each in cell for cell in cells)}
    rivals = [each for each in found if each != "," and found[each].share >= LEAST_SHARE]
    best = max(rivals, key=lambda each: found[each].share, default=None)
    if "," not in found:
        return best
    comma = found[","]
    if best and found[best].share >= max(SHARE_OF_RIVAL, comma.share) and found[best].labels < comma.labels:
        return best
    return ","
