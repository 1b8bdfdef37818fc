"""Parquet files of predictions. The predictor fakes a model."""

import datetime
import decimal
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from tests.unit.inference.test_frames import ADDED, BY_LABEL, BY_PAIR, predictor_of
from tfhub_ft.data.texts import TextRows
from tfhub_ft.inference.files import predict_file, write_predictions
from tfhub_ft.tasks.classification import Classification
from tfhub_ft.utils.errors import InputError


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr("tfhub_ft.inference.parquet.ROWS_AT_ONCE", 3)


def written(source, path, predictor=BY_LABEL, **reading):
    rows = TextRows(source, predictor.columns(), **reading)
    write_predictions(predict_file(predictor, rows), path, rows)
    return parquet.read_table(path)


def test_write_parquet_has_texts_and_doubles_for_a_csv(tmp_path):
    lines = ["id,text", *(f"00{i},{'good' if i % 2 else ''}" for i in range(8))]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    table = written(tmp_path / "rows.csv", tmp_path / "out" / "rows.parquet")
    assert table.schema.names == ["id", "text", *ADDED]
    assert table.schema.types == [pa.string()] * 3 + [pa.float64()] * 3
    assert table.column("id").to_pylist() == [f"00{i}" for i in range(8)]
    assert table.column("probability_good").to_pylist() == [None, 0.75] * 4


def test_write_parquet_has_the_types_of_all_json_values(tmp_path):
    rows = [{"text": "good", "id": i, "price": i + i % 2 / 2, "is_new": None} for i in range(6)]
    rows += [{"text": "bad", "is_new": True, "tags": ["a"]}, {"text": "bad", "tags": {"b": 1}, "big": 2**70}]
    rows += [{"text": "bad", "tags": "c", "big": 1, "none": None}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = written(tmp_path / "rows.jsonl", tmp_path / "rows.parquet")
    types = [pa.string(), pa.int64(), pa.float64(), pa.bool_(), *[pa.string()] * 3]
    assert dict(zip(table.schema.names[:7], table.schema.types)) == dict(
        zip(["text", "id", "price", "is_new", "tags", "big", "none"], types)
    )
    assert table.column("id").to_pylist() == [*range(6), None, None, None]
    assert table.column("tags").to_pylist()[-3:] == ['["a"]', '{"b": 1}', "c"]
    assert table.column("big").to_pylist()[-2:] == [str(2**70), "1"]


def test_write_parquet_keeps_the_types_of_arrow_columns(tmp_path):
    columns = {
        "text": pa.array(["good"] * 8, pa.large_string()),
        "label": pa.array([*"abababab"]).dictionary_encode(),
        "day": [datetime.date(2026, 1, day) for day in range(1, 9)],
        "time": pa.array([*range(8)], pa.timestamp("us", "Asia/Tokyo")),
        "price": [decimal.Decimal(f"{i}.25") for i in range(8)],
        "vector": pa.array([[i, i] for i in range(8)], pa.list_(pa.float32(), 2)),
        "more": [{"a": i, "b": None} for i in range(8)],
        "image": [bytes([255, i]) for i in range(8)],
    }
    table = pa.table(columns)
    table = pa.Table.from_batches(table.to_batches(max_chunksize=2))
    result = written(table, tmp_path / "rows.parquet")
    assert result.schema.names == ["text", "input_label", *table.schema.names[2:], *ADDED]
    assert result.schema.types[:8] == table.schema.types
    for name in table.schema.names:
        assert result.column("input_label" if name == "label" else name).to_pylist() == table.column(name).to_pylist()


def test_write_parquet_casts_fields_of_unknown_types(tmp_path):
    (tmp_path / "rows.txt").write_text("\n".join(["a"] + [""] * 4 + ["b"] * 3))
    predictor = predictor_of(Classification(), lambda text: {"label": text, "why": [{"text": text, "weight": 1.5}]})
    table = written(tmp_path / "rows.txt", tmp_path / "rows.parquet", predictor)
    words = [{"text": "a", "weight": 1.5}], [{"text": "b", "weight": 1.5}]
    assert table.column("why").to_pylist() == [words[0], *[None] * 4, *[words[1]] * 3]


def test_write_parquet_is_read_by_pandas_as_it_was(tmp_path):
    frame = pd.DataFrame({"text": ["good", "bad"], "kind": pd.Categorical(["a", "b"])}, index=["x", "y"])
    table = pa.Table.from_pandas(frame)
    assert written(table, tmp_path / "rows.parquet").to_pandas()[["text", "kind"]].equals(frame)
    labeled = frame.rename(columns={"kind": "label"}).rename_axis("score")
    result = written(pa.Table.from_pandas(labeled), tmp_path / "rows.parquet").to_pandas()
    expected = frame.rename(columns={"kind": "input_label"}).rename_axis("input_score")
    pd.testing.assert_frame_equal(result[["text", "input_label"]], expected)
    assert result["label"].tolist() == ["good", "bad"]


def test_write_parquet_is_read_by_pandas_with_numbers_as_names(tmp_path):
    table = pa.Table.from_pandas(pd.DataFrame({0: ["good"]}))
    rows = TextRows(table, BY_LABEL.columns(text_column="0"))
    write_predictions(predict_file(BY_LABEL, rows), tmp_path / "rows.parquet", rows)
    assert [*parquet.read_table(tmp_path / "rows.parquet").to_pandas()] == ["0", *ADDED]


def test_write_parquet_aligns_columns_where_rows_are_skipped(tmp_path):
    texts = ["good" if i % 3 else 5 for i in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"i": i, "text": t}) + "\n" for i, t in enumerate(texts)))
    table = written(tmp_path / "rows.jsonl", tmp_path / "rows.parquet", skip_bad_rows=True)
    assert table.column("i").to_pylist() == [i for i in range(20) if i % 3]
    data = pa.table({"i": [*range(20)], "text": [b"\xff" if i % 3 == 0 else b"good" for i in range(20)]})
    data = pa.Table.from_batches(data.to_batches(max_chunksize=7))
    assert written(data, tmp_path / "rows.parquet", skip_bad_rows=True).column("i").to_pylist() == [
        i for i in range(20) if i % 3
    ]


def test_write_parquet_writes_lines_of_pairs(tmp_path):
    (tmp_path / "rows.txt").write_text("good\tb\n\nbad\td\n")
    table = written(tmp_path / "rows.txt", tmp_path / "rows.parquet", BY_PAIR)
    assert table.column("sentence2").to_pylist() == ["b", "", "d"]
    assert table.column("label").to_pylist() == ["good", None, "bad"]


def test_write_parquet_writes_nothing_after_an_error(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "good"}\n' * 8 + '{"text": 5}\n')
    with pytest.raises(InputError, match=r"line 9: column 'text' is a number \(5\)"):
        written(tmp_path / "rows.jsonl", tmp_path / "out" / "rows.parquet")
    assert not (tmp_path / "out").exists()
    (tmp_path / "bad.jsonl").write_text('{"text": 5}\n')
    with pytest.raises(InputError, match="rows.parquet: no rows to write; all of them were skipped"):
        written(tmp_path / "bad.jsonl", tmp_path / "rows.parquet", skip_bad_rows=True)
