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
    """The largest difference between an ONNX file's logits and the model's, both run on batches of texts."""
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
def test_a_file_answers_as_the_model_for_any_batch_and_length(written):
    file, model, run = written
    assert compare(file, model, run.recipe.task, run.labels, [TEXTS, TEXTS[:1], TEXTS * 3]) <= 1e-4


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
def test_every_kind_of_head_is_converted(name, arguments, labels, tiny_pair, tmp_path):
    recipe = load_recipe(name)
    model = recipe.build_model(encoder=str(tiny_pair), seq_length=32, **arguments)
    write_onnx(model, recipe.task, labels, {}, tmp_path / "one.onnx")
    compare(tmp_path / "one.onnx", model, recipe.task, labels, [TEXTS, TEXTS[:1]])


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
    monkeypatch.setitem(FORMATS["onnx"].quantizations, "dynamic", Tolerance(agreement=1.1))
    with pytest.raises(RunError, match=r"onnx/one_dynamic\.onnx was not kept: 100\.0% of the answers"):
        tfhub_ft.export(tiny_run, output_dir=tmp_path / "one", formats=["onnx"], quantize=["dynamic"])
    assert not (tmp_path / "one").exists()


@needs_onnx
def test_a_file_that_answers_differently_is_an_error(written):
    file, model, run = written
    bias = model.get_layer("token_model").get_layer("logits").dense.bias
    bias.assign_add([0.01, 0.0])
    try:
        with pytest.raises(RunError, match=r"tokens: logits differ by 0\.01, 0\.0001 is allowed"):
            compare(file, model, run.recipe.task, run.labels, [TEXTS])
    finally:
        bias.assign_add([-0.01, 0.0])


@needs_onnx
def test_a_file_that_cannot_be_run_is_an_error(written, tmp_path):
    file, model, run = written
    (tmp_path / "broken.onnx").write_bytes(file.read_bytes()[:1000])
    with pytest.raises(RunError, match=r"broken\.onnx: cannot be run in an isolated process"):
        compare(tmp_path / "broken.onnx", model, run.recipe.task, run.labels, [TEXTS])


def test_without_the_extra_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(onnx, "PACKAGES", ("onnx_of_nobody",))
    with pytest.raises(InputError, match=r"onnx_of_nobody: pip install 'tfhub_ft\[onnx\]'"):
        write_onnx(None, Classification(), [], {}, tmp_path / "one.onnx")
    assert not list(tmp_path.iterdir())
