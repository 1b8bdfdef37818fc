"""Prepared rows are read as they were serialized."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tfhub_ft.data.batches import TokenRows
from tfhub_ft.data.columns import Column, check_label, check_text
from tfhub_ft.data.prepared import Prepared, add_prepared_settings, prepared_fault, serialize_rows
from tfhub_ft.data.rows import Row
from tfhub_ft.data.windows import TokenTargets, WindowRows
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import sha256_of

COLUMNS = [Column("text", (), check_text), Column("label", (), check_label)]
ROWS = [Row(2, {"text": "a b", "label": "x"}), Row(3, {"text": "c é", "label": "y"})]
IDS, TYPES, STARTS = np.array([5, 6, 7], "int32"), np.array([0, 1, 0], "int8"), np.array([0, 2, 3])
TOKENS = TokenRows(IDS, TYPES, STARTS, truncated=np.array([False, True]))
PREPROCESSOR = SimpleNamespace(digest=lambda: "digest", encoder="minilm-l6")


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a folder of prepared rows."""
    import tensorflow as tf

    def write_folder(tokens, targets, features, **changes):
        shard = tmp_path / "train.tfrecord"
        with tf.io.TFRecordWriter(str(shard)) as writer:
            for record in serialize_rows(tokens, targets, ROWS):
                writer.write(record)
        index = {
            "recipe": "sentiment",
            "settings": {"seq_length": 24, "label_column": None},
            "preprocessor": "digest",
            "columns": ["text", "label"],
            "features": features,
            "splits": {"train": {"rows": 2, "shards": {shard.name: {"rows": 2, "sha256": sha256_of(shard)}}}},
        }
        (tmp_path / "prepared.json").write_text(json.dumps(index | changes))
        return tmp_path

    return write_folder


def test_prepared_returns_rows_and_tokens(write):
    prepared = Prepared(write(TOKENS, np.array([0, 1]), ["input_word_ids", "truncated"]))
    assert list(prepared.rows("train", COLUMNS)) == ROWS
    tokens = prepared.tokens("train", PREPROCESSOR, [])
    for name in ("word_ids", "type_ids", "starts", "truncated"):
        np.testing.assert_array_equal(getattr(tokens, name), getattr(TOKENS, name))


def test_prepared_returns_windows(write):
    windows = WindowRows(
        *(IDS, TYPES, np.array([0, 1, 2, 3])),
        row=np.array([0, 0, 1], "int32"),
        word=np.array([0, 1, 0], "int32"),
        starts_word=np.array([True, True, False]),
        word_starts=np.array([0, 2, 0], "int32"),
        word_ends=np.array([1, 3, 1], "int32"),
        row_words=np.array([0, 2, 3]),
        inputs=[],
    )
    targets = TokenTargets(np.array([1, 2, -1], "int32"), windows.starts)
    prepared = Prepared(write(windows, targets, ["input_word_ids", "window_lengths", "word"]))
    tokens = prepared.tokens("train", PREPROCESSOR, [])
    for name in ("word_ids", "starts", "row", "word", "starts_word", "word_starts", "word_ends", "row_words"):
        np.testing.assert_array_equal(getattr(tokens, name), getattr(windows, name))


def test_prepared_rejects_other_columns_and_preprocessors(write):
    prepared = Prepared(write(TOKENS, np.array([0, 1]), ["input_word_ids"]))
    with pytest.raises(InputError, match="has the columns text, label of the recipe sentiment; expected text$"):
        prepared.rows("train", COLUMNS[:1])
    with pytest.raises(
        InputError, match="another preprocessor than that of bert; it was prepared with --seq-length 24"
    ):
        prepared.tokens("train", SimpleNamespace(digest=lambda: "other", encoder="bert"), [])


def test_prepared_fault_names_missing_and_changed_folders(write, tmp_path):
    folder = write(TOKENS, np.array([0, 1]), ["input_word_ids"])
    digest = Prepared(folder).digest("train")
    assert prepared_fault(folder, {"train": {"sha256": digest}}) is None
    assert prepared_fault(folder, {"train": {"sha256": "0"}}) == "has changed"
    assert prepared_fault(tmp_path / "none", {"train": {}}) == "is missing"


def test_add_prepared_settings_rejects_other_settings(write):
    folder = write(TOKENS, np.array([0, 1]), ["input_word_ids"])
    settings = {"prepared": folder, "epochs": 2}
    assert add_prepared_settings(["sentiment"], settings) == {**settings, "seq_length": 24, "label_column": None}
    with pytest.raises(InputError, match="--seq-length 23: the rows in .* were prepared with 24; leave it out"):
        add_prepared_settings(["sentiment"], {**settings, "seq_length": 23})
    with pytest.raises(InputError, match="has rows of the recipe sentiment, not topic"):
        add_prepared_settings(["topic"], settings)
