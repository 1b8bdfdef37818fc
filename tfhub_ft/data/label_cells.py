"""Cells that hold several labels: lists, or labels between separators."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tfhub_ft.data.columns import check_labels, is_nan
from tfhub_ft.data.list_cells import is_list, is_quoted_list, parse_list

# Separators that are detected, the usual one first, and others that are only reported.
SEPARATORS = (",", ";", "|", "#", "\t", "\n")
REPORTED = ("/", "&", "+", " ")
# What is left at the ends of cells by programs that write a separator after each label.
AT_ENDS = ",;| \t\r\n"
# Separators that are hard to type in a shell.
ESCAPED = {r"\t": "\t", r"\n": "\n", "tab": "\t"}
# The least share of the parts of cells with a separator that other cells have as well: where it may be the separator,
# where it replaces the comma, and where one that is not detected is reported.
LEAST_SHARE, SHARE_OF_RIVAL, REPORTED_SHARE = 1 / 3, 1 / 2, 0.8
CELLS_EXAMINED, LISTS_EXAMINED, LABELS_SHOWN = 100_000, 1000, 10


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
            parts = cell.split(self.separator) if self.separator else [cell.strip(AT_ENDS)]
        return [part for part in parts if part.strip()]

    def notes(self) -> list[str]:
        """What was read; empty where no cell was a text."""
        if not self._labels:
            return []
        shown = ", ".join(itertools.islice(sorted(self._labels), LABELS_SHOWN))
        more = ", ..." if len(self._labels) > LABELS_SHOWN else ""
        way = f"separated by {self.separator!r}" if self.separator else "at most one in each row"
        way = "in lists" if self.lists else way
        return [f"labels: {len(self._labels):,} ({shown}{more}), {way}"]

    def warnings(self) -> list[str]:
        """What else the cells may mean; empty where no cell was a text."""
        return [
            f"labels such as {label!r} contain {separator!r}, which was not read as a separator; if it is one, add"
            f" --label-separator {separator!r}"
            for separator, label in (self.doubts if self._labels else ())
        ]


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
    if cells and (any(map(is_quoted_list, cells)) or all(map(is_list, cells))):
        return LabelCells(None, lists=True)
    chosen = _separator(cells)
    labels = list(dict.fromkeys(part.strip() for cell in cells for part in (cell.split(chosen) if chosen else [cell])))
    doubts = []
    for each in (*SEPARATORS, *REPORTED):
        found = _Separated(labels, each)
        if found.joined and (each in SEPARATORS or found.share >= REPORTED_SHARE):
            doubts.append((each, found.joined[0]))
    return LabelCells(chosen, doubts=doubts)


def _distinct_cells(values: Iterable[Any]) -> list[str]:
    """The different texts among raw values; empty where the first values are all lists."""
    cells: dict[str, None] = {}
    for number, value in enumerate(values):
        if isinstance(value, str) and value.strip():
            cells[value.strip()] = None
        if len(cells) >= CELLS_EXAMINED or (number >= LISTS_EXAMINED and not cells):
            break
    return list(cells)


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
