import importlib.util
import json

import keras
import pytest
import tensorflow as tf

import tfhub_ft
from tfhub_ft.exports import onnx, verify
from tfhub_ft.exports.formats import FORMATS, Tolerance
from tfhub_ft.exports.onnx import write_onnx
from tfhub_ft.inference.runtimes.base import token_batch
from tfhub_ft.inference.runtimes.isolated import IsolatedRuntime
from tfhub_ft.inference.runtimes.keras import KerasRuntime
from tfhub_ft.inference.runtimes.onnx import ONNXRuntime
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


def compare(file, model, task, labels, parts):
    """Return the largest difference between the logits of an ONNX file and of the model, on batches of texts."""
    rows = [[(text,) * len(task.fields) for text in part] for part in parts]
    batches = [token_batch(model.get_layer("preprocessor"), each) for each in rows]
    reference = KerasRuntime(model, task, labels, {})
    expected = [reference(batch, "tokens") for batch in batches]
    with IsolatedRuntime(ONNXRuntime) as runtime:
        outputs = [runtime.open(file)(batch) for batch in batches]
    tolerance = FORMATS["onnx"].quantizations["none"]
    return verify.compare_outputs({"tokens": outputs}, {"tokens": expected}, tolerance, texts=False)["tokens"]


@pytest.fixture(scope="module")
def written(tiny_run, tmp_path_factory):
    run = Run(tiny_run)
    model, file = run.load_model(), tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    write_onnx(model, run.recipe.task, run.labels, run.thresholds, file)
    return file, model, run


@pytest.mark.sample
@needs_onnx
def test_write_onnx_supports_any_batch_size_and_length(written):
    file, model, run = written
    assert compare(file, model, run.recipe.task, run.labels, [TEXTS, TEXTS[:1], TEXTS * 3]) <= 1e-4


@needs_onnx
def test_write_onnx_names_inputs_and_outputs(written):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(written[0]))
    assert {(each.name, each.type, tuple(each.shape)) for each in session.get_inputs()} == {
        (name, "tensor(int32)", ("batch", "length")) for name in ("input_word_ids", "input_mask", "input_type_ids")
    }
    assert [each.name for each in session.get_outputs()] == ["logits", "probabilities", "score"]
    assert session.get_outputs()[0].shape == ["batch", 2]
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["labels"]) == ["negative", "positive"]
    assert metadata["task"] == "classification"
    assert json.loads(metadata["decision"]) == {}


@needs_onnx
def test_write_onnx_converts_erfc(tiny_pair, tmp_path):
    def head(encoded):
        return keras.layers.Dense(2, name="logits")(keras.activations.gelu(encoded["pooled_output"]))

    model = text_model(head, name="by_erfc", encoder=str(tiny_pair), seq_length=24)
    graph = tf.function(lambda x: keras.activations.gelu(x)).get_concrete_function(tf.TensorSpec((None,), tf.float32))
    assert "Erfc" in {operation.type for operation in graph.graph.get_operations()}
    write_onnx(model, Classification(), ["no", "yes"], {}, tmp_path / "erfc.onnx")
    compare(tmp_path / "erfc.onnx", model, Classification(), ["no", "yes"], [TEXTS])


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
def test_write_onnx_converts_every_head(name, arguments, labels, tiny_pair, tmp_path):
    recipe = load_recipe(name)
    model = recipe.build_model(encoder=str(tiny_pair), seq_length=32, **arguments)
    write_onnx(model, recipe.task, labels, {}, tmp_path / "one.onnx")
    compare(tmp_path / "one.onnx", model, recipe.task, labels, [TEXTS, TEXTS[:1]])


@needs_onnx
def test_export_verifies_dynamic_onnx_files(tiny_run, tmp_path):
    folder = tfhub_ft.export(tiny_run, output_dir=tmp_path / "one", formats=["onnx"], quantize=["none", "dynamic"])
    float32, dynamic = json.loads((folder / "export.json").read_text())["forms"]
    assert (float32["path"], dynamic["path"]) == ("onnx/one.onnx", "onnx/one_dynamic.onnx")
    assert dynamic["bytes"] < float32["bytes"]
    assert dynamic["agreement"] >= 0.98
    assert 0 < dynamic["max_logit_difference"] < 0.1
    assert dynamic["score"]["form"] == pytest.approx(dynamic["score"]["model"], abs=0.01)
    assert "| ONNX (reads tokens), dynamic | `onnx/one_dynamic.onnx` |" in (folder / "README.md").read_text()


@needs_onnx
def test_export_removes_dynamic_onnx_files_that_differ(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setitem(FORMATS["onnx"].quantizations, "dynamic", Tolerance(agreement=1.1))
    with pytest.raises(RunError, match=r"onnx/one_dynamic\.onnx was not kept: 100\.0% of the predictions"):
        tfhub_ft.export(tiny_run, output_dir=tmp_path / "one", formats=["onnx"], quantize=["dynamic"])
    assert not (tmp_path / "one").exists()


@needs_onnx
def test_compare_outputs_refuses_other_logits(written):
    file, model, run = written
    bias = model.get_layer("token_model").get_layer("logits").dense.bias
    bias.assign_add([0.01, 0.0])
    try:
        with pytest.raises(RunError, match=r"tokens: logits differ by 0\.01, 0\.0001 is allowed"):
            compare(file, model, run.recipe.task, run.labels, [TEXTS])
    finally:
        bias.assign_add([-0.01, 0.0])


@needs_onnx
def test_onnx_runtime_refuses_damaged_files(written, tmp_path):
    file, model, run = written
    (tmp_path / "broken.onnx").write_bytes(file.read_bytes()[:1000])
    with pytest.raises(RunError, match=r"broken\.onnx: cannot be run in an isolated process"):
        compare(tmp_path / "broken.onnx", model, run.recipe.task, run.labels, [TEXTS])


def test_write_onnx_names_missing_packages(monkeypatch, tmp_path):
    monkeypatch.setattr(onnx, "PACKAGES", ("onnx_of_nobody",))
    with pytest.raises(InputError, match=r"onnx_of_nobody: pip install 'tfhub_ft\[onnx\]'"):
        write_onnx(None, Classification(), [], {}, tmp_path / "one.onnx")
    assert not list(tmp_path.iterdir())
