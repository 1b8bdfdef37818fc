import json
import re
import shutil
import zipfile

import numpy as np
import pytest
import tensorflow as tf
import yaml
from ai_edge_litert.interpreter import Interpreter, InterpreterWithCustomOps
from click.testing import CliRunner
from tensorflow_text.core.pybinds import tflite_registrar

import tfhub_ft
from tfhub_ft.cli.main import group
from tfhub_ft.exports import onnx, tflite
from tfhub_ft.exports.tflite_tokenizer import varied_texts
from tfhub_ft.recipe import load_recipe
from tfhub_ft.run import Run
from tfhub_ft.settings import Settings
from tfhub_ft.utils.errors import InputError, RunError

TEXTS = ["good film", "the food was terrible and the waiter was rude", "a bad room, a GREAT Café", "x" * 300]


QUANTIZED = {"some": ["none", "dynamic", "int8"], "all": ["none", "float16", "dynamic", "int8"]}


@pytest.fixture(scope="module", params=["some", pytest.param("all", marks=pytest.mark.slow)])
def exported(request, tiny_run, tmp_path_factory):
    """A read-only export folder of `tiny_run` with some TFLite files, or with all."""
    folder = tmp_path_factory.mktemp("exports") / "lite"
    formats = ["tflite"] if request.param == "some" else ["tflite", "tflite_text"]
    return tfhub_ft.export(tiny_run, output_dir=folder, formats=formats, quantize=QUANTIZED[request.param])


def entries(folder):
    return {entry["path"]: entry for entry in json.loads((folder / "export.json").read_text())["forms"]}


@pytest.mark.sample
def test_export_verifies_each_tflite_file(exported, tiny_run):
    kinds = {
        3: ["fp32", "dynamic", "int8"],
        7: ["fp32", "float16", "dynamic", "int8", "text_fp32", "text_float16", "text_dynamic"],
    }
    assert list(entries(exported)) == [f"tflite/lite_{kind}.tflite" for kind in kinds[len(entries(exported))]]
    score = tfhub_ft.Run(tiny_run).metrics["validation"]["accuracy"]
    for path, entry in entries(exported).items():
        assert (exported / path).stat().st_size == entry["bytes"]
        assert entry["rows"] == 24 + 112
        assert entry["agreement"] >= 0.95
        assert entry["score"]["model"] == pytest.approx(score, abs=0.03)
        assert entry["max_logit_difference"] < (1e-4 if path.endswith("fp32.tflite") else 1.0)
    assert {path.name for path in (exported / "tflite").iterdir()} == {path.split("/")[1] for path in entries(exported)}


@pytest.mark.sample
def test_predict_with_tflite_files_equals_the_run(exported, tiny_run):
    expected = tfhub_ft.predict(tiny_run, TEXTS)
    for path in entries(exported):
        predictions = tfhub_ft.predict(exported / path, TEXTS)
        assert [each["label"] for each in predictions] == [each["label"] for each in expected]
        exact = 1e-5 if path.endswith("fp32.tflite") else 0.2
        assert [a["score"] for a in predictions] == pytest.approx([a["score"] for a in expected], abs=exact)


def test_quantized_files_are_smaller(exported):
    size = {path: entry["bytes"] for path, entry in entries(exported).items()}
    kinds = [kind for kind in ("dynamic", "float16", "fp32") if f"tflite/lite_{kind}.tflite" in size]
    assert kinds == sorted(kinds, key=lambda kind: size[f"tflite/lite_{kind}.tflite"])


def test_tflite_files_read_any_batch_size_and_length(exported, tiny_run):
    model = Run(tiny_run).load_model()
    tokens = {name: ids.numpy() for name, ids in model.get_layer("preprocessor")(np.array(TEXTS)).items()}
    run = Interpreter(str(exported / "tflite/lite_fp32.tflite")).get_signature_runner("serving_default")
    for rows, padding in ((4, 0), (1, 3)):
        feed = {name: np.pad(ids[:rows], ((0, 0), (0, padding))) for name, ids in tokens.items()}
        logits = model(np.array(TEXTS[:rows])).numpy()
        expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        np.testing.assert_allclose(run(**feed)["probabilities"], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["fp32", "dynamic", "int8"])
def test_tflite_files_support_static_shapes(exported, tiny_run, kind):
    interpreter = Interpreter(str(exported / f"tflite/lite_{kind}.tflite"))
    inputs = interpreter.get_input_details()
    for tensor in inputs:
        interpreter.resize_tensor_input(tensor["index"], [1, 24], strict=True)
    interpreter.allocate_tensors()
    (output,) = interpreter.get_output_details()
    assert output["shape"].tolist() == [1, 2]
    tokens = Run(tiny_run).load_model().get_layer("preprocessor")(np.array(TEXTS[1:2]))
    for tensor in inputs:
        ids = next(ids.numpy() for name, ids in tokens.items() if name in tensor["name"])
        interpreter.set_tensor(tensor["index"], np.pad(ids, ((0, 0), (0, 24 - ids.shape[1]))))
    interpreter.invoke()
    (expected,) = tfhub_ft.predict(exported / f"tflite/lite_{kind}.tflite", TEXTS[1:2])
    probabilities = list(expected["probabilities"].values())
    np.testing.assert_allclose(interpreter.get_tensor(output["index"])[0], probabilities, atol=1e-4)


@pytest.mark.parametrize("quantization", ["none", "dynamic"])
def test_text_function_predicts_several_texts(tiny_run, quantization):
    run = Run(tiny_run)
    model, vocabulary = run.load_model(), run.load_model().get_layer("preprocessor").vocabulary
    function = tflite.text_function(model, run.recipe.task, vocabulary, lowercase=True)
    interpreter = InterpreterWithCustomOps(
        model_content=tflite.convert(function, quantization), custom_op_registerers=tflite_registrar.SELECT_TFTEXT_OPS
    )
    predict = interpreter.get_signature_runner()
    for texts in (TEXTS, TEXTS[:1], ["", *TEXTS], [""]):
        expected = tf.nn.softmax(model(tf.constant(texts), training=False))
        probabilities = predict(text=np.array([text.encode() for text in texts]))["probabilities"]
        np.testing.assert_allclose(probabilities, expected, atol=1e-5 if quantization == "none" else 0.1)


def test_tflite_files_contain_vocabulary_labels_and_thresholds(exported, tiny_run):
    with zipfile.ZipFile(exported / "tflite/lite_dynamic.tflite") as archive:
        assert archive.read("labels.txt").decode().split("\n") == ["negative", "positive"]
        vocabulary = Run(tiny_run).load_model().get_layer("preprocessor").vocabulary
        assert archive.read("vocab.txt").decode().split("\n") == vocabulary
        description = json.loads(archive.read("tfhub_ft.json"))
    assert (description["task"], description["lowercase"], description["decision"]) == ("classification", True, {})


def test_card_lists_every_artifact(exported):
    card = (exported / "README.md").read_text()
    assert all(f"| `{path}` |" in card for path in entries(exported))
    assert "text.TextClassifier.create_from_model_path" in card
    assert card.count("rare characters") <= 1
    assert "strict=True" in card


def test_export_removes_only_tflite_files_that_differ(tiny_run, tiny_export, tmp_path, monkeypatch):
    original = tflite.token_function

    def token_function(model, task):
        function = original(model, task)
        call = lambda tokens: {name: output**1.1 for name, output in function(tokens).items()}  # noqa: E731
        return tf.function(call, input_signature=function.input_signature, autograph=False)

    monkeypatch.setattr(tflite, "token_function", token_function)
    folder = shutil.copytree(tiny_export, tmp_path / "exports")
    message = r"tflite/exports_fp32\.tflite was not kept: tokens: logits differ by 0\.\d+, 0\.0001 is allowed"
    with pytest.raises(RunError, match=message):
        tfhub_ft.export(tiny_run, output_dir=folder, formats=["tflite"], quantize=["none"])
    assert list(entries(folder)) == ["1"]
    assert not (folder / "tflite").exists()


@pytest.mark.slow
def test_export_prints_each_artifact_after_it_is_written(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "write_onnx", lambda *_: (_ for _ in ()).throw(RunError("no such luck")))
    arguments = ["export", str(tiny_run), "--output-dir", str(tmp_path / "one")]
    done = CliRunner().invoke(group, [*arguments, "--format", "tflite_text,onnx", "--quantize", "none"])
    assert done.stdout.startswith(f"{tmp_path}/one/tflite/one_text_fp32.tflite: ")
    assert str(done.exception) == "no such luck"
    predictions, expected = (
        tfhub_ft.predict(model, TEXTS) for model in (tmp_path / "one/tflite/one_text_fp32.tflite", tiny_run)
    )
    assert [a["score"] for a in predictions] == pytest.approx([a["score"] for a in expected], abs=1e-5)


@pytest.mark.slow
def test_export_trims_the_vocabulary(tiny_run, tmp_path):
    all_tokens = Run(tiny_run).load_model().get_layer("preprocessor").vocabulary
    folder = tfhub_ft.export(tiny_run, output_dir=tmp_path / "small", formats=["tflite"], vocabulary="domain")
    for path, entry in entries(folder).items():
        with zipfile.ZipFile(folder / path) as archive:
            vocabulary = archive.read("vocab.txt").decode().split("\n")
        assert len(vocabulary) == entry["vocabulary"]["words"] < len(all_tokens)
        assert entry["vocabulary"]["agreement"] == 1.0
    texts = [text for (text,) in Run(tiny_run).sample]
    predictions = tfhub_ft.predict(folder / "tflite/small_fp32.tflite", texts)
    assert [a["label"] for a in predictions] == [a["label"] for a in tfhub_ft.predict(tiny_run, texts)]


@pytest.fixture
def lost_rows(tiny_run, tmp_path):
    """A copy of `tiny_run` whose file of rows is missing."""
    run = shutil.copytree(tiny_run, tmp_path / "run")
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"data": str(tmp_path / "gone.csv")}))
    splits = json.loads((run / "splits.json").read_text())
    del splits["train"]["relative"]
    (run / "splits.json").write_text(json.dumps(splits))
    return run


def test_export_verifies_on_kept_rows(exported, lost_rows, tmp_path, capsys):
    if len(entries(exported)) > 3:
        pytest.skip("tested with some files only")
    tfhub_ft.export(lost_rows, output_dir=tmp_path / "exports", formats=["tflite"], quantize=["int8"])
    (entry,) = entries(tmp_path / "exports").values()
    expected = entries(exported)["tflite/lite_int8.tflite"]
    for name in ("rows", "agreement", "score", "max_logit_difference"):
        assert entry[name] == expected[name], name
    kept_rows = f"{lost_rows}/kept_rows.jsonl"
    assert entry["verified_on"] == {"files": [kept_rows], "kept_by_run": True, "rows": 136, "labels": True}
    card = (tmp_path / "exports" / "README.md").read_text()
    assert "on 136 rows of kept_rows.jsonl, kept by the run, with labels." in card
    assert re.search(r"gone.csv is missing; verifying on the rows in .*kept_rows\.jsonl", capsys.readouterr().err)


def test_export_records_the_verification_rows(exported, reviews_csv):
    verified_on = {"files": [str(reviews_csv)], "kept_by_run": False, "rows": 136, "labels": True}
    for entry in entries(exported).values():
        assert entry["verified_on"] == verified_on
    card = (exported / "README.md").read_text()
    assert "compared with the Keras model on 136 rows of reviews.csv, with labels." in card
    assert str(reviews_csv.parent) not in card


@pytest.mark.parametrize(("recipe", "options"), [("pair", {"num_classes": 2}), ("similarity", {"mode": "bi-encoder"})])
def test_models_that_split_pairs_convert_to_tflite(recipe, options, tiny_pair):
    recipe = load_recipe(recipe)
    model = recipe.build_model(encoder=str(tiny_pair), seq_length=32, **options)
    texts = [tf.constant(["good film", "the waiter was rude"]), tf.constant(["a good film", "bad"])]
    tokens = {name: np.asarray(ids) for name, ids in model.get_layer("preprocessor")(texts).items()}
    run = Interpreter(model_content=tflite.convert(tflite.token_function(model, recipe.task))).get_signature_runner()
    (outputs,) = run(**tokens).values()
    logits = model(texts, training=False)
    expected = tf.nn.softmax(logits) if recipe.task.has_classes else logits
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_int8_requires_training_rows(lost_rows, tmp_path, capsys):
    (lost_rows / "kept_rows.jsonl").unlink()
    message = "--quantize int8: calibration needs training rows, but .*gone.csv is missing; restore them"
    with pytest.raises(InputError, match=message):
        tfhub_ft.export(lost_rows, output_dir=tmp_path / "exports", formats=["tflite"], quantize=["int8"])
    assert not (tmp_path / "exports").exists()
    assert "verifying on 24 rows of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ["keras"]}, "--format keras: expected one or more of saved_model, tflite, tflite_text, onnx"),
        ({"vocabulary": "some"}, "--vocabulary some: expected all or domain"),
        ({"formats": []}, "--format : expected one or more of saved_model"),
        ({"formats": ["tflite"], "quantize": ["int4"]}, "--quantize int4: expected one or more of none, float16"),
    ],
)
def test_export_refuses_unknown_options(tiny_run, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        tfhub_ft.export(tiny_run, output_dir=tmp_path / "exports", **options)
    assert not (tmp_path / "exports").exists()


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("pair", "--format tflite_text: the recipe pair reads two texts; use tflite instead"),
        ("ner", "--format tflite_text: the recipe ner reads long texts in windows; use tflite"),
        ("adapt", "is an encoder; train a recipe with --encoder"),
    ],
)
def test_tflite_text_refuses_some_recipes(recipe, message, tmp_path):
    run = Run.create(tmp_path / "run", recipe, Settings(), ["a", "b"], {})
    with pytest.raises(InputError, match=message):
        tfhub_ft.export(run, output_dir=tmp_path / "exports", formats=["tflite_text"])


@pytest.mark.parametrize("recipe", ["ner", "retrieval"])
def test_vocabulary_domain_refuses_some_recipes(recipe, tmp_path):
    run = Run.create(tmp_path / "run", recipe, Settings(), ["a", "b"], {})
    with pytest.raises(InputError, match=f"--vocabulary domain: not available for recipe {recipe}"):
        tfhub_ft.export(run, output_dir=tmp_path / "exports", vocabulary="domain")


@pytest.mark.parametrize("content", [b"", b"TFL3 nothing", None])
def test_predict_refuses_other_tflite_files(content, tmp_path):
    file = tmp_path / "model.tflite"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match="not a TFLite export of tfhub_ft|not found"):
        tfhub_ft.predict(file, ["a text"])


def test_varied_texts_are_reproducible():
    texts = varied_texts(["a good film"], without=["é"])
    assert len(texts) > 2000
    assert texts == varied_texts(["a good film"], without=["é"])
    assert not any("é" in text for text in texts)
    assert any("😀" in text for text in texts)
    assert max(len(word) for text in texts for word in text.split()) > 300
