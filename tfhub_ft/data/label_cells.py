"""Parse cells of several labels: lists, or labels between separators."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

from tfhub_ft.data.columns import FittedCheck, check_labels, is_nan
from tfhub_ft.data.list_cells import is_list, is_quoted_list, parse_list

# Separators that are detected, the usual one first, and others that are only reported.
SEPARATORS = (",", ";", "|", "#", "\t", "\n")
REPORTED = ("/", "&", "+", " ")
# Characters left at the ends of cells by programs that write a separator after each label.
AT_ENDS = ",;| \t\r\n"
# Separators that are hard to type in a shell.
ESCAPED = {r"\t": "\t", r"\n": "\n", "tab": "\t"}
# The minimum share of the parts of cells that other cells have, too: for a separator, for one that replaces the comma,
# and for one that is reported.
LEAST_SHARE, SHARE_OF_RIVAL, REPORTED_SHARE = 1 / 3, 1 / 2, 0.8
CELLS_EXAMINED, LISTS_EXAMINED, LABELS_SHOWN = 100_000, 1000, 10


class LabelCells(FittedCheck):
    """Reads all cells of a column of labels: lists, labels between separators or, without these, single labels.

    `doubts` are other separators that labels contain, each with such a label.
    """

    def __init__(self, separator: str | None, *, lists: bool = False, doubts: Sequence[tuple[str, str]] = ()):
        self.separator, self.lists, self.doubts = separator, lists, doubts
        self._labels: dict[str, None] = {}

    def __call__(self, value: object) -> tuple[str, ...]:
        """Return the labels of a cell, as `check_labels`."""
        if not isinstance(value, str):
            return check_labels(value)
        if is_nan(value):
            raise ValueError(f"is {value.strip()!r}, a missing value; leave the cell of a row without labels empty")
        labels = check_labels(self._split(value))
        self._labels.update(dict.fromkeys(labels))
        return labels

    def _split(self, cell: str) -> list[str]:
        if not cell.strip():
            return []
        if self.lists:
            parts = parse_list(cell)
        else:
            parts = cell.split(self.separator) if self.separator else [cell.strip(AT_ENDS)]
        return [part for part in parts if part.strip()]

    def notes(self) -> list[str]:
        """Return the labels and how they were read; empty if no cell was a text."""
        if not self._labels:
            return []
        labels = ", ".join(itertools.islice(sorted(self._labels), LABELS_SHOWN))
        more = ", ..." if len(self._labels) > LABELS_SHOWN else ""
        layout = f"separated by {self.separator!r}" if self.separator else "at most one in each row"
        return [f"labels: {len(self._labels):,} ({labels}{more}), {'in lists' if self.lists else layout}"]

    def warnings(self) -> list[str]:
        """Return the separators that may have been missed; empty if no cell was a text."""
        return [
            f"labels such as {label!r} contain {separator!r}, which was not read as a separator; if it is one, add"
            f" --label-separator {separator!r}"
            for separator, label in (self.doubts if self._labels else ())
        ]


def fit_labels(values: Iterable[object], *, separator: str | None = None) -> LabelCells:
    """Detect from all raw values of a column how its cells contain labels, unless the user named the separator.

    In a column of lists every cell is a list. Otherwise the comma separates labels, unless another separator fits
    better; without commas, the separator whose parts occur in other cells as well.
    """
    if separator is not None:
        return LabelCells(ESCAPED.get(separator, separator))
    cells = _distinct_cells(values)
    if cells and (any(map(is_quoted_list, cells)) or all(map(is_list, cells))):
        return LabelCells(None, lists=True)
    best = _best_separator(cells)
    labels = list(dict.fromkeys(part.strip() for cell in cells for part in (cell.split(best) if best else [cell])))
    doubts = []
    for other in (*SEPARATORS, *REPORTED):
        separated = _Separated(labels, other)
        if separated.joined and (other in SEPARATORS or separated.share >= REPORTED_SHARE):
            doubts.append((other, separated.joined[0]))
    return LabelCells(best, doubts=doubts)


def _distinct_cells(values: Iterable[object]) -> list[str]:
    """Return the distinct texts among raw values; empty if the first values are all lists."""
    cells: dict[str, None] = {}
    for number, value in enumerate(values):
        if isinstance(value, str) and value.strip():
            cells[value.strip()] = None
        if len(cells) >= CELLS_EXAMINED or (number >= LISTS_EXAMINED and not cells):
            break
    return list(cells)


class _Separated:
    """Distinct cells split at a separator, which may occur in some of them."""

    def __init__(self, cells: Sequence[str], separator: str):
        parts_of_cells = [[part.strip() for part in cell.split(separator) if part.strip()] for cell in cells]
        self.joined = [cell for cell, parts in zip(cells, parts_of_cells) if len(parts) > 1]
        counts = Counter(part for parts in parts_of_cells for part in set(parts))
        self.labels = len(counts)
        parts = [part for each in parts_of_cells if len(each) > 1 for part in each]
        # The share of the parts that other cells have, too.
        self.share = sum(counts[part] > 1 for part in parts) / len(parts) if parts else 0.0


def _best_separator(cells: Sequence[str]) -> str | None:
    """Return the separator that fits cells best; None if they are single labels."""
    separated = {each: _Separated(cells, each) for each in SEPARATORS if any(each in cell for cell in cells)}
    rivals = [each for each in separated if each != "," and separated[each].share >= LEAST_SHARE]
    best = max(rivals, key=lambda each: separated[each].share, default=None)
    if "," not in separated:
        return best
    comma = separated[","]
    if best and separated[best].share >= max(SHARE_OF_RIVAL, comma.share) and separated[best].labels < comma.labels:
        return best
    return ","
