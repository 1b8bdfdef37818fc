"""Exports of every format cut long texts to the run's --seq-length, and answer the next text."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, InterpreterWithCustomOps
from tensorflow_text.core.pybinds import tflite_registrar

from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor
from tfhub_ft.exports import onnx, tflite
from tfhub_ft.exports.saved_model import write_saved_model
from tfhub_ft.run import Run

LONG = "the good film was so great and lovely " * 90
SHORT = "good film"


@pytest.fixture(scope="module")
def run(tiny_run):
    return Run(tiny_run)


@pytest.fixture(scope="module")
def model(run):
    return run.load_model()


def uncut(model, text):
    """What a client sends that does not cut, as MediaPipe: all tokens of a text."""
    layer = HubPreprocessor(model.get_layer("preprocessor").encoder, seq_length=2000)
    return {name: ids.numpy() for name, ids in layer([text]).items()}


def assert_answers(model, predict, tolerance=1e-4):
    """A long text is answered as it is by the model, which cuts it, and so are the texts after it."""
    assert uncut(model, LONG)["input_mask"].sum() > 600
    for text in (LONG, SHORT, LONG, SHORT):
        expected = tf.nn.softmax(model(tf.constant([text]), training=False))
        np.testing.assert_allclose(np.asarray(predict(text)), expected, atol=tolerance)


def test_saved_model_signatures_cut_long_texts(run, model, tmp_path):
    write_saved_model(model, run.recipe.task, run.labels, run.thresholds, tmp_path / "1")
    loaded = tf.saved_model.load(tmp_path / "1")
    from_tokens, from_text = loaded.signatures["tokens"], loaded.signatures["serving_default"]
    tokens = {text: {k: tf.constant(v) for k, v in uncut(model, text).items()} for text in (LONG, SHORT)}
    assert_answers(model, lambda text: from_tokens(**tokens[text])["probabilities"])
    assert_answers(model, lambda text: from_text(text=tf.constant([text]))["probabilities"])


@pytest.mark.parametrize("quantization", ["none", "dynamic", "int8"])
def test_tflite_files_cut_long_texts(run, model, quantization):
    calibration = [uncut(model, text) for text in (LONG, SHORT, "bad film")]
    content = tflite.convert(tflite.token_function(model, run.recipe.task), quantization, calibration=calibration)
    interpreter = Interpreter(model_content=content)

    # As MediaPipe does: it gives the inputs the size of each text.
    def predict(text):
        tokens, details = uncut(model, text), interpreter.get_input_details()
        for tensor in details:
            ids = next(ids for name, ids in tokens.items() if name in tensor["name"])
            interpreter.resize_tensor_input(tensor["index"], ids.shape)
        interpreter.allocate_tensors()
        for tensor in details:
            ids = next(ids for name, ids in tokens.items() if name in tensor["name"])
            interpreter.set_tensor(tensor["index"], ids)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    assert_answers(model, predict, 1e-4 if quantization == "none" else 0.2)


def test_tflite_text_files_cut_long_texts(run, model):
    words = model.get_layer("preprocessor").vocabulary
    content = tflite.convert(tflite.text_function(model, run.recipe.task, words, lowercase=True))
    answer = InterpreterWithCustomOps(
        model_content=content, custom_op_registerers=tflite_registrar.SELECT_TFTEXT_OPS
    ).get_signature_runner()
    assert_answers(model, lambda text: answer(text=np.array([text.encode()], object))["probabilities"])


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in onnx.PACKAGES), reason="the extra onnx is not installed"
)
def test_onnx_files_cut_long_texts(run, model, tmp_path):
    import onnxruntime

    onnx.write_onnx(model, run.recipe.task, run.labels, run.thresholds, tmp_path / "long.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "long.onnx")
    assert_answers(model, lambda text: session.run(["probabilities"], uncut(model, text))[0])
