"""Types of arguments, and the containers that texts may come in."""

from pathlib import Path

import numpy as np
import pytest

import tfhub_ft
from tests.conftest import make_reviews
from tfhub_ft.data.texts import TextRows
from tfhub_ft.evaluation.compare_runs import compare
from tfhub_ft.inference.predict import open_predictor
from tfhub_ft.training.dry_run import dry_run
from tfhub_ft.training.prepare import prepare
from tfhub_ft.training.tune import tune
from tfhub_ft.utils.arguments import check_names, check_texts, plain_text, type_name
from tfhub_ft.utils.errors import InputError

TEXTS = [text for text, _ in make_reviews(3, seed=7)]


class Table:
    """Like a DataFrame: iterating yields column names, and the repr has several lines."""

    columns = ["text", "label"]

    def __iter__(self):
        return iter(self.columns)

    def __repr__(self):
        return "text label\n0 a b"


WRONG = [Table(), ["a.csv"], {"text": "a"}, b"a.csv", 5, True, 1.5]
CALLS = {
    "recipe": [
        lambda value, run, path: tfhub_ft.train(value),
        lambda value, run, path: tfhub_ft.load_recipe(value),
        lambda value, run, path: dry_run(value),
        lambda value, run, path: tune(value, output_dir=path),
        lambda value, run, path: prepare(value, output_dir=path),
    ],
    "output_dir": [
        lambda value, run, path: tfhub_ft.train("sentiment", output_dir=value),
        lambda value, run, path: tfhub_ft.export(run, output_dir=value),
        lambda value, run, path: tfhub_ft.distill(run, student="layers:1", output_dir=value),
        lambda value, run, path: tune("sentiment", output_dir=value),
        lambda value, run, path: prepare("sentiment", output_dir=value),
    ],
    "config": [lambda value, run, path: tfhub_ft.train("sentiment", config=value)],
    "run": [
        lambda value, run, path: tfhub_ft.Run(value),
        lambda value, run, path: tfhub_ft.evaluate(value, data="a.csv"),
        lambda value, run, path: tfhub_ft.export(value, output_dir=path),
        lambda value, run, path: tfhub_ft.distill(value, student="layers:1", output_dir=path),
        lambda value, run, path: compare(run, value),
    ],
    "model": [
        lambda value, run, path: tfhub_ft.predict(value, ["good"]),
        lambda value, run, path: open_predictor(value),
    ],
    "report": [lambda value, run, path: tfhub_ft.evaluate(run, data="a.csv", report=value)],
    "export_dir": [lambda value, run, path: tfhub_ft.benchmark(value, data="a.csv")],
    "student": [lambda value, run, path: tfhub_ft.distill(run, student=value, output_dir=path)],
}
ROWS_CALLS = {
    "data": [
        lambda value, run, path: tfhub_ft.train("sentiment", data=value),
        lambda value, run, path: dry_run("sentiment", data=value),
        lambda value, run, path: tune("sentiment", data=value, output_dir=path),
        lambda value, run, path: prepare("sentiment", data=value, output_dir=path),
        lambda value, run, path: tfhub_ft.distill(run, student="layers:1", output_dir=path, data=value),
        lambda value, run, path: tfhub_ft.evaluate(run, data=value),
        lambda value, run, path: tfhub_ft.benchmark(path, data=value),
        lambda value, run, path: compare(run, run, data=value),
    ],
    "test": [lambda value, run, path: tfhub_ft.train("sentiment", train="a.csv", test=value)],
}


@pytest.mark.parametrize("argument", ROWS_CALLS)
@pytest.mark.parametrize("value", [Table(), b"a.csv", 5, True, 1.5], ids=type_name)
def test_arguments_of_rows_reject_other_types(argument, value, tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in ROWS_CALLS[argument]:
        with pytest.raises(InputError) as caught:
            call(value, tiny_run, tmp_path / "out")
        start = f"{argument}: expected a path (str or Path) or rows in memory, a DataFrame, "
        assert str(caught.value).startswith(start), str(caught.value)
        assert str(caught.value).endswith(f"; got {type_name(value)}")
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("argument", CALLS)
@pytest.mark.parametrize("value", WRONG, ids=type_name)
def test_path_arguments_reject_other_types(argument, value, tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in CALLS[argument]:
        with pytest.raises(InputError) as caught:
            call(value, tiny_run, tmp_path / "out")
        assert str(caught.value).endswith(f", got {type_name(value)}"), str(caught.value)
        assert str(caught.value).startswith(f"{argument}: expected ")
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("argument", [*CALLS, "--encoder", "--preprocessor"])
@pytest.mark.parametrize("kind", [str, Path])
def test_path_arguments_reject_nul_characters(argument, kind, tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    setting = argument.removeprefix("--")
    for call in CALLS.get(argument, [lambda value, run, path: tfhub_ft.train("sentiment", **{setting: value})]):
        with pytest.raises(InputError) as caught:
            call(kind("a\0b"), tiny_run, tmp_path / "out")
        assert str(caught.value) == f"{argument}: 'a\\x00b' contains a NUL character; remove it"
    assert not list(tmp_path.iterdir())


def test_text_rows_reject_nul_characters():
    with pytest.raises(InputError, match="^source: 'a.x00b' contains a NUL character; remove it$"):
        TextRows("a\0b", [])


def test_config_paths_reject_nul_characters(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text('data: "a\\0b"\n')
    with pytest.raises(InputError, match="--data: 'a.x00b' contains a NUL character; remove it"):
        tfhub_ft.train("sentiment", config=config)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: tfhub_ft.train("sentiment", resume="yes"), "resume: expected True or False, got a str"),
        (lambda run: tfhub_ft.train("sentiment", epochs=[3]), "--epochs: expected an integer, got a list"),
        (lambda run: tfhub_ft.evaluate(run, data="a.csv", skip_bad_rows=1), "skip_bad_rows: expected True"),
        (lambda run: tfhub_ft.evaluate(run, data=None), "data: expected a path"),
        (lambda run: tfhub_ft.predict(run, ["a"], precision=16), "precision: expected one of auto, float32"),
        (lambda run: tfhub_ft.export(run, output_dir="x", formats=5), "formats: expected a list of str, got an int"),
        (
            lambda run: tfhub_ft.export(run, output_dir="x", quantize=[8]),
            "quantize: expected a list of str, got an int",
        ),
        (lambda run: tune("sentiment", output_dir="x", trials="3"), "trials: expected an integer, got a str"),
        (lambda run: tune("sentiment", output_dir="x", search={"epochs": 3}), "search: expected a list"),
        (lambda run: prepare("sentiment", output_dir="x", shards=1.5), "shards: expected an integer, got a float"),
    ],
)
def test_other_arguments_reject_wrong_types(call, message, tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        call(tiny_run)
    assert not list(tmp_path.iterdir())


def test_check_names_splits_a_str():
    assert check_names("formats", "tflite, onnx") == check_names("formats", ["tflite", "onnx"]) == ("tflite", "onnx")


@pytest.fixture(scope="module")
def predictor(tiny_run):
    return open_predictor(tiny_run)


def labels_of(predictor, texts):
    return [each["label"] for each in tfhub_ft.predict(predictor, texts)]


@pytest.mark.parametrize(
    "container",
    [
        tuple,
        iter,
        lambda texts: (text for text in texts),
        np.array,
        lambda texts: np.array(texts, dtype=object),
        lambda texts: np.array([text.encode() for text in texts]),
        lambda texts: [text.encode() for text in texts],
        lambda texts: [[text] for text in texts],
    ],
    ids=["tuple", "iterator", "generator", "array", "objects", "bytes-array", "bytes", "lists"],
)
def test_predict_accepts_texts_in_any_container(container, predictor):
    assert labels_of(predictor, container(TEXTS)) == labels_of(predictor, TEXTS)


def test_predict_accepts_pandas_and_tensorflow(predictor):
    tf = pytest.importorskip("tensorflow")
    pd = pytest.importorskip("pandas")
    expected = labels_of(predictor, TEXTS)
    assert labels_of(predictor, tf.constant(TEXTS)) == expected
    assert labels_of(predictor, tf.data.Dataset.from_tensor_slices(TEXTS)) == expected
    assert labels_of(predictor, tf.constant(TEXTS[0])) == expected[:1]
    assert labels_of(predictor, pd.Series(TEXTS)) == labels_of(predictor, pd.Series(TEXTS, dtype="str")) == expected
    assert tfhub_ft.predict(predictor, pd.DataFrame({"text": TEXTS}))["label"].tolist() == expected
    with pytest.raises(InputError, match=r"text 2 is NaN \(a float\); expected a str"):
        tfhub_ft.predict(predictor, pd.Series([TEXTS[0], None]))


@pytest.mark.parametrize("text", ["great", b"great", np.str_("great"), np.array("great")])
def test_predict_accepts_one_text(text, predictor):
    assert tfhub_ft.predict(predictor, text) == tfhub_ft.predict(predictor, ["great"])


@pytest.mark.parametrize("texts", [Table(), {"a", "b"}, None, 5, 1.5])
def test_predict_rejects_other_containers(texts, predictor):
    with pytest.raises(InputError, match="^texts: expected a str or a list of str .*, got "):
        tfhub_ft.predict(predictor, texts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "text 2 is None; expected a str"),
        (float("nan"), r"text 2 is NaN \(a float\); expected a str"),
        (5, "text 2 is an int; expected a str"),
        ({"text": "a"}, "text 2 is a dict; expected a str"),
        ("", "text 2 is empty"),
        (b"\xff", "text 2: byte 1 is not UTF-8"),
        (("a", "b"), "text 2: this model reads text of each row"),
    ],
)
def test_predict_names_position_of_invalid_text(text, message, predictor):
    with pytest.raises(InputError, match=message):
        tfhub_ft.predict(predictor, ["good", text, "bad"])


def test_check_texts_accepts_array_of_pairs():
    pairs = np.array([["It rains.", "The street is wet."], ["a", "b"]])
    assert list(map(plain_text, check_texts("texts", pairs))) == [("It rains.", "The street is wet."), ("a", "b")]
