"""Split rows into training, validation and test rows, stratified by label."""

import heapq
from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tfhub_ft.data.fingerprints import fold_text, number_texts
from tfhub_ft.utils.errors import InputError

Labels = str | Sequence[str] | None


def split_rows(
    labels: Iterable[Labels],
    texts: Iterable[str],
    *,
    fractions: Sequence[float] = (0.70, 0.15, 0.15),
    seed: int,
) -> "tuple[array[int], ...]":
    """Split rows into parts with the same mix of labels; return the indices of the rows of each part, ascending.

    Rows with the same text, apart from case and white space around it, are in the same part: a text in both the
    training and the test rows would make the test score too high.

    If each row has one label, each part gets its fraction of each label's rows, to within one row if texts do not
    repeat. Rows with several labels are split by iterative stratification, rarest label first; rows without labels even
    out the sizes of the parts. Every label has rows in the first part. A label with fewer distinct texts than parts is
    in the first part only, or in the first and the last one.

    Args:
        labels: The label of each row, or its labels in a fixed order; None for a row without labels. Iterated once.
        texts: The text of each row. Iterated once.
        fractions: The size of each part, training rows first; above 0, with a sum of 1.
        seed: The same rows and seed give the same parts.

    Reference:
        Sechidis, Tsoumakas and Vlahavas 2011, https://doi.org/10.1007/978-3-642-23808-6_10
    """
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(f"split fractions {', '.join(map(str, fractions))}: must be above 0, with a sum of 1")
    row_of_pair, label_of_pair, rows = _pairs(labels)
    group_of_row = number_texts(map(fold_text, texts))
    if rows != len(group_of_row):
        raise ValueError(f"{rows} labels for {len(group_of_row)} texts")
    if not rows:
        raise InputError("no rows to split")
    part_of_group = _Stratifier(group_of_row, row_of_pair, label_of_pair, fractions).split(np.random.default_rng(seed))
    groups = len(part_of_group)
    if set(range(len(fractions))) - set(part_of_group.tolist()):
        raise InputError(
            f"too few rows to split: {rows:,} row{'s' if rows > 1 else ''} with {groups:,} distinct"
            f" text{'s' if groups > 1 else ''} for {len(fractions)} parts, and every label needs training rows;"
            " add rows, or pass a file for each part"
        )
    part_of_row = part_of_group[group_of_row]
    return tuple(array("q", np.flatnonzero(part_of_row == part).tobytes()) for part in range(len(fractions)))


def _pairs(labels: Iterable[Labels]) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the row and the label of each pair, int64, -1 for a row without labels, and the number of rows."""
    numbers: dict[str, int] = {}
    row_of_pair, label_of_pair = array("q"), array("q")
    rows = 0
    for rows, each in enumerate(labels, 1):  # noqa: B007
        for label in (each,) if isinstance(each, str) else each or (None,):
            row_of_pair.append(rows - 1)
            label_of_pair.append(-1 if label is None else numbers.setdefault(label, len(numbers)))
    return np.frombuffer(row_of_pair, np.int64), np.frombuffer(label_of_pair, np.int64), rows


class _Stratifier:
    """Assigns groups of rows with the same text to parts, label by label. Rows of the label -1 are unlabeled."""

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
        # Rows and groups of each label without a part, and the rows of each label in each part.
        self.left, self.groups_left = self.total.tolist(), np.diff(self.label_starts).tolist()
        self.assigned = [[0] * len(fractions) for _ in range(width)]
        # Rows that each part lacks because of rounding.
        self.owed = np.zeros(len(fractions))
        self.part_of_group = np.full(len(self.sizes), -1)

    def split(self, rng: np.random.Generator) -> np.ndarray:
        """Return the part of each group, int64 (groups,)."""
        for label in self._rarest_first():
            self._assign_label(label, rng)
        return self.part_of_group

    def _rarest_first(self) -> Iterator[int]:
        """Yield the labels by the number of rows that are left; rows without labels come last."""
        heap = [(rows, label) for label, rows in enumerate(self.left[: self.unlabeled]) if rows]
        heapq.heapify(heap)
        while heap:
            rows, label = heapq.heappop(heap)
            if rows == self.left[label]:
                yield label
            elif self.left[label]:
                heapq.heappush(heap, (self.left[label], label))
        if self.left[self.unlabeled]:
            yield self.unlabeled

    def _assign_label(self, label: int, rng: np.random.Generator) -> None:
        """Assign the remaining groups of a label."""
        here = slice(self.label_starts[label], self.label_starts[label + 1])
        groups, rows = self.groups[here], self.group_rows[here]
        order = rng.permutation(np.flatnonzero(self.part_of_group[groups] < 0))
        # The largest groups first, so that small ones can even out the differences.
        order = order[np.argsort(-rows[order], kind="stable")]
        lacking = self._quotas(label)
        empty = {part for part, count in enumerate(self.assigned[label]) if not count}
        for left, group, size in zip(range(len(order), 0, -1), groups[order].tolist(), rows[order].tolist()):
            pairs = range(self.starts[group], self.starts[group + 1])
            part = 0 if self._must_train(pairs) else _neediest_part(lacking, empty, left)
            lacking[part] -= size
            empty.discard(part)
            self.part_of_group[group] = part
            for pair in pairs:
                self.left[self.label[pair]] -= self.rows[pair]
                self.groups_left[self.label[pair]] -= 1
                self.assigned[self.label[pair]][part] += self.rows[pair]
        sizes = np.bincount(self.part_of_group[groups[order]], self.sizes[groups[order]], len(self.fractions))
        self.owed += self.fractions * sizes.sum() - sizes

    def _quotas(self, label: int) -> list[int]:
        """Return the rows of a label for each part; rows left by rounding go to the parts that lack most."""
        left = self.left[label]
        exact = self.fractions * self.total[label] - self.assigned[label]
        if label == self.unlabeled:
            exact = self.fractions * left + self.owed
        quotas = np.floor(exact + 1e-9).astype(np.int64)
        rest = left - int(quotas.sum())
        quotas[np.argsort(quotas - exact - self.owed, kind="stable")[:rest]] += 1
        return quotas.tolist()

    def _must_train(self, pairs: range) -> bool:
        """Return whether a group of several labels has the last rows of a label that training rows lack."""
        if len(pairs) == 1:
            return False
        return any(self.groups_left[self.label[i]] == 1 and not self.assigned[self.label[i]][0] for i in pairs)


def _neediest_part(lacking: list[int], empty: set[int], left: int) -> int:
    """Return the part that lacks most rows of a label.

    The last `left` groups are reserved for empty parts: for the first and the last part if there are more of these.
    """
    if left > len(empty):
        return lacking.index(max(lacking))
    last = len(lacking) - 1
    parts = sorted(empty, key=lambda part: (part != 0, part != last, part))[:left]
    return max(sorted(parts), key=lacking.__getitem__)
