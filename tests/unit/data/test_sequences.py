import contextlib
import os
import random
from pathlib import Path

import pytest

from tfhub_ft.data import sequences
from tfhub_ft.data.rows import Row
from tfhub_ft.data.sequences import Mapped, OnDisk, kept, pick
from tfhub_ft.utils.errors import InputError, RunError

ROWS = [Row(n + 2, {"text": f"text {n} é", "labels": ("a", "b")[: n % 3]}) for n in range(50)]


@pytest.fixture
def on_disk(monkeypatch):
    monkeypatch.setattr(sequences, "IN_MEMORY", 20)
    rows = kept(iter(ROWS), parts=lambda row: (row.line, row.values), made=lambda parts: Row(*parts))
    assert isinstance(rows, OnDisk)
    return rows


def test_few_values_are_a_list():
    assert kept(iter(ROWS)) == ROWS


def test_values_on_disk_are_the_same(on_disk):
    assert len(on_disk) == 50
    assert list(on_disk) == ROWS
    assert list(on_disk) == ROWS
    assert (on_disk[0], on_disk[-1]) == (ROWS[0], ROWS[-1])
    with pytest.raises(IndexError):
        on_disk[50]


def test_parts_of_what_is_on_disk(on_disk):
    assert list(on_disk[10:40:2]) == ROWS[10:40:2]
    assert list(pick(on_disk, [4, 9, 7])) == [ROWS[4], ROWS[9], ROWS[7]]
    assert list(pick(pick(on_disk, [4, 9, 7]), [2, 0])) == [ROWS[7], ROWS[4]]
    assert pick(ROWS, [4, 9]) == [ROWS[4], ROWS[9]]


def test_chance_chooses_the_same_on_disk(on_disk):
    assert random.Random(3).sample(on_disk, 5) == random.Random(3).sample(ROWS, 5)


def test_an_error_of_the_values_comes_through(monkeypatch):
    monkeypatch.setattr(sequences, "IN_MEMORY", 2)

    def values():
        yield from (1, 2, 3, 4)
        raise InputError("line 5")

    with pytest.raises(InputError, match="line 5"):
        kept(values())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a file that is always full")
def test_a_full_disk_is_told(monkeypatch):
    monkeypatch.setattr(sequences, "IN_MEMORY", 2)
    full = Path("/dev/full").open("wb")  # noqa: SIM115  it cannot be closed before it is written
    monkeypatch.setattr(sequences.tempfile, "TemporaryFile", lambda prefix: full)
    with pytest.raises(RunError, match=r"do not fit into the temporary folder .*TMPDIR"):
        kept(range(100_000))
    with contextlib.suppress(OSError):
        full.close()


def test_mapped_values_are_made_when_asked_for():
    asked = []
    mapped = Mapped(lambda value: asked.append(value) or value * 2, range(5))
    assert len(mapped) == 5
    assert (mapped[3], list(mapped[1:3])) == (6, [2, 4])
    assert asked == [3, 1, 2]
