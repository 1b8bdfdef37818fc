import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from tfhub_ft.data.row_writers import check_suffix, row_writer, write_rows
from tfhub_ft.utils.errors import InputError

ROW = {"text": 'a "quote",\tand\nmore', "score": 0.75, "labels": ["a", "b"], "spans": [{"start": 1}], "none": None}


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl"])
def test_write_rows_round_trips(tmp_path, format):
    path = tmp_path / f"rows.{format}"
    assert write_rows(iter([ROW, {"text": "b"}]), path) == 2
    text = path.read_text(encoding="utf-8")
    cells = {"score": "0.75", "labels": "a, b", "spans": '[{"start": 1}]', "none": ""}
    if format == "jsonl":
        assert [*map(json.loads, text.splitlines())] == [ROW, {"text": "b"}]
    elif format == "csv":
        with path.open(newline="") as file:
            assert [*csv.DictReader(file)] == [
                {**cells, "text": ROW["text"]},
                {**dict.fromkeys(cells, ""), "text": "b"},
            ]
    else:
        assert text.splitlines()[1].split("\t") == ['a "quote", and more', *cells.values()]


def test_write_rows_types_columns_of_a_parquet_file_without_values(tmp_path):
    row = {"text": "a", "label": None, "score": 0.5, "reasons": []}
    assert write_rows(iter([row, row]), tmp_path / "rows.parquet") == 2
    table = parquet.read_table(tmp_path / "rows.parquet")
    assert table.to_pylist() == [row, row]
    assert table.schema.types == [pa.string(), pa.string(), pa.float64(), pa.list_(pa.string())]


def test_check_suffix_refuses_other_endings(tmp_path):
    check_suffix(tmp_path / "rows.PARQUET")
    with pytest.raises(InputError, match=r"--output rows.xlsx: must end in .csv, .tsv, .jsonl or .parquet"):
        check_suffix(Path("rows.xlsx"))


def test_write_rows_writes_nothing_after_an_error(tmp_path):
    def rows():
        yield ROW
        raise ValueError

    with pytest.raises(ValueError):
        write_rows(rows(), tmp_path / "rows.csv")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("number", [0.1, 1e-7, 1234567.891, 2 / 3, 1.0, -5e300])
def test_row_writer_keeps_all_digits_of_a_number(number):
    file = io.StringIO()
    row_writer("csv", file)({"number": number})
    assert float(file.getvalue().splitlines()[1]) == number


FORMULAS = ["=1+1", "+1", "-1", "@me", "\t=1", "\r=1", "＝1"]


@pytest.mark.parametrize("format", ["csv", "tsv"])
def test_write_rows_escapes_formulas_on_request(tmp_path, format):
    rows = [{"text": text, "note": "'=x", "label": "-a", "score": -0.5} for text in [*FORMULAS, " =1", "plain", ""]]
    path = tmp_path / f"rows.{format}"
    delimiter = "," if format == "csv" else "\t"

    def cells():
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file, delimiter=delimiter))[1:]

    write_rows(iter(rows), path)
    texts = [row["text"] if format == "csv" else row["text"].strip() for row in rows]
    assert [row[0] for row in cells()] == texts
    write_rows(iter(rows), path, spreadsheet_safe=True)
    risky = FORMULAS if format == "csv" else [*FORMULAS, " =1"]
    escaped = [f"'{text}" if row["text"] in risky else text for row, text in zip(rows, texts, strict=True)]
    assert cells() == [[text, "'=x", "'-a", "-0.5"] for text in escaped]
