"""Runs that read long texts by their ends or in windows."""

import importlib.util
import json

import numpy as np
import pytest
import tensorflow as tf

import tfhub_ft
from tests.conftest import TINY_SETTINGS, make_reviews, write_csv
from tfhub_ft.exports import onnx
from tfhub_ft.run import Run
from tfhub_ft.training.callbacks import EpochOrder
from tfhub_ft.utils.errors import InputError, Preempted

NEUTRAL = "the room of the hotel in the city was on the page of a book and we ate at home all day "
WINDOWS = {"long_texts": "windows", "overlap": 4}
SETTINGS = {**TINY_SETTINGS, **WINDOWS, "epochs": 2, "precision": "float32"}


@pytest.fixture(scope="module")
def long_csv(tmp_path_factory):
    """Reviews, three of four of which come after 20, 40 or 60 neutral words."""
    rows = [(NEUTRAL * (row // 2 % 4) + text, label) for row, (text, label) in enumerate(make_reviews(120))]
    return write_csv(tmp_path_factory.mktemp("rows") / "long.csv", rows)


def train(tiny_pair, long_csv, folder, **settings):
    return tfhub_ft.train("sentiment", data=long_csv, encoder=tiny_pair, output_dir=folder, **{**SETTINGS, **settings})


@pytest.fixture(scope="module")
def run(tiny_pair, long_csv, tmp_path_factory):
    """A run with windows and dropout."""
    return train(tiny_pair, long_csv, tmp_path_factory.mktemp("runs") / "windows", dropout=0.1, encoder_dropout=0.1)


def test_run_reads_all_windows(run, long_csv, capsys):
    assert json.loads((run.path / "warnings.json").read_text()) == [
        warning for warning in run.warnings if "seq-length" not in warning
    ]
    assert run.settings.as_dict() | WINDOWS == run.settings.as_dict()
    rows = [line.rsplit(",", 1)[0] for line in long_csv.read_text().splitlines()[1:]]
    predictions = tfhub_ft.predict(run, rows)
    assert "Warning" not in capsys.readouterr().err
    logits = run.load_model()(tf.constant(rows)).numpy()
    scores = [[*prediction["probabilities"].values()] for prediction in predictions]
    np.testing.assert_allclose(scores, tf.nn.softmax(logits), atol=1e-5)
    assert tfhub_ft.evaluate(run, data=long_csv)["rows"] == 120
    # Only the words of the last window differ.
    ends = [NEUTRAL * 3 + "good great film", NEUTRAL * 3 + "bad awful film"]
    one, other = (prediction["score"] for prediction in tfhub_ft.predict(run, ends))
    assert one != other


def test_predict_warns_of_more_windows_than_the_maximum(run, capsys):
    tfhub_ft.predict(run, ["good " * 2000])
    assert "1 of 1 texts are longer than --max-windows 32 windows of --seq-length 24 tokens" in capsys.readouterr().err


@pytest.mark.slow
def test_stopped_run_resumes_to_the_same_result(run, tiny_pair, long_csv, tmp_path, monkeypatch):
    import os
    import signal

    class Sender(EpochOrder):
        def on_train_batch_end(self, batch, logs=None):
            if self.batches.epoch == 0 and batch == 5:
                os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr("tfhub_ft.training.callbacks.EpochOrder", Sender)
        with pytest.raises(Preempted):
            train(tiny_pair, long_csv, tmp_path / "run", dropout=0.1, encoder_dropout=0.1)
    resumed = tfhub_ft.train("sentiment", output_dir=tmp_path / "run", resume=True)
    assert resumed.metrics == run.metrics
    for mine, theirs in zip(resumed.load_model().get_weights(), run.load_model().get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.slow
def test_quantized_files_and_onnx_reproduce_pooled_predictions(run, tmp_path):
    formats = ["tflite", *(["onnx"] if all(importlib.util.find_spec(name) for name in onnx.PACKAGES) else [])]
    folder = tfhub_ft.export(run, output_dir=tmp_path / "export", formats=formats, quantize=["none", "dynamic", "int8"])
    entries = json.loads((folder / "export.json").read_text())["forms"]
    assert len(entries) == 3 + 2 * ("onnx" in formats)


def test_exports_reproduce_pooled_predictions(run, tmp_path):
    formats = ["saved_model", "tflite"]
    folder = tfhub_ft.export(run, output_dir=tmp_path / "export", formats=formats, quantize=["none"])
    entries = json.loads((folder / "export.json").read_text())["forms"]
    assert [entry["form"] for entry in entries] == formats
    texts = [NEUTRAL * 3 + "good great film", "bad film", NEUTRAL + "awful"]
    expected = [prediction["score"] for prediction in tfhub_ft.predict(run, texts)]
    for path in (folder, folder / "tflite" / "export_fp32.tflite"):
        scores = [prediction["score"] for prediction in tfhub_ft.predict(path, texts)]
        np.testing.assert_allclose(scores, expected, atol=1e-4)
    card = (folder / "README.md").read_text()
    assert "int32 (batch, windows, length)" in card
    assert "Long texts are read in at most 32 windows of 24 tokens, which overlap by 4." in card
    with pytest.raises(InputError, match="^--format tflite_text: not available for --long-texts windows; use tflite"):
        tfhub_ft.export(run, output_dir=tmp_path / "export", formats=["tflite_text"])


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["all", pytest.param("all-but-pooler", marks=pytest.mark.slow)])
def test_cached_features_of_windows_train_like_the_encoder(tiny_pair, long_csv, tmp_path, freeze):
    runs = [
        train(tiny_pair, long_csv, tmp_path / str(cached), freeze=freeze, cache_features=cached)
        for cached in (True, False)
    ]
    one, other = (run.metrics["test"]["log_loss"] for run in runs)
    assert one == pytest.approx(other, abs=1e-4)
    assert runs[0].load_model()(tf.constant([NEUTRAL * 3])).shape == (1, 2)
    assert tfhub_ft.evaluate(runs[0], data=long_csv)["rows"] == 120


@pytest.mark.slow
def test_prepared_windows_train_to_the_same_result(tiny_pair, long_csv, tmp_path):
    rows = {"encoder": tiny_pair, "data": long_csv, "seq_length": SETTINGS["seq_length"], **WINDOWS}
    tfhub_ft.prepare("sentiment", output_dir=tmp_path / "prepared", **rows)
    settings = {name: value for name, value in SETTINGS.items() if name not in rows} | {"epochs": 1}
    run = tfhub_ft.train("sentiment", prepared=tmp_path / "prepared", output_dir=tmp_path / "one", **settings)
    other = train(tiny_pair, long_csv, tmp_path / "other", epochs=1)
    assert run.metrics["test"]["log_loss"] == other.metrics["test"]["log_loss"]
    for setting, value in (("long_texts", "truncate"), ("overlap", 2), ("max_windows", 2)):
        with pytest.raises(InputError, match=rf"^--{setting.replace('_', '-')} {value}: the rows in .* were prepared"):
            tfhub_ft.train("sentiment", prepared=tmp_path / "prepared", **{setting: value})


@pytest.mark.slow
def test_student_and_teacher_read_windows(run, tmp_path):
    small = tfhub_ft.distill(
        run, student="layers:1", output_dir=tmp_path / "small", hidden_weight=1.0, epochs=1, learning_rate=1e-3
    )
    assert small.settings.long_texts == "windows"
    other = tfhub_ft.distill(
        run, student="layers:1", output_dir=tmp_path / "head-tail", long_texts="head-tail", epochs=1
    )
    assert (other.settings.long_texts, other.settings.overlap) == ("head-tail", None)


def train_head_tail(tiny_pair, long_csv, folder):
    return train(tiny_pair, long_csv, folder, long_texts="head-tail", overlap=None, epochs=1)


@pytest.mark.slow
def test_head_tail_run_warns_with_its_words(tiny_pair, long_csv, tmp_path, capsys):
    run = train_head_tail(tiny_pair, long_csv, tmp_path / "run")
    words = "are longer than --seq-length 24 tokens; only their first 5 and last 17 tokens are read"
    assert f"{words}; pass --long-texts windows or a larger --seq-length" in capsys.readouterr().err
    tfhub_ft.predict(run, [NEUTRAL])
    assert f"1 of 1 texts {words}\n" in capsys.readouterr().err
    ends = [f"{words} film {NEUTRAL * 2}{last}" for words, last in (("good", "good"), ("bad", "good"), ("bad", "bad"))]
    scores = [prediction["probabilities"]["positive"] for prediction in tfhub_ft.predict(run, ends)]
    assert len(set(scores)) == 3


@pytest.mark.slow
def test_head_tail_run_is_exported(tiny_pair, long_csv, tmp_path):
    run = train_head_tail(tiny_pair, long_csv, tmp_path / "run")
    folder = tfhub_ft.export(run, output_dir=tmp_path / "export", formats=["saved_model", "tflite_text"])
    texts = [f"good film {NEUTRAL * 2}bad", "bad film"]
    expected = [prediction["score"] for prediction in tfhub_ft.predict(run, texts)]
    for path in (folder, folder / "tflite" / "export_text_fp32.tflite"):
        scores = [prediction["score"] for prediction in tfhub_ft.predict(path, texts)]
        np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_old_runs_truncate(tiny_run, tmp_path):
    import shutil

    folder = shutil.copytree(tiny_run, tmp_path / "old")
    lines = (folder / "recipe.yaml").read_text().splitlines(keepends=True)
    names = ("long_texts", "overlap", "window_pooling", "max_windows")
    (folder / "recipe.yaml").write_text("".join(line for line in lines if not line.startswith(names)))
    assert Run(folder).settings.long_texts == "truncate"
    assert tfhub_ft.predict(folder, ["good film"]) == tfhub_ft.predict(tiny_run, ["good film"])
