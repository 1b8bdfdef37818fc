"""Read the export folder: export.json, the artifacts, their descriptions and digests."""

import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfhub_ft.utils.documents import check_distinct, check_shape, parse_json, read_json
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import sha256_of, sha256_of_files

# JSON objects: an artifact's entry in export.json, and what an artifact contains about itself: "task", "labels",
# "decision" (the thresholds) and, except for ONNX, "inputs" and "preprocessor".
Entry = dict[str, Any]
Description = dict[str, Any]

EXPORTS = "export.json"
EXPORTS_SHAPE = {"recipe": str, "labels": [str], "forms": [{"form": str, "path": str}]}
# In a SavedModel, and in a TFLite file.
TASK_ASSET, LABELS_ASSET = "assets.extra/task.json", "assets.extra/labels.json"
TFLITE_DESCRIPTION, TFLITE_VOCABULARY = "tfhub_ft.json", "vocab.txt"
# The greatest depth of an artifact in its export folder: int8/1.
_DEPTH = 2


def read_exports(folder: Path) -> dict[str, Any]:
    """Return the content of export.json."""
    return read_json(folder / EXPORTS, EXPORTS_SHAPE)


def versions(folder: Path) -> list[Path]:
    """Return the SavedModels in a folder that TF Serving finds, the newest last."""
    return [path for path in _numbered(folder) if (path / "saved_model.pb").is_file()]


def next_version(folder: Path) -> int:
    """Return the number of the next SavedModel in a folder."""
    return 1 + max((int(path.name) for path in _numbered(folder)), default=0)


def _numbered(folder: Path) -> list[Path]:
    paths = [path for path in folder.glob("*") if re.fullmatch("[0-9]+", path.name)]
    return sorted(paths, key=lambda path: (int(path.name), path.name))


def read_description(artifact: Path) -> Description:
    """Return the description in a SavedModel, a TFLite file or an ONNX file."""
    if artifact.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(artifact, providers=["CPUExecutionProvider"])
        values = session.get_modelmeta().custom_metadata_map
        return {"task": values["task"], **{name: json.loads(values[name]) for name in ("labels", "decision")}}
    if artifact.suffix == ".tflite":
        content = _read_from_tflite(artifact, TFLITE_DESCRIPTION)
        if content is None:
            raise InputError(f"{artifact}: not a TFLite export of tfhub_ft ({TFLITE_DESCRIPTION} not found)")
        return _parse_description(content, artifact, TFLITE_DESCRIPTION)
    try:
        content = (artifact / TASK_ASSET).read_bytes()
    except OSError as error:
        raise InputError(f"{artifact}: not an export of tfhub_ft ({TASK_ASSET} cannot be read: {error})") from None
    return _parse_description(content, artifact, TASK_ASSET)


def _parse_description(content: str | bytes, artifact: Path, name: str) -> Description:
    try:
        description = parse_json(content, {"task": str, "inputs": [str], "labels": [str], "decision": dict})
        check_distinct(description["labels"])
    except ValueError as error:
        raise InputError(f"{artifact}: {name} cannot be read ({error}); export it again") from None
    return description


def read_tokenizer_vocabulary(file: Path) -> str | None:
    """Return the vocabulary in a TFLite file, one token per line; None if it has none."""
    return _read_from_tflite(file, TFLITE_VOCABULARY)


def _read_from_tflite(file: Path, name: str) -> str | None:
    """Return an associated file of a TFLite file; None if it has none."""
    if not file.is_file():
        raise InputError(f"{file}: not found")
    if not zipfile.is_zipfile(file):
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.read(name).decode() if name in archive.namelist() else None
    except (zipfile.BadZipFile, ValueError, zlib.error, EOFError, NotImplementedError) as error:
        raise InputError(f"{file}: {name} cannot be read ({error}); export it again") from None


def digests(path: Path) -> str | dict[str, str]:
    """Return the SHA-256 of a file, or of each file of a SavedModel by its path in the folder."""
    return sha256_of(path) if path.is_file() else sha256_of_files(path)


def check_artifact(path: Path) -> bool:
    """Return whether export.json has digests of an artifact: not if it was moved, or is from an earlier version.

    Raises:
        InputError: The artifact was changed, or export.json is damaged.
    """
    path = path.resolve()
    for folder in _export_folders(path):
        name = path.relative_to(folder).as_posix()
        for entry in read_exports(folder)["forms"]:
            if entry["path"] == name and "sha256" in entry:
                _check_digests(path, entry["sha256"], folder / EXPORTS)
                return True
    return False


def read_columns(artifact: Path) -> dict[str, str]:
    """Return the settings of columns of the run of an artifact; empty if it was moved out of its export folder."""
    folder = next(_export_folders(artifact.resolve()), None)
    if folder is None:
        return {}
    columns = read_exports(folder).get("columns", {})
    try:
        check_shape(columns, {str: str}, "'columns'")
    except ValueError as error:
        raise InputError(f"{folder / EXPORTS}: cannot be read ({error}); restore it, or export again") from None
    return columns


def _export_folders(path: Path) -> Iterator[Path]:
    return (folder for folder in path.parents[:_DEPTH] if (folder / EXPORTS).is_file())


def _check_digests(path: Path, sha256: Any, exports: Path) -> None:
    expected = {".": sha256} if isinstance(sha256, str) else sha256
    try:
        check_shape(expected, {str: str}, "'sha256'")
    except ValueError as error:
        raise InputError(f"{exports}: cannot be read ({error}); restore it, or export again") from None
    for name, digest in expected.items():
        file = path / name
        if not file.is_file():
            raise InputError(f"{file}: not found, but {exports} names it; restore it, or export again")
        if sha256_of(file) != digest:
            raise InputError(f"{file}: was changed since it was exported; restore it, or export again")
