import datetime
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.memory import open_rows
from tfhub_ft.data.formats.plain_values import plain_value, shorten_time

COLUMN = [Column("when", (), lambda value: value)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.str_("a"), "a"),
        (np.array([1, 2], "int8"), [1, 2]),
        (b"caf\xc3\xa9", "café"),
        (b"\xff", b"\xff"),
        (Decimal("2"), 2),
        (Decimal("2.50"), 2.5),
        ({"b", "a"}, ["a", "b"]),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime.date(2026, 1, 31), "2026-01-31"),
        (datetime.time(12, 30), "12:30:00"),
        (datetime.datetime(2026, 1, 31, 12), "2026-01-31 12:00:00"),
        (np.datetime64("2026-01-31"), "2026-01-31"),
        (np.datetime64("2026-01-31T12:00:00.5", "ns"), "2026-01-31 12:00:00.5"),
        (np.datetime64("NaT"), None),
        (np.array(["2026-01-31T12"], "datetime64[ns]"), ["2026-01-31 12:00:00"]),
        (np.timedelta64(90, "m"), "1:30:00"),
        ([(np.int8(1), None)], [[1, None]]),
    ],
)
def test_plain_value_is_an_object_of_json(value, expected):
    assert plain_value(value) == expected
    assert type(plain_value(value)) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("12:00:00.000Z", "12:00:00Z"), ("12:00:00.250", "12:00:00.25"), ("12:00:10", "12:00:10")],
)
def test_shorten_time_removes_zeros_of_fractions_only(text, expected):
    assert shorten_time(text) == expected


def test_dates_times_and_durations_are_equal_in_all_containers():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    pyarrow, datasets = pytest.importorskip("pyarrow"), pytest.importorskip("datasets")
    start = datetime.datetime(2026, 1, 31, 23, 30, 0, 250_000)
    zone = datetime.timezone(datetime.timedelta(hours=2))
    for values, expected in [
        ([start, None], ["2026-01-31 23:30:00.25", None]),
        ([start.replace(tzinfo=zone), None], ["2026-01-31 21:30:00.25Z", None]),
        ([datetime.timedelta(hours=1), None], ["1:00:00", None]),
    ]:
        frame = pandas.DataFrame({"when": pandas.Series(values)})
        containers: list[Any] = [frame, polars.DataFrame({"when": values}), pyarrow.table({"when": values})]
        containers += [pyarrow.Table.from_pandas(frame), datasets.Dataset.from_pandas(frame), {"when": values}]
        containers += [{"when": frame["when"]}, [{"when": value} for value in values]]
        if "Z" not in str(expected):
            containers.append({"when": frame["when"].to_numpy()})
        for container in containers:
            assert [values["when"] for _, values, _ in open_rows(container, COLUMN).records()] == expected
