import importlib.util
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfhub_ft
from tfhub_ft.exports import onnx, tflite_verify
from tfhub_ft.exports.onnx import prove_onnx, write_onnx
from tfhub_ft.exports.verify import Call
from tfhub_ft.models.builders import text_model
from tfhub_ft.recipe import load_recipe
from tfhub_ft.run import Run
from tfhub_ft.tasks.classification import Classification
from tfhub_ft.utils.errors import InputError, RunError

TEXTS = ["good film", "the food was terrible and the waiter was rude", "a bad room"]

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in onnx.PACKAGES),
    reason="the extra onnx is not installed",
)


def call_of(model, task, labels, decision, batches):
    feeds, expected = [], []
    for texts in batches:
        columns = [tf.constant(texts)] * len(task.fields)
        tokens = model.get_layer("preprocessor")(columns if len(columns) > 1 else columns[0])
        served = task.serving_outputs(model.get_layer("token_model")(tokens, training=False), labels, decision)
        feeds.append({name: ids.numpy() for name, ids in tokens.items()})
        expected.append({name: output.numpy() for name, output in served.items()})
    return Call(feeds, expected)


@pytest.fixture(scope="module")
def written(tiny_run, tmp_path_factory):
    run = Run(tiny_run)
    model, file = run.load_model(), tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    write_onnx(model, run.recipe.task, run.labels, run.decision, file)
    return file, call_of(model, run.recipe.task, run.labels, run.decision, [TEXTS, TEXTS[:1], TEXTS * 3])


@pytest.mark.sample
@needs_onnx
def test_a_file_answers_as_the_model_for_any_batch_and_length(written):
    file, call = written
    assert len({feed["input_mask"].shape for feed in call.feeds}) == 3
    proof = prove_onnx(file, call)
    assert proof["max_logit_difference"] <= proof["tolerance"] == 1e-4
    assert proof["rows"] == 13
    assert set(proof["latency_ms"]) == {"p50", "p95"}


@needs_onnx
def test_inputs_and_outputs_have_the_names_of_the_tokens_signature(written):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(written[0]))
    assert {(each.name, each.type, tuple(each.shape)) for each in session.get_inputs()} == {
        (name, "tensor(int32)", ("batch", "length")) for name in ("input_word_ids", "input_mask", "input_type_ids")
    }
    assert [each.name for each in session.get_outputs()] == ["logits", "probabilities", "score"]
    assert session.get_outputs()[0].shape == ["batch", 2]
    words = session.get_modelmeta().custom_metadata_map
    assert json.loads(words["labels"]) == ["negative", "positive"]
    assert words["task"] == "classification"
    assert json.loads(words["decision"]) == {}


@needs_onnx
def test_a_gelu_by_erfc_is_converted(tiny_pair, tmp_path):
    def head(encoded):
        return keras.layers.Dense(2, name="logits")(keras.activations.gelu(encoded["pooled_output"]))

    model = text_model(head, name="by_erfc", encoder=str(tiny_pair), seq_length=24)
    graph = tf.function(lambda x: keras.activations.gelu(x)).get_concrete_function(tf.TensorSpec((None,), tf.float32))
    assert "Erfc" in {operation.type for operation in graph.graph.get_operations()}
    write_onnx(model, Classification(), ["no", "yes"], {}, tmp_path / "erfc.onnx")
    prove_onnx(tmp_path / "erfc.onnx", call_of(model, Classification(), ["no", "yes"], {}, [TEXTS]))


@needs_onnx
@pytest.mark.parametrize(
    ("name", "arguments", "labels"),
    [
        ("similarity", {"mode": "bi-encoder"}, ["1", "5"]),
        ("pair", {"num_classes": 2}, ["no", "yes"]),
        ("ner", {"num_classes": 3}, ["O", "B-PER", "I-PER"]),
        ("qa", {}, []),
    ],
)
def test_every_kind_of_head_is_converted(name, arguments, labels, tiny_pair, tmp_path):
    recipe = load_recipe(name)
    model = recipe.build_model(encoder=str(tiny_pair), seq_length=32, **arguments)
    write_onnx(model, recipe.task, labels, {}, tmp_path / "one.onnx")
    assert prove_onnx(tmp_path / "one.onnx", call_of(model, recipe.task, labels, {}, [TEXTS, TEXTS[:1]]))["rows"] >= 4


@needs_onnx
def test_export_writes_dynamic_files_that_agree(tiny_run, tmp_path):
    folder = tfhub_ft.export(tiny_run, output_dir=tmp_path / "one", formats=["onnx"], quantize=["none", "dynamic"])
    whole, dynamic = json.loads((folder / "export.json").read_text())["forms"]
    assert (whole["path"], dynamic["path"]) == ("onnx/one.onnx", "onnx/one_dynamic.onnx")
    assert dynamic["bytes"] < whole["bytes"]
    assert dynamic["agreement"] >= 0.98
    assert 0 < dynamic["max_logit_difference"] < 0.1
    assert dynamic["score"]["form"] == pytest.approx(dynamic["score"]["model"], abs=0.01)
    assert "| ONNX, from tokens on, dynamic | `onnx/one_dynamic.onnx` |" in (folder / "README.md").read_text()


@needs_onnx
def test_export_keeps_no_dynamic_file_that_differs(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setitem(tflite_verify.TOLERANCES, "dynamic", tflite_verify.Tolerance(1.1, 0))
    with pytest.raises(RunError, match=r"onnx/one_dynamic\.onnx was not kept: 100\.0% of the answers"):
        tfhub_ft.export(tiny_run, output_dir=tmp_path / "one", formats=["onnx"], quantize=["dynamic"])
    assert not (tmp_path / "one").exists()


@needs_onnx
def test_a_file_that_answers_differently_is_an_error(written):
    file, call = written
    logits = call.expected[0]["logits"] + np.float32(0.01)
    wrong = Call(call.feeds[:1], [{**call.expected[0], "logits": logits}])
    with pytest.raises(RunError, match=r"answers differently from the model \(logits differ by 0\.01"):
        prove_onnx(file, wrong)


@needs_onnx
def test_a_file_that_cannot_be_run_is_an_error(written, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(written[0].read_bytes()[:1000])
    with pytest.raises(RunError, match="cannot be run in a fresh process"):
        prove_onnx(tmp_path / "broken.onnx", written[1])


def test_without_the_extra_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(onnx, "PACKAGES", ("onnx_of_nobody",))
    with pytest.raises(InputError, match=r"onnx_of_nobody: pip install 'tfhub_ft\[onnx\]'"):
        write_onnx(None, Classification(), [], {}, tmp_path / "one.onnx")
    with pytest.raises(InputError, match="pip install"):
        prove_onnx(tmp_path / "one.onnx", Call([], []))
    assert not list(tmp_path.iterdir())
