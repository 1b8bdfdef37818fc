import errno
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import tfhub_ft
from tfhub_ft.cli.main import group
from tfhub_ft.export_folder import check_artifact, read_exports
from tfhub_ft.exports import export, saved_model
from tfhub_ft.exports.context import ExportContext
from tfhub_ft.run import Run
from tfhub_ft.settings import Settings
from tfhub_ft.utils.errors import InputError, RunError

TEXTS = ["good film", "the food was terrible and the waiter was rude", "a bad room"]


@pytest.mark.sample
def test_export_folder_has_the_layout_of_tf_serving(tiny_export, tiny_run, reviews_csv):
    assert {p.name for p in tiny_export.iterdir()} == {
        "1",
        "export.json",
        "README.md",
        "models.config",
        "batching.config",
    }
    entry = json.loads((tiny_export / "export.json").read_text())["forms"][0]
    # All 24 validation rows, and training rows.
    verified_on = {"files": [str(reviews_csv)], "kept_by_run": False, "rows": 136, "labels": False}
    assert entry["verified_on"] == verified_on
    assert entry["rows"] == 136
    assert max(entry["max_logit_difference"].values()) <= entry["tolerance"] == 1e-4
    variables = tiny_export / "1" / "variables" / "variables.data-00000-of-00001"
    count = Run(tiny_run).load_model().count_params()
    assert 4 * count < variables.stat().st_size < 4 * count + 50_000 < entry["bytes"]
    card = (tiny_export / "README.md").read_text()
    for expected in (
        "serving_default",
        "input_word_ids",
        "`negative`, `positive`",
        "| test | ",
        "curl",
        "| SavedModel | `1` |",
    ):
        assert expected in card


@pytest.mark.sample
def test_signatures_equal_the_keras_model(tiny_export, tiny_run):
    loaded = tf.saved_model.load(str(tiny_export / "1"))
    model = Run(tiny_run).load_model()
    expected = model(tf.constant(TEXTS)).numpy()
    text = loaded.signatures["serving_default"](text=tf.constant(TEXTS))
    tokens = loaded.signatures["tokens"](**model.get_layer("preprocessor")(tf.constant(TEXTS)))
    for answer in (text, tokens):
        assert set(answer) == {"logits", "probabilities", "label", "score"}
        np.testing.assert_allclose(answer["logits"], expected, atol=1e-5)
        assert [word.decode() for word in answer["label"].numpy()] == [
            ["negative", "positive"][i] for i in expected.argmax(-1)
        ]
    np.testing.assert_allclose(text["score"], text["probabilities"].numpy().max(-1))


def test_export_adds_the_next_version(tiny_run, tiny_export, tmp_path):
    folder = tmp_path / "exports"
    shutil.copytree(tiny_export, folder)
    assert tfhub_ft.export(tiny_run, output_dir=folder) == folder
    assert (folder / "2" / "saved_model.pb").is_file()
    versions = [form["version"] for form in json.loads((folder / "export.json").read_text())["forms"]]
    assert versions == [1, 2]
    assert (folder / "1" / "saved_model.pb").is_file()


def test_export_removes_artifacts_that_differ(tiny_run, tmp_path, monkeypatch):
    original = saved_model.write_saved_model

    def write_other_model(model, task, labels, decision, folder):
        head = model.get_layer("token_model").get_layer("logits")
        head.dense.bias.assign_add([0.01, 0.0])
        original(model, task, labels, decision, folder)

    monkeypatch.setattr(saved_model, "write_saved_model", write_other_model)
    with pytest.raises(RunError, match=r"logits differ by 0\.01, 0\.0001 is allowed"):
        tfhub_ft.export(tiny_run, output_dir=tmp_path / "exports")
    assert not (tmp_path / "exports").exists()


@pytest.mark.slow
def test_export_detects_labels_in_another_order(tiny_run, tmp_path, monkeypatch):
    original = saved_model.write_saved_model
    monkeypatch.setattr(
        saved_model,
        "write_saved_model",
        lambda m, task, labels, decision, folder: original(m, task, labels[::-1], decision, folder),
    )
    with pytest.raises(RunError, match="label differs"):
        tfhub_ft.export(tiny_run, output_dir=tmp_path / "exports")


@pytest.mark.parametrize(
    ("recipe", "formats", "quantize", "message"),
    [
        (
            "spam",
            "saved_model",
            "float16",
            "float16: saved_model takes 'none'; add it, or leave saved_model out",
        ),
        ("spam", "saved_model,tflite", "dynamic", "--quantize dynamic: saved_model takes 'none'; add it"),
        ("spam", "onnx", "float16", "--quantize float16: onnx takes 'none' or 'dynamic'"),
        ("spam", "tflite_text", "int8", "--quantize int8: tflite_text takes 'none' or 'float16' or 'dynamic'"),
        ("spam", "tflite,onnx", "int8", "--quantize int8: onnx takes"),
        ("spam", "saved_model,onnx", "none,int8", "--quantize int8: saved_model takes 'none', onnx takes 'none' or"),
        (
            "retrieval",
            "onnx",
            "dynamic",
            "--quantize dynamic: onnx takes 'none'; add it, or leave onnx out",
        ),
        (
            "retrieval",
            "onnx",
            "none,dynamic",
            "--quantize dynamic: onnx takes 'none'; leave dynamic out, or add a format",
        ),
    ],
)
def test_export_refuses_unknown_quantizations(recipe, formats, quantize, message, tmp_path):
    run = Run.create(tmp_path / "run", recipe, Settings(), ["a", "b"], {})
    with pytest.raises(InputError, match=message):
        tfhub_ft.export(run, output_dir=tmp_path / "exports", formats=formats.split(","), quantize=quantize.split(","))
    assert not (tmp_path / "exports").exists()


@pytest.mark.parametrize(
    ("quantize", "expected", "skipped"),
    [
        ("none,dynamic", {"saved_model": ["none"], "tflite": ["none", "dynamic"]}, ""),
        ("none,int8", {"tflite": ["none", "int8"], "tflite_text": ["none"]}, "int8 for tflite_text"),
        ("dynamic", {"onnx": ["dynamic"], "tflite": ["dynamic"]}, ""),
        (None, {"saved_model": ["none"], "tflite": ["none", "dynamic"], "onnx": ["none"]}, ""),
    ],
)
def test_quantizations_are_applied_by_format(quantize, expected, skipped, tmp_path, capsys):
    run = Run.create(tmp_path / "run", "spam", Settings(), ["a", "b"], {})
    quantize = quantize and quantize.split(",")
    export._check_quantizations(run, ExportContext, list(expected), quantize)
    assert {each: export._quantizations(run, ExportContext, each, quantize) for each in expected} == expected
    assert capsys.readouterr().err.startswith(f"Skipping {skipped}" if skipped else "")


def test_export_refuses_folders_with_other_files(tiny_run, tiny_export, tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="not an export folder"):
        tfhub_ft.export(tiny_run, output_dir=tmp_path)
    other = tmp_path / "other"
    shutil.copytree(tiny_export, other)
    description = json.loads((other / "export.json").read_text())
    (other / "export.json").write_text(json.dumps({**description, "labels": ["a", "b", "c"]}))
    with pytest.raises(InputError, match="labels a, b, c; choose another folder"):
        tfhub_ft.export(tiny_run, output_dir=other)


@pytest.mark.parametrize("content", ['{"recipe": "senti', "[]", '{"recipe": "sentiment", "labels": []}'])
def test_export_refuses_invalid_export_json(tiny_run, tmp_path, content):
    (tmp_path / "export.json").write_text(content)
    with pytest.raises(InputError, match=r"export\.json: cannot be read .*; restore it, or choose another folder"):
        tfhub_ft.export(tiny_run, output_dir=tmp_path)


def full_disk(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_export_leaves_nothing_on_a_full_disk(tiny_run, tmp_path, monkeypatch):
    folder = tmp_path / "exports"
    monkeypatch.setattr(saved_model, "write_saved_model", full_disk)
    with pytest.raises(RunError, match="exports/1: the disk is full"):
        tfhub_ft.export(tiny_run, output_dir=folder)
    assert not folder.exists()


@pytest.mark.slow
def test_export_can_be_repeated_after_a_full_disk(tiny_run, tmp_path, monkeypatch):
    folder = tmp_path / "exports"
    monkeypatch.setattr(export, "write_json", lambda path, value: (_ for _ in ()).throw(RunError("full")))
    with pytest.raises(RunError, match="full"):
        tfhub_ft.export(tiny_run, output_dir=folder)
    # No artifact without an entry in export.json, and nothing that stops the next export.
    assert {path.name for path in folder.iterdir()} == {"models.config", "batching.config"}
    monkeypatch.undo()
    tfhub_ft.export(tiny_run, output_dir=folder)
    assert (folder / "1").is_dir()


def test_export_refuses_folders_in_use(tiny_run, tmp_path, monkeypatch):
    folder, refused = tmp_path / "exports", []

    def export_as_another(*arguments):
        with pytest.raises(InputError, match="exports: in use by another export; try again later"):
            tfhub_ft.export(tiny_run, output_dir=folder, formats=["tflite"])
        refused.append(True)
        raise RunError("stopped")

    monkeypatch.setattr(saved_model, "write_saved_model", export_as_another)
    with pytest.raises(RunError, match="stopped"):
        tfhub_ft.export(tiny_run, output_dir=folder)
    assert refused
    assert not folder.exists()


@pytest.mark.sample
def test_export_refuses_folders_without_a_run(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        tfhub_ft.export(tmp_path, output_dir=tmp_path / "exports")


def test_export_into_an_object_store_continues_its_versions(tiny_run, tiny_export, object_store, tmp_path, capsys):
    object_store.put(str(tiny_export), "/models/tiny", recursive=True)
    arguments = ["export", str(tiny_run), "--output-dir", "memory://models/tiny", "--format", "saved_model,tflite"]
    group.main([*arguments, "--quantize", "none"], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        "memory://models/tiny/2",
        "memory://models/tiny/tflite/tiny_fp32.tflite",
    ]
    object_store.get("/models/tiny", str(tmp_path / "tiny"), recursive=True)
    exports = read_exports(tmp_path / "tiny")
    assert [entry["path"] for entry in exports["forms"]][:2] == ["1", "2"]
    for entry in exports["forms"]:
        assert check_artifact(tmp_path / "tiny" / entry["path"])
    assert tfhub_ft.predict(tmp_path / "tiny", TEXTS) == tfhub_ft.predict(tiny_export, TEXTS)
    assert (tmp_path / "tiny" / "models.config").read_text() == (tiny_export / "models.config").read_text()
