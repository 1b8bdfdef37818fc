"""Sequences larger than memory: in a temporary file, or computed on access."""

import itertools
import marshal
import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from tfhub_ft.utils.errors import RunError

# About 50 MB of short texts.
IN_MEMORY = 100_000

T = TypeVar("T")


def _identity(value: T) -> T:
    return value


def spool(
    values: Iterable[T], *, pack: Callable[[T], Any] = _identity, unpack: Callable[[Any], T] = _identity
) -> Sequence[T]:
    """Return all values of an iterable, in a list or, above 100,000 values, in a temporary file.

    `pack` turns a value into texts, numbers, and tuples, lists and dictionaries of them; `unpack` is its inverse.
    """
    values = iter(values)
    first = list(itertools.islice(values, IN_MEMORY + 1))
    if len(first) <= IN_MEMORY:
        return first
    file = tempfile.TemporaryFile(prefix="tfhub_ft-")  # noqa: SIM115  open as long as the sequence lives
    starts = array("q", [0])
    try:
        for value in _drain(first, values):
            starts.append(starts[-1] + file.write(marshal.dumps(pack(value))))
        file.flush()
    except OSError as error:
        raise RunError(
            f"{tempfile.gettempdir()}: the rows do not fit into this temporary folder ({error.strerror}); free disk"
            " space, or set $TMPDIR to another folder"
        ) from None

    def read(number: int) -> T:
        start = starts[number]
        return unpack(marshal.loads(os.pread(file.fileno(), starts[number + 1] - start, start)))

    return OnDisk(read, range(len(starts) - 1))


def select(values: Sequence[T], indices: Iterable[int]) -> Sequence[T]:
    """Return some values of a sequence, in the order of their indices; those of an `OnDisk` stay in its file."""
    if isinstance(values, OnDisk):
        return OnDisk(values.function, array("q", (values.values[i] for i in indices)))
    return [values[i] for i in indices]


class Mapped(Sequence, Generic[T]):
    """The results of a function for the values of a sequence, computed on access.

    Example:
        inputs = Mapped(task.training_inputs, split.rows)
    """

    def __init__(self, function: Callable[[Any], T], values: Sequence[Any]):
        self.function, self.values = function, values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(self.function, self.values[index])
        return self.function(self.values[index])


class OnDisk(Mapped[T]):
    """Values in a temporary file, by their numbers in the file; each is read on access, and threads may share it."""


def map_sequence(function: Callable[[T], T], values: Sequence[T]) -> Sequence[T]:
    """Return the results of a function for the values of a sequence; those of an `OnDisk` stay in its file."""
    if isinstance(values, OnDisk):
        return OnDisk(lambda number, read=values.function: function(read(number)), values.values)
    return [function(value) for value in values]


def _drain(first: list[T], others: Iterator[T]) -> Iterator[T]:
    """Yield the values of a list, which is then emptied, and further values."""
    yield from first
    first.clear()
    yield from others
