import json
import zipfile

import pytest

from tfhub_ft.export_folder import (
    check_artifact,
    digests,
    next_version,
    read_columns,
    read_description,
    read_tokenizer_vocabulary,
)
from tfhub_ft.utils.errors import InputError

DESCRIPTION = {"task": "classification", "inputs": ["text"], "labels": ["no", "yes"], "decision": {}}


@pytest.fixture
def tflite_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.tflite", "w") as archive:
        archive.writestr("tfhub_ft.json", json.dumps(DESCRIPTION))
        archive.writestr("vocab.txt", "[PAD]\ngood")
    return tmp_path / "model.tflite"


def test_read_description_reads_tflite_files(tflite_file):
    assert read_description(tflite_file) == DESCRIPTION
    assert read_tokenizer_vocabulary(tflite_file) == "[PAD]\ngood"


def test_read_description_refuses_damaged_archives(tflite_file):
    content = tflite_file.read_bytes()
    tflite_file.write_bytes(content.replace(b'"yes"', b'"yet"', 1))
    with pytest.raises(InputError, match=r"model\.tflite: tfhub_ft\.json cannot be read .*; export it again"):
        read_description(tflite_file)
    with zipfile.ZipFile(tflite_file, "w") as archive:
        archive.writestr("vocab.txt", b"\xff")
    with pytest.raises(InputError, match=r"vocab\.txt cannot be read .*; export it again"):
        read_tokenizer_vocabulary(tflite_file)
    tflite_file.write_bytes(b"TFL3")
    with pytest.raises(InputError, match="not a TFLite export of tfhub_ft"):
        read_description(tflite_file)
    with pytest.raises(InputError, match=r"none\.tflite: not found"):
        read_tokenizer_vocabulary(tflite_file.with_name("none.tflite"))


@pytest.mark.parametrize("changes", [{"labels": ["no", "no"]}, {"inputs": "text"}])
def test_read_description_refuses_invalid_saved_models(changes, tmp_path):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "task.json").write_text(json.dumps({**DESCRIPTION, **changes}))
    with pytest.raises(InputError, match=r"assets\.extra/task\.json cannot be read"):
        read_description(tmp_path)
    with pytest.raises(InputError, match="not an export of tfhub_ft"):
        read_description(tmp_path / "none")


def test_check_artifact_compares_digests(tflite_file):
    assert not check_artifact(tflite_file)
    entry = {"form": "tflite", "path": "model.tflite", "sha256": digests(tflite_file)}
    exports = {"recipe": "sentiment", "labels": ["no", "yes"], "forms": [entry]}
    (tflite_file.parent / "export.json").write_text(json.dumps(exports))
    assert check_artifact(tflite_file)
    tflite_file.write_bytes(b"changed")
    with pytest.raises(InputError, match="was changed since it was exported"):
        check_artifact(tflite_file)


def test_next_version_follows_the_highest_number(tmp_path):
    assert next_version(tmp_path) == 1
    for name in ("2", "0010", "1.5", "latest"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == 11


def test_read_columns_reads_export_json(tmp_path):
    columns = {"text": "{title}. {body}", "label_column": "y"}
    exports = {"recipe": "topic", "labels": ["a"], "forms": [], "columns": columns}
    (tmp_path / "int8" / "1").mkdir(parents=True)
    for artifact in (tmp_path / "int8" / "1", tmp_path / "tflite_fp32.tflite"):
        (tmp_path / "export.json").unlink(missing_ok=True)
        assert read_columns(artifact) == {}
        (tmp_path / "export.json").write_text(json.dumps(exports))
        assert read_columns(artifact) == columns
    (tmp_path / "export.json").write_text(json.dumps(exports | {"columns": {"text": 1}}))
    with pytest.raises(InputError, match=r"export\.json: cannot be read \(.*\); restore it, or export again"):
        read_columns(tmp_path / "int8" / "1")
