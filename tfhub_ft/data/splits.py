"""The split of rows into training, validation and test rows."""

from array import array
from collections.abc import Iterable, Sequence

import numpy as np

from tfhub_ft.data.fingerprints import folded, numbered
from tfhub_ft.errors import InputError


def split_rows(
    labels: Iterable[str | None],
    texts: Iterable[str],
    *,
    fractions: Sequence[float] = (0.70, 0.15, 0.15),
    seed: int,
) -> "tuple[array[int], ...]":
    """Split rows into parts with the same mix of labels, by a seed.

    Rows with the same text (apart from case and white space around it) always land in the same part. A text in both
    the training and the test rows is answered from memory, and the test score flatters the model.

    Each part gets its fraction of each label's rows, to within one row where no text is repeated; only where that is
    no row at all it gets one. A repeated text with several labels is counted for the rarest of them.

    Args:
        labels: the label of each row; None for rows without classes, which then count as one class. Gone through once.
        texts: the text of each row. Gone through once.
        fractions: the size of each part; above 0, and 1 in sum.
        seed: the same rows and seed give the same parts.

    Returns:
        For each part the indices of its rows, ascending. Every index is in one part.

    Raises:
        InputError: there are no rows, the fractions are wrong, or a label has fewer distinct texts than there are
            parts.
        ValueError: there are not as many labels as texts.

    Example:
        train, validation, test = split_rows(["ham", "spam"] * 10, [f"text {i}" for i in range(20)], seed=1)
    """
    found: dict[str | None, int] = {}
    label_of_row = np.fromiter((found.setdefault(label, len(found)) for label in labels), np.int64)
    group_of_row = numbered(map(folded, texts))
    _check(len(label_of_row), len(group_of_row), fractions)
    counts = np.bincount(label_of_row)
    rarest_first = np.argsort(counts, kind="stable")
    rank = np.argsort(rarest_first)
    sizes = np.bincount(group_of_row)
    label_of_group = np.full(len(sizes), len(counts))
    np.minimum.at(label_of_group, group_of_row, rank[label_of_row])

    rng = np.random.default_rng(seed)
    part_of_group = np.empty(len(sizes), dtype=int)
    owed = np.zeros(len(fractions))
    by_label = np.argsort(label_of_group, kind="stable")
    firsts = np.searchsorted(label_of_group[by_label], range(1, len(counts)))
    for label, groups in zip(rarest_first, np.split(by_label, firsts), strict=True):
        if len(groups) < len(fractions):
            raise InputError(_too_few(list(found)[label], int(counts[label]), len(groups), len(fractions)))
        groups = rng.permutation(groups)
        # The largest groups go first, so that the small ones can even out what they leave.
        groups = groups[np.argsort(-sizes[groups], kind="stable")]
        part_of_group[groups] = _deal(sizes[groups].tolist(), _quotas(sizes[groups].sum(), fractions, owed))
        dealt = np.bincount(part_of_group[groups], weights=sizes[groups], minlength=len(fractions))
        owed += np.multiply(fractions, dealt.sum()) - dealt
    part_of_row = part_of_group[group_of_row]
    return tuple(array("q", np.flatnonzero(part_of_row == part).tobytes()) for part in range(len(fractions)))


def _check(labels: int, texts: int, fractions: Sequence[float]) -> None:
    if not texts:
        raise InputError("there are no rows to split")
    if labels != texts:
        raise ValueError(f"{labels} labels for {texts} texts")
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(f"the fractions {', '.join(map(str, fractions))} of a split must be above 0 and 1 in sum")


def _quotas(rows: int, fractions: Sequence[float], owed: np.ndarray) -> list[int]:
    """The rows of one label that each part shall get; those left by rounding go where other labels left too few."""
    exact = np.multiply(fractions, rows)
    quotas = np.floor(exact + 1e-9).astype(int)
    quotas[np.argsort(quotas - exact - owed, kind="stable")[: rows - quotas.sum()]] += 1
    return quotas.tolist()


def _deal(sizes: Sequence[int], quotas: Sequence[int]) -> list[int]:
    """The part that each of one label's groups goes to: the one that lacks most when the group's turn comes."""
    lacking = list(quotas)
    empty = set(range(len(quotas)))
    parts = []
    for left, size in zip(range(len(sizes), 0, -1), sizes, strict=True):
        # The last groups are kept for the parts that have none yet.
        part = max(empty, key=lacking.__getitem__) if left <= len(empty) else lacking.index(max(lacking))
        lacking[part] -= size
        empty.discard(part)
        parts.append(part)
    return parts


def _too_few(label: str | None, rows: int, texts: int, parts: int) -> str:
    whose = "the data has" if label is None else f"label {label!r} has"
    return (
        f"{whose} {_count(rows, 'row')} with {_count(texts, 'distinct text')} of its own, "
        f"and a split into {parts} parts needs {parts}; add rows, or give a file for each part"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
