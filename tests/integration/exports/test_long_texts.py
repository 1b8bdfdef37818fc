"""Exports of every format truncate long texts to --seq-length."""

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


def full_tokens(model, text):
    """Return all tokens of a text, as clients send them that do not truncate, such as MediaPipe."""
    layer = HubPreprocessor(model.get_layer("preprocessor").encoder, seq_length=2000)
    return {name: ids.numpy() for name, ids in layer([text]).items()}


def assert_equal_predictions(model, predict, tolerance=1e-4):
    """Check that the probabilities of long texts, and of the texts after them, equal the model's."""
    assert full_tokens(model, LONG)["input_mask"].sum() > 600
    for text in (LONG, SHORT, LONG, SHORT):
        expected = tf.nn.softmax(model(tf.constant([text]), training=False))
        np.testing.assert_allclose(np.asarray(predict(text)), expected, atol=tolerance)


def test_saved_model_signatures_truncate_long_texts(run, model, tmp_path):
    write_saved_model(model, run.recipe.task, run.labels, run.thresholds, tmp_path / "1")
    loaded = tf.saved_model.load(tmp_path / "1")
    from_tokens, from_text = loaded.signatures["tokens"], loaded.signatures["serving_default"]
    tokens = {text: {k: tf.constant(v) for k, v in full_tokens(model, text).items()} for text in (LONG, SHORT)}
    assert_equal_predictions(model, lambda text: from_tokens(**tokens[text])["probabilities"])
    assert_equal_predictions(model, lambda text: from_text(text=tf.constant([text]))["probabilities"])


@pytest.mark.parametrize("quantization", ["none", "dynamic", "int8"])
def test_tflite_files_truncate_long_texts(run, model, quantization):
    calibration = [full_tokens(model, text) for text in (LONG, SHORT, "bad film")]
    content = tflite.convert(tflite.token_function(model, run.recipe.task), quantization, calibration=calibration)
    interpreter = Interpreter(model_content=content)

    # Like MediaPipe, resize the inputs for each text.
    def predict(text):
        tokens, details = full_tokens(model, text), interpreter.get_input_details()
        for tensor in details:
            ids = next(ids for name, ids in tokens.items() if name in tensor["name"])
            interpreter.resize_tensor_input(tensor["index"], ids.shape)
        interpreter.allocate_tensors()
        for tensor in details:
            ids = next(ids for name, ids in tokens.items() if name in tensor["name"])
            interpreter.set_tensor(tensor["index"], ids)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    assert_equal_predictions(model, predict, 1e-4 if quantization == "none" else 0.2)


@pytest.mark.parametrize("long_texts", ["truncate", "head-tail"])
def test_tflite_text_files_truncate_long_texts(run, model, long_texts):
    if long_texts == "head-tail":
        weights = model.get_weights()
        model = run.recipe.build(run.settings.replaced({"long_texts": long_texts}), run.labels)
        model.set_weights(weights)
    vocabulary = model.get_layer("preprocessor").vocabulary
    content = tflite.convert(tflite.text_function(model, run.recipe.task, vocabulary, lowercase=True))
    runner = InterpreterWithCustomOps(
        model_content=content, custom_op_registerers=tflite_registrar.SELECT_TFTEXT_OPS
    ).get_signature_runner()
    assert_equal_predictions(model, lambda text: runner(text=np.array([text.encode()], object))["probabilities"])


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in onnx.PACKAGES), reason="the extra onnx is not installed"
)
def test_onnx_files_truncate_long_texts(run, model, tmp_path):
    import onnxruntime

    onnx.write_onnx(model, run.recipe.task, run.labels, run.thresholds, tmp_path / "long.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "long.onnx")
    assert_equal_predictions(model, lambda text: session.run(["probabilities"], full_tokens(model, text))[0])
