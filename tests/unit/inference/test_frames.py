"""Frames in, frames out: `predict` with rows that have named columns. The predictor fakes a model."""

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import tfhub_ft
from tfhub_ft.inference.predict import Predictor
from tfhub_ft.tasks.classification import Classification
from tfhub_ft.tasks.multilabel import Multilabel
from tfhub_ft.tasks.question_answering import QuestionAnswering
from tfhub_ft.tasks.token_classification import TokenClassification
from tfhub_ft.utils.errors import InputError

TEXTS = ["a good film", None, "a bad film", " "]
ADDED = ["label", "score", "probability_bad", "probability_good"]
SCORES = [0.75, None, 0.25, None]


def predictor_of(task, predict_row):
    return Predictor(task, [], lambda: lambda rows: [predict_row(*row) for row in rows], "fake", lambda: None)


def classify(text, *_):
    good = 0.75 if "good" in text else 0.25
    label = "good" if good > 0.5 else "bad"
    return {"label": label, "score": max(good, 1 - good), "probabilities": {"bad": 1 - good, "good": good}}


BY_LABEL = predictor_of(Classification(), classify)
BY_PAIR = predictor_of(Classification(("sentence1", "sentence2")), classify)


def columns_of(frame):
    return list(getattr(frame, "column_names", None) or frame.columns)


def test_predict_returns_a_pandas_frame_with_its_index():
    index = pd.Index([7, 7, 3, 1], name="key")
    day = pd.Timestamp("2026-01-31", tz="Asia/Tokyo")
    frame = pd.DataFrame(
        {"id": [1, 2, 3, 4], "text": TEXTS, "day": day, "kind": pd.Categorical(["a", "b", "a", "b"])}, index=index
    )
    before = frame.copy()
    predicted = tfhub_ft.predict(BY_LABEL, frame)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(predicted[[*frame.columns]], frame)
    assert list(predicted.columns) == [*frame.columns, *ADDED]
    assert predicted["label"].tolist()[::2] == ["good", "bad"]
    assert predicted["label"].isna().tolist() == [False, True, False, True]
    assert predicted["label"].dtype == pd.Series(["a"]).dtype
    assert predicted["probability_good"].dtype == "float64"
    assert predicted["probability_good"].fillna(-1).tolist() == [0.75, -1, 0.25, -1]


def test_predict_returns_a_polars_frame():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"id": [1, 2, 3, 4], "text": TEXTS, "label": ["x", "y", None, "z"]})
    predicted = tfhub_ft.predict(BY_LABEL, frame)
    assert isinstance(predicted, pl.DataFrame)
    assert predicted.columns == ["id", "text", "input_label", *ADDED]
    assert predicted["probability_good"].to_list() == SCORES
    assert predicted["input_label"].to_list() == ["x", "y", None, "z"]
    assert predicted.schema["label"] == pl.String
    with pytest.raises(InputError, match=r"texts: got a LazyFrame, .*; pass frame.collect\(\)"):
        tfhub_ft.predict(BY_LABEL, frame.lazy())


@pytest.mark.parametrize("make", [pa.table, pa.record_batch])
def test_predict_returns_arrow_data(make):
    dates = pa.array([datetime.date(2026, 1, day) for day in (1, 2, 3, 4)])
    data = make(
        {"text": pa.array(TEXTS, pa.large_string()), "day": dates, "kind": pa.array([*"abab"]).dictionary_encode()}
    )
    predicted = tfhub_ft.predict(BY_LABEL, data)
    assert type(predicted) is type(data)
    assert predicted.column_names == ["text", "day", "kind", *ADDED]
    assert predicted.schema.types[:3] == data.schema.types
    assert predicted.column("probability_good").to_pylist() == SCORES


def test_predict_returns_a_table_for_a_stream():
    table = pa.table({"text": TEXTS})
    predicted = tfhub_ft.predict(BY_LABEL, pa.RecordBatchReader.from_batches(table.schema, table.to_batches()))
    assert isinstance(predicted, pa.Table)
    assert predicted.column("probability_good").to_pylist() == SCORES


def test_predict_returns_a_hugging_face_dataset():
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"text": TEXTS, "label": [0, 1, 0, 1]})
    rows = rows.cast_column("label", datasets.ClassLabel(names=["no", "yes"])).select([2, 0]).with_format("numpy")
    predicted = tfhub_ft.predict(BY_LABEL, rows)
    assert predicted.column_names == ["text", "input_label", *ADDED]
    assert predicted.features["input_label"].names == ["no", "yes"]
    assert predicted.format["type"] == "numpy"
    assert list(predicted["label"]) == ["bad", "good"]
    with pytest.raises(InputError, match="texts: got a DatasetDict with the splits train; pass one of them"):
        tfhub_ft.predict(BY_LABEL, datasets.DatasetDict({"train": rows}))


def test_predict_returns_a_list_of_dicts():
    rows = [{"id": 1, "text": "good", "label": "x"}, {"text": "bad", "note": [1]}, {"text": None}]
    predicted = tfhub_ft.predict(BY_LABEL, rows)
    assert [list(row)[:-4] for row in predicted] == [["id", "text", "input_label"], ["text", "note"], ["text"]]
    assert [row["label"] for row in predicted] == ["good", "bad", None]
    assert predicted[0]["probability_good"] == 0.75
    assert rows[0] == {"id": 1, "text": "good", "label": "x"}


def test_predict_returns_a_dict_of_columns():
    predicted = tfhub_ft.predict(BY_LABEL, {"text": np.array(["good", "bad"]), "id": [1, 2]})
    assert list(predicted) == ["text", "id", *ADDED]
    assert predicted["label"] == ["good", "bad"]


def test_predict_finds_or_takes_the_columns_of_texts():
    frame = pd.DataFrame({"first": ["good", "bad"], "hypothesis": ["a", "b"], "other": ["bad", "good"]})
    assert tfhub_ft.predict(BY_PAIR, frame)["label"].tolist() == ["good", "bad"]
    assert tfhub_ft.predict(BY_PAIR, frame, first_column="other")["label"].tolist() == ["bad", "good"]
    assert tfhub_ft.predict(BY_LABEL, frame, text_column="other")["label"].tolist() == ["bad", "good"]
    with pytest.raises(InputError, match="DataFrame: column 'text' or .* not found; .*--text-column"):
        tfhub_ft.predict(BY_LABEL, frame)
    with pytest.raises(InputError, match="--text-column: this model does not read it; .* --first-column and"):
        tfhub_ft.predict(BY_PAIR, frame, text_column="other")
    with pytest.raises(InputError, match="--label-column: this model does not read it"):
        tfhub_ft.predict(BY_LABEL, frame, label_column="other")
    with pytest.raises(InputError, match="text_column: names a column, but texts is a list; leave it out"):
        tfhub_ft.predict(BY_LABEL, ["good"], text_column="text")


def test_predict_returns_lists_as_list_columns():
    entity = {"text": "Ada", "label": "person", "start": 0, "end": 3, "score": 0.5}
    by_token = predictor_of(
        TokenClassification(),
        lambda text: {"entities": [entity] * ("Ada" in text), "tokens": text.split(), "tags": ["O"]},
    )
    table = pa.table({"text": ["no one", "Ada sings", None]})
    predicted = tfhub_ft.predict(by_token, table)
    assert predicted.column("entities").to_pylist() == [[], [entity], None]
    none = tfhub_ft.predict(by_token, table.slice(0, 1))
    assert none.schema == predicted.schema
    assert tfhub_ft.predict(by_token, table.to_pandas())["entities"].tolist() == [[], [entity], None]
    by_labels = predictor_of(Multilabel(), lambda text: {"labels": ["a"], "probabilities": {"a": 0.75}})
    assert tfhub_ft.predict(by_labels, table.to_pandas())["labels"].tolist() == [["a"], ["a"], None]


def test_predict_keeps_types_where_all_values_are_missing():
    answer = {"answer": "", "score": 0.5, "start": None, "end": None, "answers": []}
    by_span = predictor_of(QuestionAnswering(), lambda question, context: answer)
    table = pa.table({"question": ["who?"], "context": ["no one"]})
    predicted = tfhub_ft.predict(by_span, table)
    assert predicted.schema.field("start").type == pa.int64()
    assert tfhub_ft.predict(by_span, table.to_pandas())["start"].isna().all()


def empty_dataset(columns):
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_dict(columns, datasets.Features.from_arrow_schema(pa.table(columns).schema))


@pytest.mark.parametrize("make", [pd.DataFrame, pa.table, pa.record_batch, empty_dataset])
def test_predict_returns_columns_for_a_frame_without_rows(make):
    empty = make({"text": pd.Series([], dtype="str"), "label": pd.Series([], dtype="int64")})
    predicted = tfhub_ft.predict(BY_LABEL, empty)
    assert len(predicted) == 0
    assert columns_of(predicted) == ["text", "input_label", *ADDED]


def test_predict_refuses_frames_it_cannot_read():
    frame = pd.DataFrame({"id": [1, 2], "text": ["good", 5]}, index=["a", "b"])
    with pytest.raises(InputError, match=r"DataFrame, index 'b': column 'text' is a number \(5\), not text"):
        tfhub_ft.predict(BY_LABEL, frame)
    frame.columns = ["text", "text"]
    with pytest.raises(InputError, match="DataFrame: column 'text' occurs twice; rename one of them"):
        tfhub_ft.predict(BY_LABEL, frame)
    with pytest.raises(InputError, match="text_column: expected a str, got an int"):
        tfhub_ft.predict(BY_LABEL, pd.DataFrame({"text": ["a"]}), text_column=5)


def test_predict_takes_arrays_and_datasets_of_texts():
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices({"text": ["good", "bad"], "id": [1, 2]})
    series = pd.Series(["good", "bad"])
    labeled = dataset.map(lambda row: (row["text"], row["id"]))
    for texts in (labeled, labeled.batch(2), labeled.map(lambda text, _: text), dataset.map(lambda row: (row, 1))):
        assert [prediction["label"] for prediction in tfhub_ft.predict(BY_LABEL, texts)] == ["good", "bad"]
    pairs = labeled.map(lambda text, _: (text, text))
    for texts in (pairs, pairs.map(lambda *pair: (pair, 1)), pairs.map(lambda *pair: (*pair, 1)).batch(2)):
        assert [prediction["label"] for prediction in tfhub_ft.predict(BY_PAIR, texts)] == ["good", "bad"]
    for texts in (series, pa.chunked_array([["good"], ["bad"]]), np.array(series), dataset, dataset.batch(2)):
        predictions = tfhub_ft.predict(BY_LABEL, texts)
        assert [prediction["label"] for prediction in predictions] == ["good", "bad"]
        assert predictions[0]["probabilities"] == {"bad": 0.25, "good": 0.75}


def test_predict_takes_a_single_text_or_pair():
    assert [each["label"] for each in tfhub_ft.predict(BY_LABEL, "good")] == ["good"]
    assert [each["label"] for each in tfhub_ft.predict(BY_PAIR, ("good", "a"))] == ["good"]
    assert [each["label"] for each in tfhub_ft.predict(BY_LABEL, ("good", "bad"))] == ["good", "bad"]
    with pytest.raises(InputError, match="text 1: this model reads sentence1 and sentence2 of each row"):
        tfhub_ft.predict(BY_PAIR, "good")
