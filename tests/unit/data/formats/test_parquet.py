"""Parquet files and Arrow IPC files."""

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from tfhub_ft.data.columns import Column, check_label, check_text
from tfhub_ft.data.formats import open_source
from tfhub_ft.data.formats.source import ReadOptions
from tfhub_ft.data.rows import read_rows
from tfhub_ft.utils.errors import InputError

COLUMNS = [Column("text", ("review",), check_text, option="--text-column"), Column("label", (), check_label)]
TABLE = pa.table(
    {
        "id": range(5),
        "text": ["a", "größer 🎬", 'c "quoted",\n', "d", "e"],
        "label": [0, 1, 0, None, 1],
        "note": ["x"] * 5,
    }
)
GOOD = TABLE.filter(pa.compute.is_valid(TABLE["label"]))


def write_stream(table, path):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table, max_chunksize=2)


def write_ipc_file(table, path):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as stream:
        stream.write_table(table, max_chunksize=2)


WRITERS = {
    "a.parquet": lambda table, path: pa.parquet.write_table(table, path, row_group_size=2),
    "b.PQ": lambda table, path: pa.parquet.write_table(table, path, use_dictionary=["text"], compression="zstd"),
    "a.feather": pa.feather.write_feather,
    "b.feather": lambda table, path: pa.feather.write_feather(table, path, compression="zstd", chunksize=2),
    "a.arrow": write_stream,
    "b.arrow": write_ipc_file,
    "a.arrows": write_stream,
    "b.ipc": write_ipc_file,
}


@pytest.mark.parametrize("name", WRITERS)
def test_columnar_file_is_read(name, tmp_path):
    WRITERS[name](GOOD, tmp_path / name)
    rows = [(row.line, row.values["text"], row.values["label"]) for row in read_rows(tmp_path / name, COLUMNS)]
    assert rows == [(1, "a", "0"), (2, "größer 🎬", "1"), (3, 'c "quoted",\n', "0"), (4, "e", "1")]


@pytest.mark.parametrize("name", WRITERS)
def test_columnar_file_names_the_bad_row(name, tmp_path):
    WRITERS[name](TABLE, tmp_path / name)
    skipped = []
    assert len([*read_rows(tmp_path / name, COLUMNS, on_bad_row=skipped.append)]) == 4
    (message,) = skipped
    assert message.startswith(f"{tmp_path / name}, row 4: column 'label' is null, not a label")


@pytest.mark.parametrize("name", WRITERS)
def test_columnar_file_yields_only_the_columns_that_are_read(name, tmp_path):
    WRITERS[name](GOOD, tmp_path / name)
    source = open_source(tmp_path / name, COLUMNS, ReadOptions())
    assert source.names == ["id", "text", "label", "note"]
    assert next(source.records()).values == {"text": "a", "label": 0}
    whole_row = [*COLUMNS, Column("", (), lambda others: others, whole_row=True)]
    (first, *_) = read_rows(tmp_path / name, whole_row)
    assert first.values[""] == {"id": 0, "text": "a", "label": 0, "note": "x"}


@pytest.mark.parametrize("name", WRITERS)
def test_columnar_file_refuses_nested_texts(name, tmp_path):
    table = pa.table({"text": [{"title": "a", "body": ["b"]}], "label": [1]})
    WRITERS[name](table, tmp_path / name)
    with pytest.raises(InputError) as caught:
        list(read_rows(tmp_path / name, COLUMNS, on_bad_row=print))
    # Parquet names the elements of lists differently.
    kind = str(caught.value).replace("element:", "item:")
    assert kind == (
        f"{tmp_path / name}: column 'text' has the type struct<title: string, body: list<item: string>>, not text;"
        " name another column with --text-column"
    )


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("part", [0.4, 0.9])
def test_columnar_file_that_is_cut_off_is_refused(name, part, tmp_path):
    path = tmp_path / name
    table = pa.table({"text": [f"a film {number} " * 50 for number in range(500)], "label": [1] * 500})
    WRITERS[name](table, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(InputError, match=r"cannot be read \(.*\); write or download it again$") as caught:
        list(read_rows(path, COLUMNS))
    assert str(caught.value).startswith(f"{path}: ")


def test_parquet_file_with_damaged_pages_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"a film {number}" for number in range(5000)], "label": [1] * 5000})
    pa.parquet.write_table(table, path, use_dictionary=False, compression="zstd")
    content = bytearray(path.read_bytes())
    content[500:2000] = bytes(1500)
    path.write_bytes(content)
    with pytest.raises(InputError, match="a.parquet: cannot be read"):
        list(read_rows(path, COLUMNS))


def test_parquet_file_without_rows_or_columns_is_refused(tmp_path):
    pa.parquet.write_table(TABLE.slice(0, 0), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="a.parquet: no rows found"):
        list(read_rows(tmp_path / "a.parquet", COLUMNS))
    pa.parquet.write_table(TABLE.select(["id", "note"]), tmp_path / "b.parquet")
    with pytest.raises(
        InputError, match="'text' or 'review' not found; the columns are 'id', 'note'; name one of them"
    ):
        list(read_rows(tmp_path / "b.parquet", COLUMNS))
