"""Sequences that may be longer than the memory: kept in a temporary file, or made when they are asked for."""

import itertools
import marshal
import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

from tfhub_ft.utils.errors import RunError

# About 50 MB of short texts.
IN_MEMORY = 100_000


def _itself(value: Any) -> Any:
    return value


def kept(
    values: Iterable[Any], *, parts: Callable[[Any], Any] = _itself, made: Callable[[Any], Any] = _itself
) -> Sequence[Any]:
    """All values of an iterable, which is gone through once.

    Args:
        values: up to 100,000 of them stay in memory, more are written to a temporary file, which takes 8 bytes of
            memory a value.
        parts: from a value to what is written of it: texts, numbers, and tuples, lists and dictionaries of them.
        made: from these to the value.

    Returns:
        A list, or an `OnDisk`.

    Raises:
        RunError: the temporary folder is full.

    Example:
        texts = kept(row.values["text"] for row in read_rows("reviews.csv", columns))
    """
    values = iter(values)
    first = list(itertools.islice(values, IN_MEMORY + 1))
    if len(first) <= IN_MEMORY:
        return first
    file = tempfile.TemporaryFile(prefix="tfhub_ft-")  # noqa: SIM115  open as long as the sequence lives
    starts = array("q", [0])
    try:
        for value in _emptied(first, values):
            starts.append(starts[-1] + file.write(marshal.dumps(parts(value))))
        file.flush()
    except OSError as error:
        raise RunError(
            f"the rows do not fit into the temporary folder {tempfile.gettempdir()} ({error.strerror}):"
            " make room there, or name another folder in $TMPDIR"
        ) from None
    return OnDisk(file, starts, range(len(starts) - 1), made)


def pick(values: Sequence[Any], numbers: Iterable[int]) -> Sequence[Any]:
    """Some values of a sequence that `kept` gave; those of a file stay in that file.

    Args:
        values: the sequence.
        numbers: the places of the values, in the order wanted.
    """
    if isinstance(values, OnDisk):
        return values.picked(array("q", (values._numbers[i] for i in numbers)))
    return [values[i] for i in numbers]


class OnDisk(Sequence):
    """Values in a temporary file, each read when it is asked for. Threads may share it. `kept` makes it.

    Args:
        file: holds the values' parts, one behind the other.
        starts: where each starts, and where the last one ends.
        numbers: which of them are the values of this sequence.
        made: from a value's parts to the value.
    """

    def __init__(
        self, file: BinaryIO, starts: Sequence[int], numbers: Sequence[int], made: Callable[[Any], Any] = _itself
    ):
        self._file, self._starts, self._numbers, self._made = file, starts, numbers, made

    def picked(self, numbers: Sequence[int]) -> "OnDisk":
        """Other values of the same file."""
        return OnDisk(self._file, self._starts, numbers, self._made)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return self.picked(self._numbers[place])
        number = self._numbers[place]
        start = self._starts[number]
        return self._made(marshal.loads(os.pread(self._file.fileno(), self._starts[number + 1] - start, start)))


class Mapped(Sequence):
    """What a function makes of each value of a sequence, made when it is asked for.

    Args:
        function: takes a value.
        values: the sequence.

    Example:
        inputs = Mapped(task.training_inputs, split.rows)
    """

    def __init__(self, function: Callable[[Any], Any], values: Sequence[Any]):
        self._function, self._values = function, values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return Mapped(self._function, self._values[place])
        return self._function(self._values[place])


def _emptied(first: list[Any], others: Iterator[Any]) -> Iterator[Any]:
    """The values of a list, which is emptied, and those behind it."""
    yield from first
    first.clear()
    yield from others
