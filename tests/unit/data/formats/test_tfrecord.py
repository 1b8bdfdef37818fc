import gzip

import pytest
import tensorflow as tf

from tests.conftest import make_reviews, write_csv
from tfhub_ft.data.columns import Column, check_label, check_labels, check_text
from tfhub_ft.data.rows import read_all
from tfhub_ft.utils.errors import InputError

COLUMNS = [Column("text", (), check_text), Column("label", (), check_label)]


def example(**features):
    def feature(value):
        values = value if isinstance(value, list) else [value]
        if isinstance(values[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        values = [each if isinstance(each, bytes) else each.encode() for each in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    named = {name: feature(value) for name, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=named)).SerializeToString()


def write(path, records, compression=""):
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for record in records:
            writer.write(record)
    return path


@pytest.mark.parametrize(("name", "compression"), [("rows.tfrecord", ""), ("rows.tfrecord.gz", "GZIP")])
def test_tfrecord_has_the_same_rows_as_csv(tmp_path, name, compression):
    reviews = make_reviews(30)
    path = write(tmp_path / name, (example(text=text, label=label) for text, label in reviews), compression)
    table = read_all(write_csv(tmp_path / "rows.csv", reviews), COLUMNS)
    rows = read_all(path, COLUMNS)
    assert [row.values for row in rows] == [row.values for row in table]
    assert [row.line for row in rows] == [*range(1, 31)]


def test_tfrecord_reads_integers_and_lists(tmp_path):
    path = write(tmp_path / "rows.tfrecord", [example(text="good é", label=1), example(text="bad", label=0)])
    assert [row.values["label"] for row in read_all(path, COLUMNS)] == ["1", "0"]
    columns = [COLUMNS[0], Column("labels", (), check_labels)]
    path = write(tmp_path / "many.tfrecord", [example(text="good", labels=["a", "b"])])
    assert read_all(path, columns)[0].values["labels"] == ("a", "b")


def test_tfrecord_names_bad_records(tmp_path):
    good = example(text="good", label="a")
    for bad, message in [
        (b"\xff\xff\xff", "record 2: is not a tf.train.Example"),
        (example(text=b"\xff", label="a"), "record 2: has bytes that are not UTF-8"),
        (example(label="a"), "record 2: column 'text' is missing"),
    ]:
        path = write(tmp_path / "rows.tfrecord", [good, bad, good])
        with pytest.raises(InputError, match=message):
            read_all(path, COLUMNS)
        assert len(read_all(path, COLUMNS, skip_bad_rows=True)) == 2


@pytest.mark.parametrize("kept", [3, 11, 20, -1])
def test_tfrecord_reports_truncated_files(tmp_path, kept):
    path = write(tmp_path / "rows.tfrecord", [example(text="good", label="a")] * 2)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"rows.tfrecord: ends within record \d"):
        read_all(path, COLUMNS)


def test_tfrecord_rejects_other_files(tmp_path):
    path = tmp_path / "rows.tfrecord"
    path.write_text("text,label\ngood,a\n" * 10)
    with pytest.raises(InputError, match="is not a TFRecord file; write or download the file again"):
        read_all(path, COLUMNS)
    path = tmp_path / "rows.tfrecord.gz"
    path.write_bytes(gzip.compress(example(text="good", label="a") * 100)[:30])
    with pytest.raises(InputError, match=r"TFRecord|gzip|ends within"):
        read_all(path, COLUMNS)


def test_tfrecord_names_records_with_a_wrong_checksum(tmp_path):
    good, bad = example(text="good", label="positive"), example(text="dull", label="negative")
    path = write(tmp_path / "rows.tfrecord", [good, bad, good])
    path.write_bytes(path.read_bytes().replace(b"negative", b"positive"))
    with pytest.raises(InputError, match="rows.tfrecord, record 2: differs from its checksum; write or download"):
        read_all(path, COLUMNS)
    assert [row.values["label"] for row in read_all(path, COLUMNS, skip_bad_rows=True)] == ["positive", "positive"]


@pytest.mark.parametrize("place", range(12))
def test_tfrecord_rejects_a_wrong_length_checksum(tmp_path, place):
    records = [example(text="good", label="a")] * 2
    path = write(tmp_path / "rows.tfrecord", records)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 + place] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="rows.tfrecord, record 2: its length differs from its checksum"):
        read_all(path, COLUMNS, skip_bad_rows=True)
