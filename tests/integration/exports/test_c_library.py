"""Exports run with TensorFlow's C library, as in a server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text
from tensorflow.core.protobuf import saved_model_pb2

from tfhub_ft.run import Run

TEXTS = ["good film", "the food was terrible and the waiter was rude", "ein übles Zimmer — 房间"]
LIBRARIES = sorted(file.name for file in (Path(tensorflow_text.__file__).parent / "python" / "ops").glob("*.so"))
NEW_LIBRARIES = {"_trimmer_ops.so", "_utf8_binarize_op.so"}


@pytest.fixture(scope="module")
def model(tiny_run):
    return Run(tiny_run).load_model()


@pytest.fixture(scope="module")
def inputs(model):
    tokens = {name: ids.numpy().tolist() for name, ids in model.get_layer("preprocessor")(tf.constant(TEXTS)).items()}
    return {"serving_default": {"text": TEXTS}, "tokens": tokens}


def test_c_library_predicts_as_the_model(model, inputs, tiny_export, tmp_path):
    outputs = run_c_library(tiny_export / "1", inputs, tmp_path, LIBRARIES)
    for signature in inputs:
        check_outputs(outputs[signature], model)


def test_stock_operations_run_the_signatures(model, inputs, tiny_export, tmp_path):
    stock = [name for name in LIBRARIES if name not in NEW_LIBRARIES]
    for signature, feed in inputs.items():
        outputs = run_c_library(tiny_export / "1", {signature: feed}, tmp_path, stock, in_steps=True)
        check_outputs(outputs[signature], model)
    outputs = run_c_library(tiny_export / "1", {"tokens": inputs["tokens"]}, tmp_path, [], in_steps=True)
    check_outputs(outputs["tokens"], model)
    texts = {"serving_default": inputs["serving_default"]}
    with pytest.raises(AssertionError, match="RuntimeError: .*Op type not registered"):
        run_c_library(tiny_export / "1", texts, tmp_path, [], in_steps=True)


def check_outputs(outputs, model):
    expected = model(tf.constant(TEXTS)).numpy()
    np.testing.assert_allclose(outputs["logits"], expected, atol=1e-5)
    assert outputs["label"] == [["negative", "positive"][i] for i in expected.argmax(-1)]


def run_c_library(saved_model, inputs, folder, libraries, *, in_steps=False):
    graph = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes()).meta_graphs[0]
    signatures = {
        signature: {
            "inputs": {name: [graph.signature_def[signature].inputs[name].name, feed[name]] for name in feed},
            "outputs": {name: info.name for name, info in graph.signature_def[signature].outputs.items()},
        }
        for signature, feed in inputs.items()
    }
    steps = loading_steps(graph, saved_model, folder / "graph.pb") if in_steps else None
    calls = {"saved_model": str(saved_model), "signatures": signatures, "steps": steps}
    (folder / "calls.json").write_text(json.dumps(calls))
    files = [str(path) for path in (Path(__file__).with_name("c_library.py"), folder / "calls.json")]
    command = [sys.executable, *files, str(folder / "answers.json"), *libraries]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "answers.json").read_text())


def loading_steps(graph, saved_model, file):
    file.write_bytes(graph.graph_def.SerializeToString())
    variables = [graph.saver_def.filename_tensor_name, str(saved_model / "variables" / "variables")]
    assets = {
        str(number): [asset.tensor_info.name, str(saved_model / "assets" / asset.filename)]
        for number, asset in enumerate(graph.asset_file_def)
    }
    start = graph.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name
    return {
        "graph": str(file),
        "variables": {"variables": variables},
        "assets": assets,
        "restore": graph.saver_def.restore_op_name,
        "initialize": start,
    }
