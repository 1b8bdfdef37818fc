import contextlib
import os
import random
from pathlib import Path

import pytest

from tfhub_ft.data import sequences
from tfhub_ft.data.rows import Row
from tfhub_ft.data.sequences import Mapped, OnDisk, select, spool
from tfhub_ft.utils.errors import InputError, RunError

ROWS = [Row(n + 2, {"text": f"text {n} é", "labels": ("a", "b")[: n % 3]}) for n in range(50)]


@pytest.fixture
def on_disk(monkeypatch):
    monkeypatch.setattr(sequences, "IN_MEMORY", 20)
    rows = spool(iter(ROWS), pack=lambda row: (row.line, row.values), unpack=lambda parts: Row(*parts))
    assert isinstance(rows, OnDisk)
    return rows


def test_spool_returns_few_values_as_a_list():
    assert spool(iter(ROWS)) == ROWS


def test_spool_returns_many_values_from_disk(on_disk):
    assert len(on_disk) == 50
    assert list(on_disk) == ROWS
    assert list(on_disk) == ROWS
    assert (on_disk[0], on_disk[-1]) == (ROWS[0], ROWS[-1])
    with pytest.raises(IndexError):
        on_disk[50]


def test_select_returns_parts_of_values_on_disk(on_disk):
    assert list(on_disk[10:40:2]) == ROWS[10:40:2]
    assert list(select(on_disk, [4, 9, 7])) == [ROWS[4], ROWS[9], ROWS[7]]
    assert list(select(select(on_disk, [4, 9, 7]), [2, 0])) == [ROWS[7], ROWS[4]]
    assert select(ROWS, [4, 9]) == [ROWS[4], ROWS[9]]


def test_on_disk_samples_like_a_list(on_disk):
    assert random.Random(3).sample(on_disk, 5) == random.Random(3).sample(ROWS, 5)


def test_spool_passes_on_errors_of_the_values(monkeypatch):
    monkeypatch.setattr(sequences, "IN_MEMORY", 2)

    def values():
        yield from (1, 2, 3, 4)
        raise InputError("line 5")

    with pytest.raises(InputError, match="line 5"):
        spool(values())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a file that is always full")
def test_spool_reports_a_full_disk(monkeypatch):
    monkeypatch.setattr(sequences, "IN_MEMORY", 2)
    full = Path("/dev/full").open("wb")  # noqa: SIM115  it cannot be closed before it is written
    monkeypatch.setattr(sequences.tempfile, "TemporaryFile", lambda prefix: full)
    with pytest.raises(RunError, match=r"do not fit into this temporary folder .*TMPDIR"):
        spool(range(100_000))
    with contextlib.suppress(OSError):
        full.close()


def test_mapped_computes_values_on_access():
    computed = []
    mapped = Mapped(lambda value: computed.append(value) or value * 2, range(5))
    assert len(mapped) == 5
    assert (mapped[3], list(mapped[1:3])) == (6, [2, 4])
    assert computed == [3, 1, 2]
