import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest

import tfhub_ft
from tests.conftest import make_reviews
from tfhub_ft.inference.predict import open_predictor

TEXTS = [text for text, _ in make_reviews(50, seed=5)]


@pytest.fixture(scope="module")
def by_run(tiny_run):
    return open_predictor(tiny_run)


@pytest.fixture(scope="module")
def by_export(tiny_export):
    return open_predictor(tiny_export)


@pytest.mark.sample
def test_predict_with_an_export_equals_its_run(by_run, by_export, tiny_export):
    for one, other in zip(tfhub_ft.predict(by_run, TEXTS), tfhub_ft.predict(by_export, TEXTS)):
        assert one["label"] == other["label"]
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
    by_version = open_predictor(tiny_export / "1")
    assert by_version([("good film",)])[0] == by_export([("good film",)])[0]


LONG = "the " * 60 + "good film"


def test_truncated_rows_counts_tokens(by_run, by_export, tflite):
    assert by_run.truncation == by_export.truncation == tflite.truncation
    assert "24 tokens" in by_run.truncation
    fits = ("a " * 22).strip()
    rows = [("good film",), (LONG,), (fits,), (f"{fits} a",), ("x" * 300,)]
    assert [by_run.truncated_rows([row]) for row in rows] == [0, 1, 0, 1, 0]
    for predictor in (by_run, by_export, tflite):
        assert predictor.truncated_rows(rows) == 2
        assert predictor.truncated_rows([]) == 0


@pytest.fixture(scope="module")
def tflite(tiny_run, tmp_path_factory):
    folder = tfhub_ft.export(tiny_run, output_dir=tmp_path_factory.mktemp("exports") / "one", formats=["tflite"])
    return open_predictor(folder / "tflite/one_fp32.tflite")


@pytest.mark.parametrize("kind", ["tiny_run", "tiny_export"])
def test_unpickled_predictor_predicts_the_same(kind, request, monkeypatch, tmp_path):
    path = request.getfixturevalue(kind)
    monkeypatch.chdir(path.parent)
    predictor = open_predictor(path.name, precision="auto")
    fresh = pickle.dumps(predictor)
    expected = tfhub_ft.predict(predictor, TEXTS[:2])
    monkeypatch.chdir(tmp_path)
    assert len(fresh) < 1000
    assert pickle.dumps(predictor) == fresh
    again = pickle.loads(fresh)
    assert tfhub_ft.predict(again, TEXTS[:2]) == expected
    assert (again.name, again.precision) == (predictor.name, "auto" if kind == "tiny_run" else "float32")


@pytest.mark.sample
def test_predict_works_in_spawned_processes(tiny_run):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        predictions = pool.submit(tfhub_ft.predict, open_predictor(tiny_run), TEXTS[:2]).result(timeout=300)
    expected = tfhub_ft.predict(tiny_run, TEXTS[:2])
    assert [each["label"] for each in predictions] == [each["label"] for each in expected]
