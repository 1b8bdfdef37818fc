"""Split rows into training, validation and test rows, stratified by their labels."""

import heapq
from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tfhub_ft.data.fingerprints import folded, numbered
from tfhub_ft.utils.errors import InputError

Labels = str | Sequence[str] | None


def split_rows(
    labels: Iterable[Labels],
    texts: Iterable[str],
    *,
    fractions: Sequence[float] = (0.70, 0.15, 0.15),
    seed: int,
) -> "tuple[array[int], ...]":
    """Split rows into parts with the same mix of labels, by a seed.

    Rows with the same text (apart from case and white space around it) always land in the same part. A text in both
    the training and the test rows is answered from memory, and the test score flatters the model.

    Where each row has one label, each part gets its fraction of each label's rows, to within one row where texts do not
    repeat. Rows with several labels are split by iterative stratification, the rarest label first; rows without labels
    even out the sizes of the parts. Every label has rows in the first part. A label with fewer distinct texts than
    there are parts is in the first part alone, or in the first and the last one.

    Args:
        labels: the label of each row, or its labels in an order that is always the same; None for rows without labels.
            Iterated once.
        texts: the text of each row. Iterated once.
        fractions: the size of each part, the training rows first; above 0, with a sum of 1.
        seed: the same rows and seed give the same parts.

    Returns:
        For each part the indices of its rows, ascending. Every index is in one part.

    Raises:
        InputError: the rows are missing, the fractions are wrong, or a part would be empty.
        ValueError: there are not as many labels as texts.

    Example:
        train, validation, test = split_rows(["ham", "spam"] * 10, [f"text {i}" for i in range(20)], seed=1)

    Reference:
        Sechidis, Tsoumakas and Vlahavas 2011, https://doi.org/10.1007/978-3-642-23808-6_10
    """
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(f"split fractions {', '.join(map(str, fractions))}: must be above 0, with a sum of 1")
    row_of_pair, label_of_pair, rows = _pairs(labels)
    group_of_row = numbered(map(folded, texts))
    if rows != len(group_of_row):
        raise ValueError(f"{rows} labels for {len(group_of_row)} texts")
    if not rows:
        raise InputError("no rows to split")
    part_of_group = _Stratifier(group_of_row, row_of_pair, label_of_pair, fractions).split(np.random.default_rng(seed))
    empty = set(range(len(fractions))) - set(part_of_group.tolist())
    if empty:
        raise InputError(
            f"too few rows to split: {_count(rows, 'row')} with {_count(len(part_of_group), 'distinct text')} for"
            f" {len(fractions)} parts, where every label needs training rows; add rows, or give a file for each part"
        )
    part_of_row = part_of_group[group_of_row]
    return tuple(array("q", np.flatnonzero(part_of_row == part).tobytes()) for part in range(len(fractions)))


def _pairs(labels: Iterable[Labels]) -> tuple[np.ndarray, np.ndarray, int]:
    """Each row and label that belong together as two arrays of numbers, int64, and the number of rows.

    Labels are numbered in order of appearance; having none counts as a label, whose number is -1.
    """
    numbers: dict[str, int] = {}
    row_of_pair, label_of_pair = array("q"), array("q")
    rows = 0
    for rows, each in enumerate(labels, 1):  # noqa: B007
        for label in (each,) if isinstance(each, str) else each or (None,):
            row_of_pair.append(rows - 1)
            label_of_pair.append(-1 if label is None else numbers.setdefault(label, len(numbers)))
    return np.frombuffer(row_of_pair, np.int64), np.frombuffer(label_of_pair, np.int64), rows


class _Stratifier:
    """Deals groups of rows with the same text out to parts, label by label.

    Args:
        group_of_row: int64 (rows,).
        row_of_pair: int64 (pairs,), ascending.
        label_of_pair: int64 (pairs,), -1 for rows without labels.
        fractions: of the parts.
    """

    def __init__(
        self, group_of_row: np.ndarray, row_of_pair: np.ndarray, label_of_pair: np.ndarray, fractions: Sequence[float]
    ):
        self.fractions, self.sizes = np.array(fractions), np.bincount(group_of_row)
        count = int(label_of_pair.max()) + 1
        self.unlabeled = count
        labels = np.where(label_of_pair < 0, count, label_of_pair)
        width = count + 1
        keys, rows = np.unique(group_of_row[row_of_pair] * width + labels, return_counts=True)
        # The labels of each group one after the other, and the groups of each label likewise.
        self.label, self.rows = array("q", (keys % width).tobytes()), array("q", rows.tobytes())
        self.starts = array("q", np.searchsorted(keys, np.arange(len(self.sizes) + 1) * width).tobytes())
        by_label = np.argsort(keys % width, kind="stable")
        self.groups, self.group_rows = (keys // width)[by_label], rows[by_label]
        self.label_starts = np.searchsorted((keys % width)[by_label], np.arange(width + 1))
        self.total = np.bincount(keys % width, rows, width).astype(np.int64)
        self.left, self.groups_left = self.total.tolist(), np.diff(self.label_starts).tolist()
        # Rows of each label that each part has got.
        self.dealt = [[0] * len(fractions) for _ in range(width)]
        self.owed = np.zeros(len(fractions))
        self.part_of_group = np.full(len(self.sizes), -1)

    def split(self, rng: np.random.Generator) -> np.ndarray:
        """The part of each group, int64 (groups,)."""
        for label in self._rarest_first():
            self._deal_label(label, rng)
        return self.part_of_group

    def _rarest_first(self) -> Iterator[int]:
        """The labels with rows that are left, the one with the fewest of them first; rows without labels come last."""
        waiting = [(rows, label) for label, rows in enumerate(self.left[: self.unlabeled]) if rows]
        heapq.heapify(waiting)
        while waiting:
            rows, label = heapq.heappop(waiting)
            if rows != self.left[label]:
                if self.left[label]:
                    heapq.heappush(waiting, (self.left[label], label))
                continue
            yield label
        if self.left[self.unlabeled]:
            yield self.unlabeled

    def _deal_label(self, label: int, rng: np.random.Generator) -> None:
        """Deal the groups of a label out that are left."""
        here = slice(self.label_starts[label], self.label_starts[label + 1])
        groups, rows = self.groups[here], self.group_rows[here]
        is_left = self.part_of_group[groups] < 0
        order = rng.permutation(np.flatnonzero(is_left))
        # The largest groups go first, so that the small ones can even out what they leave.
        order = order[np.argsort(-rows[order], kind="stable")]
        lacking = self._quotas(label)
        empty = {part for part, dealt in enumerate(self.dealt[label]) if not dealt}
        for left, group, size in zip(range(len(order), 0, -1), groups[order].tolist(), rows[order].tolist()):
            places = range(self.starts[group], self.starts[group + 1])
            part = 0 if self._must_train(places) else _neediest(lacking, empty, left)
            lacking[part] -= size
            empty.discard(part)
            self.part_of_group[group] = part
            for place in places:
                self._count_dealt(self.label[place], self.rows[place], part)
        sizes = np.bincount(self.part_of_group[groups[order]], self.sizes[groups[order]], len(self.fractions))
        self.owed += self.fractions * sizes.sum() - sizes

    def _quotas(self, label: int) -> list[int]:
        """The rows of a label that each part gets; those left by rounding go where other labels left too few."""
        left = self.left[label]
        exact = self.fractions * self.total[label] - self.dealt[label]
        if label == self.unlabeled:
            exact = self.fractions * left + self.owed
        quotas = np.floor(exact + 1e-9).astype(np.int64)
        rest = left - int(quotas.sum())
        quotas[np.argsort(quotas - exact - self.owed, kind="stable")[:rest]] += 1
        return quotas.tolist()

    def _must_train(self, places: range) -> bool:
        """Whether a group, whose labels are at these places, has the last rows of one that the training rows lack."""
        if len(places) == 1:
            return False
        return any(self.groups_left[self.label[i]] == 1 and not self.dealt[self.label[i]][0] for i in places)

    def _count_dealt(self, label: int, rows: int, part: int) -> None:
        self.left[label] -= rows
        self.groups_left[label] -= 1
        self.dealt[label][part] += rows


def _neediest(lacking: list[int], empty: set[int], left: int) -> int:
    """The part that the next of a label's groups goes to: the one that lacks most rows.

    The last groups are kept for the parts that have none yet; where these are more, for the first part and the last.
    """
    if left > len(empty):
        return lacking.index(max(lacking))
    last = len(lacking) - 1
    parts = sorted(empty, key=lambda part: (part != 0, part != last, part))[:left]
    return max(sorted(parts), key=lacking.__getitem__)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
