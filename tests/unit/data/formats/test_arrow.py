"""Rows of Arrow record batches."""

import datetime
import decimal
import tracemalloc

import pyarrow as pa
import pytest

from tfhub_ft.data.columns import Column, check_label, check_labels, check_number, check_text
from tfhub_ft.data.formats.arrow import open_batches
from tfhub_ft.data.rows import rows_of
from tfhub_ft.utils.errors import InputError

TEXT = Column("text", ("review",), check_text, option="--text-column")
LABEL = Column("label", (), check_label)
WHOLE_ROW = Column("", (), lambda others: others, whole_row=True)


def read(table, columns=(TEXT, LABEL)):
    source = open_batches("frame", table.schema, lambda names: table.select(names).to_batches(), columns)
    return [(row.line, row.values) for row in rows_of(source, columns)]


def cell(array):
    """Return the last value of an array, as a column that is not read by name has it."""
    table = pa.table({"text": ["good"] * len(array), "other": array})
    return read(table, [TEXT, WHOLE_ROW])[-1][1][""]["other"]


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int8(), pa.string())],
    ids=str,
)
def test_arrow_reads_texts_of_every_type(kind):
    texts = pa.array(["größer 🎬", "bad"], pa.string()).cast(kind)
    table = pa.table({"review": texts, "label": [True, False]})
    assert read(table) == [(1, {"text": "größer 🎬", "label": "true"}), (2, {"text": "bad", "label": "false"})]


@pytest.mark.parametrize(
    "array, expected",
    [
        (pa.array([3], pa.uint64()), 3),
        (pa.array([1.5], pa.float16()), 1.5),
        (pa.array([None], pa.int32()), None),
        (pa.array([decimal.Decimal("12")]), 12),
        (pa.array([decimal.Decimal("12.50")]), 12.5),
        (pa.array([datetime.date(2026, 1, 31)]), "2026-01-31"),
        (pa.array([datetime.datetime(2026, 1, 31, 12)]), "2026-01-31 12:00:00"),
        (pa.array([1], pa.timestamp("ns")), "1970-01-01 00:00:00.000000001"),
        (pa.array([0], pa.timestamp("s", "Asia/Tokyo")), "1970-01-01 00:00:00Z"),
        (pa.array([datetime.time(12, 30)]), "12:30:00"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())), {"a": 1}),
        (pa.array([[datetime.date(2026, 1, 31)]]), ["2026-01-31"]),
        (pa.array([{"a": [b"x", None]}]), {"a": ["x", None]}),
        (pa.array([b"\xff"]), b"\xff"),
        (pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), ["a"]), "a"),
        (pa.array(["a", "b"]).dictionary_encode(), "b"),
        (pa.DictionaryArray.from_arrays(pa.array([0]), pa.array(["a"], pa.string_view())), "a"),
        (pa.array([b"a" * 16], pa.uuid()), "61616161-6161-6161-6161-616161616161"),
    ],
    ids=lambda value: str(getattr(value, "type", "")) or None,
)
def test_arrow_converts_values_to_those_of_json(array, expected):
    value = cell(array)
    assert value == expected
    assert type(value) is type(expected)


def test_arrow_numbers_rows_across_batches():
    batches = [pa.record_batch({"text": ["a", "b"]}), pa.record_batch({"text": pa.array([], pa.string())})]
    source = open_batches(
        "frame", batches[0].schema, lambda names: [*batches, batches[0]], [TEXT], unit="index", start=0
    )
    assert [row.line for row in rows_of(source, [TEXT])] == [0, 1, 2, 3]
    assert source.location(3) == "frame, index 3"


def test_arrow_requests_only_columns_that_are_read():
    requested = []
    table = pa.table({"id": [1], "text": ["a"], "image": [b"x"], "label": [1]})

    def batches(names):
        requested.append(names)
        return table.select(names).to_batches()

    for columns in ([LABEL, TEXT], [TEXT, WHOLE_ROW]):
        source = open_batches("frame", table.schema, batches, columns)
        assert len([*rows_of(source, columns)]) == 1
    assert requested == [["text", "label"], ["id", "text", "image", "label"]]


@pytest.mark.parametrize(
    "array, fault",
    [
        (pa.array([["a"], ["b"]]), r"list<item: string>, not text; name another column with --text-column"),
        (pa.array([{"body": "a"}]), r"struct<body: string>, not text"),
        (pa.array([1, 2]), "int64, not text"),
        (pa.array([True]), "bool, not text"),
        (pa.array([None]), "null, not text"),
        (pa.array([1.5]), "double, not text"),
    ],
)
def test_arrow_refuses_a_type_that_is_not_text(array, fault):
    with pytest.raises(InputError, match="^frame: column 'text' has the type " + fault):
        read(pa.table({"text": array}), [TEXT])


def test_arrow_accepts_nested_types_where_a_column_may_be_nested():
    labels = Column("labels", (), check_labels)
    table = pa.table({"labels": [["a"], []], "score": [1, 2]})
    assert [values for _, values in read(table, [labels, Column("score", (), check_number)])] == [
        {"labels": ("a",), "score": 1.0},
        {"labels": (), "score": 2.0},
    ]
    flags = Column("labels", (), check_labels, column="good,bad", several=True)
    assert read(pa.table({"good": [True], "bad": [0]}), [flags]) == [(1, {"labels": ("good",)})]


@pytest.mark.parametrize("text, fault", [(None, "is null, not text"), (" ", "is empty")])
def test_arrow_names_the_row_of_a_bad_value(text, fault):
    with pytest.raises(InputError, match=f"^frame, row 2: column 'text' {fault}"):
        read(pa.table({"text": ["a", text]}), [TEXT])


def test_arrow_refuses_texts_that_are_not_utf8():
    table = pa.table({"text": pa.array([b"a", b"\xff"]).view(pa.string())})
    with pytest.raises(InputError, match="^frame, row 2: column 'text' is bytes that are not UTF-8, not text"):
        read(table, [TEXT])


def test_arrow_refuses_columns_that_are_missing_or_ambiguous():
    with pytest.raises(InputError, match="^frame: column 'text' or 'review' not found; the columns are 'a', 'a'"):
        read(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]))
    with pytest.raises(InputError, match="^frame: no rows found"):
        read(pa.table({"text": pa.array([], pa.string())}), [TEXT])


def test_arrow_says_where_reading_failed():
    def batches(names):
        yield pa.record_batch({"text": ["a"]})
        raise pa.ArrowInvalid("corrupt snappy data\nat 3")

    source = open_batches("a.parquet", pa.schema([("text", pa.string())]), batches, [TEXT])
    with pytest.raises(InputError, match=r"^a.parquet: cannot be read \(corrupt snappy data"):
        list(rows_of(source, [TEXT]))


def test_arrow_reads_in_bounded_memory():
    batch = pa.record_batch({"text": [f"text {i} " + "x" * 1000 for i in range(20_000)]})
    source = open_batches("frame", batch.schema, lambda names: [batch] * 3, [TEXT])
    tracemalloc.start()
    try:
        assert sum(1 for _ in rows_of(source, [TEXT])) == 60_000
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
