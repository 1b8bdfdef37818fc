"""Runs and an export of version 0.1.0, written by tests/data/make_runs_0_1_0.py."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import tfhub_ft

ARCHIVE = Path(__file__).parents[1] / "data" / "runs_0_1_0.zip"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs_0_1_0")
    zipfile.ZipFile(ARCHIVE).extractall(folder)
    return folder


@pytest.fixture(scope="module")
def recorded(data):
    return json.loads((data / "predictions.json").read_text(encoding="utf-8"))


@pytest.mark.sample
@pytest.mark.parametrize(("name", "field"), [("sentiment", "label"), ("chat", "reply"), ("export", "label")])
def test_run_and_export_predict_as_before(name, field, data, recorded):
    predictions = tfhub_ft.predict(data / name, recorded["texts"])
    assert [each[field] for each in predictions] == [each[field] for each in recorded[name]]
    scores, expected = ([each["score"] for each in every] for every in (predictions, recorded[name]))
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.sample
def test_tflite_file_predicts_like_its_run(data, recorded):
    predictions = tfhub_ft.predict(data / "export" / "tflite" / "export_fp32.tflite", recorded["texts"])
    assert [each["label"] for each in predictions] == [each["label"] for each in recorded["sentiment"]]


def test_run_exports_into_its_old_export_folder(data, recorded):
    tfhub_ft.export(data / "sentiment", output_dir=data / "export")
    assert (data / "export" / "2" / "saved_model.pb").is_file()
    predictions = tfhub_ft.predict(data / "export", recorded["texts"])
    assert [each["label"] for each in predictions] == [each["label"] for each in recorded["sentiment"]]


def test_run_of_recipe_chat_is_a_retrieval_run(data):
    run = tfhub_ft.Run(data / "chat")
    assert run.recipe.name == "retrieval"
    assert tfhub_ft.Conversation(retrieve=run).reply("good film").text in run.labels
