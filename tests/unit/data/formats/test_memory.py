"""Rows in memory: data frames, Arrow tables, datasets, lists."""

import collections
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from tfhub_ft.data.columns import Column, check_label, check_labels, check_number, check_text, check_tokens
from tfhub_ft.data.formats.memory import open_rows
from tfhub_ft.data.rows import rows_of
from tfhub_ft.utils.errors import InputError

TEXT, LABEL = Column("text", ("review",), check_text), Column("label", (), check_label)
COLUMNS = [TEXT, LABEL]
PAIR = [Column("sentence1", (), check_text), Column("sentence2", (), check_text), LABEL]
TEXTS, LABELS = ["crème brûlée", 'a "quoted", text', "two\nlines"], ["good", "bad", "good"]
ROWS = [dict(zip(("text", "label"), pair)) for pair in zip(TEXTS, LABELS)]


def read(rows: Any, columns: list[Column] = COLUMNS) -> list[tuple[Any, ...]]:
    """Return the values of rows that are read twice."""
    source = open_rows(rows, columns)
    first = [(row.line, *row.values.values()) for row in rows_of(source, columns)]
    assert first == [(row.line, *row.values.values()) for row in rows_of(source, columns)]
    assert [number for number, *_ in first] == [*range(len(first))]
    return [tuple(values) for _, *values in first]


def fault_of(rows: Any, columns: list[Column] = COLUMNS) -> str:
    with pytest.raises(InputError) as error:
        read(rows, columns)
    return str(error.value)


def pandas_frame(columns: Any = ROWS, **options: Any) -> Any:
    return pytest.importorskip("pandas").DataFrame(columns, **options)


def polars_frame(columns: Any = ROWS) -> Any:
    return pytest.importorskip("polars").DataFrame(columns)


def arrow_table(columns: Any = ROWS) -> Any:
    return pytest.importorskip("pyarrow").Table.from_pylist(columns)


def hugging_face(columns: Any = ROWS) -> Any:
    return pytest.importorskip("datasets").Dataset.from_list(columns)


def tensors(elements: Any) -> Any:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(elements)


class Stream:
    """An object with only the Arrow C stream interface, which can be read once."""

    def __init__(self, table: Any):
        self.reader = table.to_reader()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.reader.__arrow_c_stream__(requested_schema)


CONTAINERS = {
    "pandas": pandas_frame,
    "pandas with texts of Arrow": lambda: pandas_frame().astype("string[pyarrow]"),
    "pandas categories": lambda: pandas_frame().astype({"label": "category"}),
    "pandas objects": lambda: pandas_frame().astype(object),
    "polars": polars_frame,
    "polars categories": lambda: polars_frame().cast({"label": __import__("polars").Categorical}),
    "table": arrow_table,
    "record batch": lambda: arrow_table().to_batches()[0],
    "reader": lambda: arrow_table().to_reader(),
    "stream": lambda: Stream(arrow_table()),
    "dictionary": lambda: arrow_table().set_column(1, "label", arrow_table()["label"].dictionary_encode()),
    "datasets": hugging_face,
    "datasets, selected": lambda: hugging_face([ROWS[0], *ROWS]).select([1, 2, 3]),
    "datasets with a format": lambda: hugging_face().with_format("numpy", columns=["label"]),
    "datasets with a transform": lambda: hugging_face().with_transform(lambda batch: dict(batch)),
    "dicts": lambda: ROWS,
    "dicts of numpy": lambda: [{name: np.str_(value) for name, value in row.items()} for row in ROWS],
    "tuple of dicts": lambda: tuple(ROWS),
    "pairs": lambda: [*zip(TEXTS, LABELS)],
    "columns": lambda: {"text": TEXTS, "label": np.array(LABELS)},
    "lists": lambda: (TEXTS, LABELS),
    "arrays": lambda: (np.array(TEXTS), np.array(LABELS, object)),
    "series": lambda: (pandas_frame()["text"], polars_frame()["label"]),
    "arrow arrays": lambda: (arrow_table()["text"], arrow_table()["label"].combine_chunks()),
    "categorical": lambda: (TEXTS, pandas_frame()["label"].astype("category").array),
    "tf.data": lambda: tensors((TEXTS, LABELS)),
    "tf.data of dicts": lambda: tensors({"label": LABELS, "text": TEXTS}),
    "tf.data in batches": lambda: tensors((TEXTS, LABELS)).batch(2),
    "tf.data of dicts in batches": lambda: tensors({"text": TEXTS, "label": LABELS}).batch(2, drop_remainder=False),
    "tf.data of a dict and labels": lambda: tensors(({"text": TEXTS}, LABELS)),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_open_rows_reads_equal_rows_of_any_container(name):
    assert read(CONTAINERS[name]()) == [*zip(TEXTS, LABELS)]


def test_open_rows_names_two_texts_of_tuples():
    expected = [("a", "b", "x"), ("c", "d", "y")]
    for rows in [
        ((["a", "c"], ["b", "d"]), ["x", "y"]),
        ([np.array(["a", "c"]), ["b", "d"]], np.array(["x", "y"])),
        (("a", "c"), ("b", "d"), ("x", "y")),
        [(("a", "b"), "x"), ("c", "d", "y")],
        tensors(((["a", "c"], ["b", "d"]), ["x", "y"])),
        tensors(((["a", "c"], ["b", "d"]), ["x", "y"])).batch(5),
    ]:
        assert read(rows, PAIR) == expected


def test_open_rows_reads_named_tuples_by_name():
    review = collections.namedtuple("review", ["label", "text"])
    columns = review(LABELS, TEXTS)
    frame = pandas_frame()
    for rows in (
        [*map(review, LABELS, TEXTS)],
        [*frame.itertuples(index=False)],
        [*frame.itertuples()],
        tensors(columns),
        tensors(columns).batch(2),
        columns,
    ):
        assert read(rows) == [*zip(TEXTS, LABELS)]


def test_open_rows_reads_texts_alone_where_a_single_column_is_read():
    rows = [TEXTS, np.array(TEXTS), pandas_frame()["text"], polars_frame()["text"], arrow_table()["text"], (TEXTS,)]
    for texts in [*rows, tensors(TEXTS), tensors(TEXTS).batch(2)]:
        assert read(texts, [TEXT]) == [(text,) for text in TEXTS]


def test_open_rows_reads_numbers_and_booleans_as_a_jsonl_file_does():
    texts, labels = ["a", "b", "c", "d"], [1, 1.0, True, "1"]
    for rows in [
        pandas_frame({"text": texts, "label": np.array(labels, object)}),
        [{"text": text, "label": label} for text, label in zip(texts, labels)],
        (texts, [np.int8(1), np.float32(1), np.bool_(True), np.str_("1")]),
    ]:
        assert [label for _, label in read(rows)] == ["1", "1", "true", "1"]
    frame = pandas_frame({"text": texts[:2], "label": [0, 1]})
    for dtype in ("int64", "Int8", "uint8", "category", "int64[pyarrow]"):
        assert [label for _, label in read(frame.astype({"label": dtype}))] == ["0", "1"]
    assert [label for _, label in read(tensors((texts[:2], [0, 1])))] == ["0", "1"]
    # Keras' text_dataset_from_directory has one column of labels.
    assert [label for _, label in read(tensors((texts[:2], [[0.0], [1.0]])).batch(2))] == ["0", "1"]


def test_open_rows_reads_lists_and_decimals():
    columns = [TEXT, Column("labels", (), check_labels)]
    for cell in (["x", "y"], ("x", "y"), {"y", "x"}, np.array(["x", "y"])):
        assert read([{"text": "a", "labels": cell}], columns) == [("a", ("x", "y"))]
        assert read(pandas_frame({"text": ["a"], "labels": [cell]}), columns) == [("a", ("x", "y"))]
    tokens = [Column("tokens", (), check_tokens), Column("tags", (), check_tokens)]
    cells = [["Ada", "wrote"], ["B", "O"]]
    import tensorflow as tf

    ragged = tf.data.Dataset.from_tensors(tuple(cells))
    for rows in ([tuple(cells)], ragged, ragged.batch(1), ([cells[0]], [cells[1]])):
        assert read(rows, tokens) == [tuple(cells)]
    score = [TEXT, Column("score", (), check_number)]
    assert read([("a", Decimal("1.50"))], score) == [("a", 1.5)]


def test_open_rows_reads_class_labels_by_name():
    datasets = pytest.importorskip("datasets")
    label = datasets.ClassLabel(names=["bad", "good"])
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": label, "tags": datasets.Sequence(datasets.ClassLabel(names=["O"]))}
    )
    dataset = datasets.Dataset.from_dict(
        {"text": ["a", "b", "c"], "label": [1, 0, -1], "tags": [[0], [0, 0], []]}, features=features
    )
    assert read(dataset.select([1, 0])) == [("b", "bad"), ("a", "good")]
    tags = [TEXT, Column("tags", (), check_labels)]
    assert read(dataset, tags) == [("a", ("O",)), ("b", ("O",)), ("c", ())]
    assert fault_of(dataset).startswith("Dataset, position 2 (from 0): column 'label' is null")
    assert read(dataset.select([1, 0]).with_transform(dict)) == [("b", "bad"), ("a", "good")]


def test_open_rows_reads_class_labels_in_lists_of_objects_by_name():
    datasets = pytest.importorskip("datasets")
    entity = {"start": datasets.Value("int64"), "label": datasets.ClassLabel(names=["O", "PER"])}
    features = datasets.Features({"text": datasets.Value("string"), "entities": datasets.List(entity)})
    dataset = datasets.Dataset.from_list([{"text": "a", "entities": [{"start": 0, "label": 1}]}], features=features)
    columns = [TEXT, Column("entities", (), lambda value: value)]
    assert read(dataset, columns) == [("a", [{"start": 0, "label": "PER"}])]


def test_open_rows_finds_columns_by_name_and_number_in_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([["x", 0.5, "a"]], columns=[2, "other", ("review", 1)])
    named = [Column("text", (), check_text, "('review', 1)"), Column("label", (), check_label, "2")]
    assert read(frame, named) == [("a", "x")]
    by_number = [Column("text", (), check_text, "3"), Column("label", (), check_label, "1")]
    assert read(frame, by_number) == [("a", "x")]


def test_open_rows_ignores_other_columns_whatever_they_have():
    frame = pandas_frame().assign(other=[object(), b"\xff", float("nan")])
    assert read(frame) == [*zip(TEXTS, LABELS)]
    polars = pytest.importorskip("polars")
    other = polars.Series("other", [object()] * 3, dtype=polars.Object)
    assert read(polars_frame().with_columns(other)) == [*zip(TEXTS, LABELS)]


def test_open_rows_reads_a_shuffled_dataset_in_one_order():
    texts = [str(number) for number in range(50)]
    dataset = tensors((texts, texts)).shuffle(50, reshuffle_each_iteration=True)
    assert sorted(read(dataset)) == sorted(zip(texts, texts))


def test_open_rows_names_the_index_of_a_bad_row():
    rows = [*ROWS[:2], {"text": " ", "label": "good"}]
    assert fault_of(pandas_frame(rows)) == "DataFrame, index 2: column 'text' is empty"
    assert fault_of(pandas_frame(rows, index=["a", "b", "c"])) == "DataFrame, index 'c': column 'text' is empty"
    assert fault_of(pandas_frame(rows, index=[7, 7, 9])) == "DataFrame, index 9: column 'text' is empty"
    levels = pytest.importorskip("pandas").MultiIndex.from_product([["a"], [1, 2, 3]])
    assert fault_of(pandas_frame(rows, index=levels)) == "DataFrame, index ('a', 3): column 'text' is empty"
    for container in (polars_frame(rows), hugging_face(rows), rows, arrow_table(rows)):
        name = type(container).__name__
        assert fault_of(container) == f"{name}, position 2 (from 0): column 'text' is empty"
    assert fault_of(([*TEXTS[:2], ""], LABELS)) == "tuple of arrays, position 2 (from 0): column 'text' is empty"
    assert fault_of([*ROWS, {"text": "a"}]) == "list, position 3 (from 0): column 'label' is missing"
    assert fault_of([*ROWS, "a"]).startswith("list, position 3 (from 0): is a str, not a row; pass a dict")
    assert fault_of([*ROWS, ("a", "b", "c")]).startswith("list, position 3 (from 0): is 3 values, not a row")


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ([1, 2], "is a number (1), not text"),
        ([0.5, 2], "is a number (0.5), not text"),
        ([True, False], "is true or false, not text"),
        ([None, "a"], ", not text"),
        ([b"\xff", b"a"], "is bytes that are not UTF-8, not text"),
        ([["a"], ["b"]], "is a list, not text"),
    ],
)
def test_open_rows_refuses_texts_that_are_not_texts(values, fault):
    for frame in (pandas_frame({"text": values, "label": ["x", "y"]}), (values, ["x", "y"])):
        message = fault_of(frame)
        assert "0" in message
        assert message.endswith(fault)
    pandas = pytest.importorskip("pandas")
    for missing in (pandas.NA, pandas.NaT, float("nan"), None):
        message = fault_of(pandas_frame({"text": ["a", missing], "label": ["x", "y"]}).astype(object))
        assert message.startswith("DataFrame, index 1: column 'text' is")


def test_open_rows_refuses_numbers_as_texts_of_arrow_by_their_type():
    for frame in (polars_frame({"text": [1], "label": ["x"]}), arrow_table([{"text": 1, "label": "x"}])):
        assert "column 'text' has the type int64, not text" in fault_of(frame)


def test_open_rows_refuses_columns_that_are_missing_or_ambiguous():
    assert "column 'text' or 'review' not found; the columns are 'a'" in fault_of(pandas_frame({"a": ["b"]}))
    pandas = pytest.importorskip("pandas")
    twice = pandas.concat([pandas_frame(), pandas_frame()], axis=1)
    assert fault_of(twice) == "DataFrame: 2 columns are called 'text'; rename one"
    assert read(twice.iloc[:, [0, 1]]) == [*zip(TEXTS, LABELS)]


@pytest.mark.parametrize(
    "rows", [pandas_frame, polars_frame, hugging_face, arrow_table], ids=["pandas", "polars", "datasets", "table"]
)
def test_open_rows_refuses_empty_frames(rows):
    assert fault_of(rows()[:0] if rows is not hugging_face else rows().select([])).endswith(": no rows found")


def test_open_rows_refuses_other_objects():
    frame, datasets = pandas_frame(), pytest.importorskip("datasets")
    train = hugging_face()
    reader = arrow_table().to_reader()
    assert len(read(reader)) == 3
    expected = "expected a path (str or Path) or rows in memory, a DataFrame"
    for rows, fault in [
        ([], "list: no rows found"),
        (((), ()), "tuple of arrays: no rows found"),
        (frame.iloc[:0, :0], "DataFrame: no rows found"),
        (reader, "no rows found; if it was read before, pass a new one"),
        (iter(ROWS), "data: got a list_iterator, which can be read only once; pass a list"),
        ((row for row in ROWS), "data: got a generator, which can be read only once; pass a list"),
        (TEXTS, "list, position 0 (from 0): is a str, not a row; pass a dict, or a tuple (text, label)"),
        (frame["text"], "Series, position 0 (from 0): is a str, not a row"),
        ({"text": "a", "label": "b"}, "data: expected an array as 'text', got a str; pass a row as a list: [row]"),
        ({"text": TEXTS, "label": LABELS[:2]}, "data: its arrays have different lengths (3 of text and 2 of label)"),
        ((TEXTS[:1], LABELS), "data: its arrays have different lengths (1 of text and 3 of label)"),
        ((TEXTS, np.eye(3)), "data: 'label' has the shape (3, 3); pass an array of one dimension"),
        ({"text": 1, "label": 2}, "data: expected an array as 'text', got an int; pass a row as a list: [row]"),
        ((frame[["text"]], frame["label"]), "data: expected an array as 'text', got a DataFrame; pass a single column"),
        ((TEXTS, LABELS, LABELS), "data: got a tuple of 3 arrays; expected (text, label)"),
        ((), "data: got a tuple of 0 arrays; expected (text, label)"),
        (tensors((TEXTS, LABELS)).repeat(), "data: the tf.data.Dataset is infinite; remove .repeat()"),
        (3, expected),
        (None, f"data: {expected}"),
        ({"a"}, expected),
        (b"a", expected),
        (type(frame), expected),
        (frame.groupby("label"), expected),
        (frame.to_numpy(), "data: has the shape (3, 2); pass its columns as (text, label)"),
        (np.array("a"), expected),
        (datasets.DatasetDict(train=train, test=train), "a DatasetDict with the splits train, test; pass one of them"),
        (train.to_iterable_dataset(), "data: got an IterableDataset, which may be infinite"),
        (polars_frame().lazy(), "data: got a LazyFrame, whose rows are not computed yet; pass frame.collect()"),
    ]:
        assert fault in fault_of(rows)
    assert fault_of((TEXTS, LABELS), PAIR) == "data: got a tuple of 2 arrays; expected ((sentence1, sentence2), label)"
    weighted = [*COLUMNS, Column("weight", (), check_number, "weight")]
    assert fault_of((TEXTS, LABELS), weighted) == "data: got a tuple of 2 arrays; expected (text, label, weight)"


def test_open_rows_refuses_datasets_of_other_objects_than_tensors():
    import tensorflow as tf

    for rows, kind in [
        (tensors((TEXTS, LABELS)).window(2), "Dataset"),
        (tensors((TEXTS, tf.sparse.from_dense(np.eye(3)))), "SparseTensor"),
        (tensors((TEXTS, tf.sparse.from_dense(np.eye(3)))).batch(2), "SparseTensor"),
    ]:
        assert fault_of(rows) == f"data: its elements have a {kind}; map them to tensors"


def test_open_rows_refuses_datasets_of_other_elements_before_reading_them():
    import itertools

    import tensorflow as tf

    spec = tf.TensorSpec((), tf.int64)
    numbers = tf.data.Dataset.from_generator(lambda: itertools.count(), output_signature=spec)
    assert "each element is an int, not a row; pass a dict, or a tuple (text, label)" in fault_of(numbers)


def test_open_rows_refuses_infinite_datasets_of_unknown_cardinality():
    import tensorflow as tf

    endless = tensors((TEXTS, LABELS)).repeat()
    for dataset in [
        endless.filter(lambda text, label: label == "good"),
        endless.filter(lambda text, label: True).shuffle(3).batch(2).prefetch(1),
        endless.flat_map(lambda text, label: tf.data.Dataset.from_tensors((text, label))),
    ]:
        assert fault_of(dataset).startswith("data: the tf.data.Dataset is infinite; remove .repeat()")
    kept = endless.filter(lambda text, label: label == "good").take(3)
    assert read(kept) == [(TEXTS[0], "good"), (TEXTS[2], "good"), (TEXTS[0], "good")]
    assert read(tensors((TEXTS, LABELS)).filter(lambda text, label: label == "bad")) == [(TEXTS[1], "bad")]


def test_open_rows_reports_an_error_within_a_dataset_in_one_line():
    import tensorflow as tf

    dataset = tensors((TEXTS, LABELS)).map(lambda text, label: (text, tf.strings.to_number(label)))
    message = fault_of(dataset)
    assert message.startswith("tf.data.Dataset: cannot be read to its end (")
    assert "\n" not in message
    assert "{{" not in message


def test_open_rows_converts_many_rows_a_part_at_a_time():
    count = 25_001
    texts, labels = [f"text {number}" for number in range(count)], np.arange(count) % 3
    frame = pandas_frame({"text": texts, "label": labels}, index=np.arange(count) * 2)
    expected = [(text, str(label)) for text, label in zip(texts, labels)]
    assert read(frame) == expected
    assert read((frame["text"], labels)) == expected
    frame.loc[count * 2 - 2, "text"] = ""
    assert fault_of(frame) == f"DataFrame, index {count * 2 - 2}: column 'text' is empty"
