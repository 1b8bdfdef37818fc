"""Names of labels that are numbers or booleans: the same for each format and type of column."""

import math
import re
from collections.abc import Collection, Iterable
from typing import Any

from tfhub_ft.data.columns import FittedCheck, check_label

LABELS_SHOWN = 10
_NUMBER = re.compile(r"[-+]?\d+(?:\.(\d+))?")
_BOOLEANS = {"true": "1", "false": "0"}


class LabelNames(FittedCheck):
    """Reads the labels of a column; after the last one, it knows by which names some are replaced."""

    def __init__(self) -> None:
        self._labels: dict[tuple[type, Any], str] = {}

    def __call__(self, value: object) -> str:
        """Return the label of a value, as `check_label`."""
        key = (type(value), value) if isinstance(value, str | int | float) else None
        label = self._labels.get(key) if key else None
        if label is None:
            label = check_label(value)
            if key:
                self._labels[key] = label
        return label

    def replacements(self) -> dict[str, str]:
        """Return the names of labels that are replaced, by label; see `common_names`."""
        return common_names(set(self._labels.values()))

    def notes(self) -> list[str]:
        """Return how labels that are not texts, or that are replaced, were read."""
        names = self.replacements()
        read = {_shown(value): names.get(label, label) for (_, value), label in self._labels.items()}
        changed = {value: read[value] for value in sorted(read, key=_sort_key) if value != read[value]}
        if changed:
            verb = "labels {} are" if len(changed) > 1 else "label {} is"
            return [f"{verb.format(_join(changed))} read as {_join(changed.values())}"]
        typed = sorted({_shown(value) for kind, value in self._labels if kind is not str}, key=_sort_key)
        return [f"labels {_join(typed)} are not texts; they are read as names"] if typed else []

    def warnings(self) -> list[str]:
        """Return a warning of labels that are numbers and not all whole."""
        numbers = [_NUMBER.fullmatch(label) for label in self._labels.values()]
        parts = [number for number in numbers if number and int(number[1] or 0)]
        if not parts or not all(numbers):
            return []
        return [
            f"labels such as {parts[0][0]!r} are numbers that are not whole; to predict numbers, train the recipe"
            " regression (similarity for pairs of texts)"
        ]


def fit_label_names(values: Iterable[object]) -> LabelNames:
    """Return the check of a column of labels, which looks at the values as they are read."""
    return LabelNames()


def common_names(labels: Collection[str]) -> dict[str, str]:
    """Return names in which the labels of a column are written the same in all formats, without those that are.

    1.0 becomes 1 if no number has a fraction. Booleans become 0 and 1 if these are labels, too, and true and false if
    all labels are booleans.
    """
    numbers = {label: number for label in labels if (number := _NUMBER.fullmatch(label))}
    names: dict[str, str] = {}
    if not any(int(number[1] or 0) for number in numbers.values()):
        names |= {label: str(int(label.split(".")[0])) for label, number in numbers.items() if number[1]}
    booleans = {label: label.casefold() for label in labels if label.casefold() in _BOOLEANS}
    if any(names.get(label, label) in _BOOLEANS.values() for label in numbers):
        names |= {label: _BOOLEANS[boolean] for label, boolean in booleans.items()}
    elif len(booleans) == len(labels):
        names |= booleans
    return {label: name for label, name in names.items() if label != name}


def known_names(labels: Collection[str], known: Collection[str]) -> dict[str, str]:
    """Return the names of a model's labels for labels that it writes otherwise, such as 1.0 or true for 1."""
    are_flags = {_key(label, are_flags=True) for label in known} <= set(_BOOLEANS.values())
    names = {_key(label, are_flags): label for label in known}
    keys = {label: _key(label, are_flags) for label in labels if label not in known}
    return {label: names[key] for label, key in keys.items() if key in names}


def _key(label: str, are_flags: bool) -> str:
    number = _NUMBER.fullmatch(label)
    if number and not int(number[1] or 0):
        return str(int(label.split(".")[0]))
    return _BOOLEANS.get(label.casefold(), label) if are_flags else label


def _sort_key(label: str) -> tuple[float, str]:
    return float(label) if _NUMBER.fullmatch(label) else math.inf, label


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


def _join(values: Iterable[str]) -> str:
    """Return the first ten distinct values for a sentence."""
    first = list(dict.fromkeys(values))
    if len(first) > LABELS_SHOWN:
        return f"{', '.join(first[:LABELS_SHOWN])} ..."
    return " and ".join(filter(None, (", ".join(first[:-1]), first[-1])))
