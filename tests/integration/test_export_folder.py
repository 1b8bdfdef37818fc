import json
import shutil
import signal

import pytest

import tfhub_ft
from tfhub_ft.exports.serving.server import serve
from tfhub_ft.inference.runtimes.base import token_batch
from tfhub_ft.inference.runtimes.isolated import IsolatedRuntime
from tfhub_ft.inference.runtimes.preprocessor import tflite_preprocessor
from tfhub_ft.inference.runtimes.tflite import TFLiteRuntime
from tfhub_ft.utils.errors import InputError, RunError

TEXTS = ["good film", "the food was terrible and the waiter was rude"]


@pytest.fixture(scope="module")
def exported(tiny_run, tiny_export, tmp_path_factory):
    """A read-only export folder with a SavedModel and a TFLite file."""
    folder = shutil.copytree(tiny_export, tmp_path_factory.mktemp("exports") / "one")
    return tfhub_ft.export(tiny_run, output_dir=folder, formats=["tflite"], quantize=["none"])


@pytest.fixture
def copied(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "copy")


def flip_bit(file, position):
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


CHANGED = ["tflite/one_fp32.tflite", "1/saved_model.pb", "1/variables/variables.data-00000-of-00001"]


@pytest.mark.parametrize("name", CHANGED)
def test_changed_artifacts_are_refused(copied, reviews_csv, name):
    model = copied / name if name.endswith(".tflite") else copied
    assert len(tfhub_ft.predict(model, TEXTS)) == 2
    flip_bit(copied / name, (copied / name).stat().st_size // 2)
    message = f"{name}: was changed since it was exported; restore it, or export again"
    with pytest.raises(InputError, match=message):
        tfhub_ft.predict(model, TEXTS)
    with pytest.raises(InputError, match=message):
        tfhub_ft.benchmark(copied, data=reviews_csv)
    if not name.endswith(".tflite"):
        with pytest.raises(InputError, match=message):
            serve(copied)


def test_missing_files_are_named(copied):
    (copied / "1" / "assets" / "vocab.txt").unlink()
    with pytest.raises(InputError, match=r"1/assets/vocab.txt: not found, but .*export\.json names it; restore it"):
        tfhub_ft.predict(copied, TEXTS)


@pytest.mark.parametrize("digests", [1, {"saved_model.pb": 1}])
def test_invalid_digests_are_refused(copied, digests):
    exports = json.loads((copied / "export.json").read_text())
    exports["forms"][0]["sha256"] = digests
    (copied / "export.json").write_text(json.dumps(exports))
    with pytest.raises(InputError, match=r"export\.json: cannot be read \('?.*sha256.*\); restore it, or export again"):
        tfhub_ft.predict(copied, TEXTS)


def test_exports_without_digests_are_read(copied):
    exports = json.loads((copied / "export.json").read_text())
    for entry in exports["forms"]:
        del entry["sha256"]
    (copied / "export.json").write_text(json.dumps(exports))
    for model in (copied, copied / "tflite" / "one_fp32.tflite"):
        assert len(tfhub_ft.predict(model, TEXTS)) == 2


def test_copied_tflite_files_predict_the_same(exported, tmp_path):
    lone = shutil.copy(exported / "tflite" / "one_fp32.tflite", tmp_path)
    expected = tfhub_ft.predict(exported / "tflite" / "one_fp32.tflite", TEXTS)
    assert tfhub_ft.predict(lone, TEXTS) == expected


def test_damaged_tflite_files_are_refused(exported, tmp_path):
    lone = tmp_path / "lone.tflite"
    shutil.copy(exported / "tflite" / "one_fp32.tflite", lone)
    flip_bit(lone, 4)
    with pytest.raises(InputError, match=r"lone\.tflite: cannot be run .* \(.*Flatbuffer.*\); restore"):
        tfhub_ft.predict(lone, TEXTS)


def test_crash_of_an_isolated_runtime_is_an_error(exported):
    file = exported / "tflite" / "one_fp32.tflite"
    batch = token_batch(tflite_preprocessor(file), [(text,) for text in TEXTS])
    with IsolatedRuntime(TFLiteRuntime) as runtime:
        (output,) = runtime.open(file)(batch).values()
        assert len(output) == 2
        runtime.process.send_signal(signal.SIGSEGV)
        runtime.process.wait()
        with pytest.raises(RunError, match=r"one_fp32\.tflite: cannot be run .* \(killed by signal 11"):
            runtime(batch)
