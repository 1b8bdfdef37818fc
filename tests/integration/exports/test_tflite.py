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
from tfhub_ft.run import Run
from tfhub_ft.settings import Settings
from tfhub_ft.utils.errors import InputError, RunError

TEXTS = ["good film", "the food was terrible and the waiter was rude", "a bad room, a GREAT Café", "x" * 300]


QUANTIZED = {"some": ["none", "dynamic", "int8"], "all": ["none", "float16", "dynamic", "int8"]}


@pytest.fixture(scope="module", params=["some", pytest.param("all", marks=pytest.mark.slow)])
def lite(request, tiny_run, tmp_path_factory):
    """The export folder of `tiny_run` with TFLite files of some kinds, or of each; do not change it."""
    folder = tmp_path_factory.mktemp("exports") / "lite"
    formats = ["tflite"] if request.param == "some" else ["tflite", "tflite_text"]
    return tfhub_ft.export(tiny_run, output_dir=folder, formats=formats, quantize=QUANTIZED[request.param])


def forms(folder):
    return {form["path"]: form for form in json.loads((folder / "export.json").read_text())["forms"]}


@pytest.mark.sample
def test_each_file_is_written_and_proven(lite, tiny_run):
    kinds = {
        3: ["fp32", "dynamic", "int8"],
        7: ["fp32", "float16", "dynamic", "int8", "text_fp32", "text_float16", "text_dynamic"],
    }
    assert list(forms(lite)) == [f"tflite/lite_{kind}.tflite" for kind in kinds[len(forms(lite))]]
    score = tfhub_ft.Run(tiny_run).metrics["validation"]["accuracy"]
    for path, form in forms(lite).items():
        assert (lite / path).stat().st_size == form["bytes"]
        assert form["rows"] == 24 + 112
        assert form["agreement"] >= 0.95
        assert form["score"]["model"] == pytest.approx(score, abs=0.03)
        assert form["max_logit_difference"] < (1e-4 if path.endswith("fp32.tflite") else 1.0)
    assert {path.name for path in (lite / "tflite").iterdir()} == {path.split("/")[1] for path in forms(lite)}


@pytest.mark.sample
def test_predict_answers_by_every_file_as_by_the_run(lite, tiny_run):
    expected = tfhub_ft.predict(tiny_run, TEXTS)
    for path in forms(lite):
        answers = tfhub_ft.predict(lite / path, TEXTS)
        assert [answer["label"] for answer in answers] == [answer["label"] for answer in expected]
        exact = 1e-5 if path.endswith("fp32.tflite") else 0.2
        assert [a["score"] for a in answers] == pytest.approx([a["score"] for a in expected], abs=exact)


def test_weights_in_int8_take_less_room(lite):
    size = {path: form["bytes"] for path, form in forms(lite).items()}
    kinds = [kind for kind in ("dynamic", "float16", "fp32") if f"tflite/lite_{kind}.tflite" in size]
    assert kinds == sorted(kinds, key=lambda kind: size[f"tflite/lite_{kind}.tflite"])


def test_batches_of_any_length_are_read_by_name(lite, tiny_run):
    model = Run(tiny_run).load_model()
    tokens = {name: ids.numpy() for name, ids in model.get_layer("preprocessor")(np.array(TEXTS)).items()}
    run = Interpreter(str(lite / "tflite/lite_fp32.tflite")).get_signature_runner("serving_default")
    for rows, padding in ((4, 0), (1, 3)):
        feed = {name: np.pad(ids[:rows], ((0, 0), (0, padding))) for name, ids in tokens.items()}
        logits = model(np.array(TEXTS[:rows])).numpy()
        expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        np.testing.assert_allclose(run(**feed)["probabilities"], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["fp32", "dynamic", "int8"])
def test_shapes_can_be_fixed_before_the_tensors_are_allocated(lite, tiny_run, kind):
    interpreter = Interpreter(str(lite / f"tflite/lite_{kind}.tflite"))
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
    (expected,) = tfhub_ft.predict(lite / f"tflite/lite_{kind}.tflite", TEXTS[1:2])
    probabilities = list(expected["probabilities"].values())
    np.testing.assert_allclose(interpreter.get_tensor(output["index"])[0], probabilities, atol=1e-4)


@pytest.mark.parametrize("quantization", ["none", "dynamic"])
def test_text_function_answers_several_texts(tiny_run, quantization):
    run = Run(tiny_run)
    model, words = run.load_model(), run.load_model().get_layer("preprocessor").vocabulary
    function = tflite.text_function(model, run.recipe.task, words, lowercase=True)
    interpreter = InterpreterWithCustomOps(
        model_content=tflite.convert(function, quantization), custom_op_registerers=tflite_registrar.SELECT_TFTEXT_OPS
    )
    answer = interpreter.get_signature_runner()
    for texts in (TEXTS, TEXTS[:1], ["", *TEXTS], [""]):
        expected = tf.nn.softmax(model(tf.constant(texts), training=False))
        found = answer(text=np.array([text.encode() for text in texts]))["probabilities"]
        np.testing.assert_allclose(found, expected, atol=1e-5 if quantization == "none" else 0.1)


def test_a_file_carries_its_vocabulary_its_labels_and_its_thresholds(lite, tiny_run):
    with zipfile.ZipFile(lite / "tflite/lite_dynamic.tflite") as archive:
        assert archive.read("labels.txt").decode().split("\n") == ["negative", "positive"]
        words = Run(tiny_run).load_model().get_layer("preprocessor").vocabulary
        assert archive.read("vocab.txt").decode().split("\n") == words
        description = json.loads(archive.read("tfhub_ft.json"))
    assert (description["task"], description["lowercase"], description["decision"]) == ("classification", True, {})


def test_the_card_shows_every_form(lite):
    card = (lite / "README.md").read_text()
    assert all(f"| `{path}` |" in card for path in forms(lite))
    assert "text.TextClassifier.create_from_model_path" in card
    assert card.count("rare characters") <= 1
    assert "strict=True" in card


def test_a_file_that_answers_differently_is_not_kept_and_the_others_are(tiny_run, tiny_export, tmp_path, monkeypatch):
    honest = tflite.token_function

    def wrong(model, task):
        right = honest(model, task)
        call = lambda tokens: {name: output**1.1 for name, output in right(tokens).items()}  # noqa: E731
        return tf.function(call, input_signature=right.input_signature, autograph=False)

    monkeypatch.setattr(tflite, "token_function", wrong)
    folder = shutil.copytree(tiny_export, tmp_path / "exports")
    shifted = r"tflite/exports_fp32\.tflite was not kept: tokens: logits differ by 0\.\d+, 0\.0001 is allowed"
    with pytest.raises(RunError, match=shifted):
        tfhub_ft.export(tiny_run, output_dir=folder, formats=["tflite"], quantize=["none"])
    assert list(forms(folder)) == ["1"]
    assert not (folder / "tflite").exists()


@pytest.mark.slow
def test_each_form_is_told_as_soon_as_it_is_written(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "_onnx_bytes", lambda *_: (_ for _ in ()).throw(RunError("no such luck")))
    arguments = ["export", str(tiny_run), "--output-dir", str(tmp_path / "one")]
    done = CliRunner().invoke(group, [*arguments, "--format", "tflite_text,onnx", "--quantize", "none"])
    assert done.stdout.startswith(f"{tmp_path}/one/tflite/one_text_fp32.tflite: ")
    assert str(done.exception) == "no such luck"
    answers, expected = (
        tfhub_ft.predict(model, TEXTS) for model in (tmp_path / "one/tflite/one_text_fp32.tflite", tiny_run)
    )
    assert [a["score"] for a in answers] == pytest.approx([a["score"] for a in expected], abs=1e-5)


@pytest.mark.slow
def test_words_that_the_domain_does_not_use_are_left_out(tiny_run, tmp_path):
    folder = tfhub_ft.export(tiny_run, output_dir=tmp_path / "small", formats=["tflite"], vocabulary="domain")
    for path, form in forms(folder).items():
        with zipfile.ZipFile(folder / path) as archive:
            words = archive.read("vocab.txt").decode().split("\n")
        assert (
            len(words)
            == form["vocabulary"]["words"]
            < len(Run(tiny_run).load_model().get_layer("preprocessor").vocabulary)
        )
        assert form["vocabulary"]["agreement"] == 1.0
    texts = [text for (text,) in Run(tiny_run).sample]
    answers = tfhub_ft.predict(folder / "tflite/small_fp32.tflite", texts)
    assert [a["label"] for a in answers] == [a["label"] for a in tfhub_ft.predict(tiny_run, texts)]


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


def test_export_falls_back_on_the_rows_of_the_run(lite, lost_rows, tmp_path, capsys):
    if len(forms(lite)) > 3:
        pytest.skip("with some kinds alone")
    tfhub_ft.export(lost_rows, output_dir=tmp_path / "exports", formats=["tflite"], quantize=["int8"])
    (form,) = forms(tmp_path / "exports").values()
    expected = forms(lite)["tflite/lite_int8.tflite"]
    for name in ("rows", "agreement", "score", "max_logit_difference"):
        assert form[name] == expected[name], name
    kept = f"{lost_rows}/kept_rows.jsonl"
    assert form["verified_on"] == {"files": [kept], "kept_by_run": True, "rows": 136, "labels": True}
    assert f"{kept}, kept by the run, with labels" in (tmp_path / "exports" / "README.md").read_text()
    fault = "its training rows are not found: .*gone.csv is missing; verifying on rows that the run has"
    assert re.search(fault, capsys.readouterr().err)


def test_every_form_says_what_it_was_verified_on(lite, reviews_csv):
    for form in forms(lite).values():
        verified = {"files": [str(reviews_csv)], "kept_by_run": False, "rows": 136, "labels": True}
        assert form["verified_on"] == verified
    assert (lite / "README.md").read_text().count(f"136 rows of {reviews_csv}, with labels |") == len(forms(lite))


def test_int8_needs_training_rows(lost_rows, tmp_path, capsys):
    (lost_rows / "kept_rows.jsonl").unlink()
    with pytest.raises(InputError, match="--quantize int8 is calibrated with training rows; .*gone.csv is missing; re"):
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
def test_what_cannot_be_is_said_at_once(tiny_run, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        tfhub_ft.export(tiny_run, output_dir=tmp_path / "exports", **options)
    assert not (tmp_path / "exports").exists()


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("pair", "--format tflite_text: the recipe pair reads two texts; use tflite, from tokens on"),
        ("ner", "--format tflite_text: the recipe ner reads long texts in windows; use tflite"),
        ("adapt", "is an encoder; train a recipe with --encoder"),
    ],
)
def test_recipes_that_cannot_go_text_in_say_so_before_the_model_is_loaded(recipe, message, tmp_path):
    run = Run.create(tmp_path / "run", recipe, Settings(), ["a", "b"], {})
    with pytest.raises(InputError, match=message):
        tfhub_ft.export(run, output_dir=tmp_path / "exports", formats=["tflite_text"])


@pytest.mark.parametrize("recipe", ["ner", "retrieval"])
def test_recipes_that_keep_their_vocabulary_say_so(recipe, tmp_path):
    run = Run.create(tmp_path / "run", recipe, Settings(), ["a", "b"], {})
    with pytest.raises(InputError, match=f"--vocabulary domain: not available for recipe {recipe}"):
        tfhub_ft.export(run, output_dir=tmp_path / "exports", vocabulary="domain")


@pytest.mark.parametrize("content", [b"", b"TFL3 nothing", None])
def test_a_file_that_is_no_export_is_refused(content, tmp_path):
    file = tmp_path / "model.tflite"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match="not a TFLite export of tfhub_ft|does not exist"):
        tfhub_ft.predict(file, ["a text"])


def test_varied_texts_are_many_the_same_each_time_and_without_what_is_left_out():
    texts = varied_texts(["a good film"], without=["é"])
    assert len(texts) > 2000
    assert texts == varied_texts(["a good film"], without=["é"])
    assert not any("é" in text for text in texts)
    assert any("😀" in text for text in texts)
    assert max(len(word) for text in texts for word in text.split()) > 300
