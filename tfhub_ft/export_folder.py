"""The export folder: export.json, the artifacts, what each says of itself, and their digests."""

import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

from tfhub_ft.utils.documents import check_distinct, check_shape, parse_json, read_json
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import sha256_of, sha256_of_files

EXPORTS = "export.json"
EXPORTS_SHAPE = {"recipe": str, "labels": [str], "forms": [{"form": str, "path": str}]}
# In a SavedModel, and in a TFLite file.
TASK_ASSET, LABELS_ASSET = "assets.extra/task.json", "assets.extra/labels.json"
TFLITE_DESCRIPTION, TFLITE_VOCABULARY = "tfhub_ft.json", "vocab.txt"
# The depth of an artifact in its export folder at most: int8/1.
_DEPTH = 2
_ZIP_FAULTS = (zipfile.BadZipFile, ValueError, zlib.error, EOFError, NotImplementedError)


def read_exports(folder: Path) -> dict[str, Any]:
    """Read the export.json of an export folder.

    Raises:
        InputError: it is missing or damaged.
    """
    return read_json(folder / EXPORTS, EXPORTS_SHAPE)


def versions(folder: Path) -> list[Path]:
    """Return the SavedModels that TF Serving finds in a folder, the newest last: its subfolders named by a number."""
    return [path for path in _numbered(folder) if (path / "saved_model.pb").is_file()]


def next_version(folder: Path) -> int:
    """Return the number of the next SavedModel in a folder that TF Serving reads versions from."""
    return 1 + max((int(path.name) for path in _numbered(folder)), default=0)


def _numbered(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("*") if re.fullmatch("[0-9]+", path.name)]
    return sorted(found, key=lambda path: (int(path.name), path.name))


def read_description(artifact: Path) -> dict[str, Any]:
    """Read what an artifact says of itself: its "task", "labels" and "decision", and but for ONNX more than that.

    Args:
        artifact: a SavedModel's folder, a TFLite file or an ONNX file.

    Raises:
        InputError: it does not exist, is damaged, or is not an export of tfhub_ft.
    """
    if artifact.suffix == ".tflite":
        return _tflite_description(artifact)
    if artifact.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(artifact, providers=["CPUExecutionProvider"])
        values = session.get_modelmeta().custom_metadata_map
        return {"task": values["task"], **{name: json.loads(values[name]) for name in ("labels", "decision")}}
    try:
        return _parse_description((artifact / TASK_ASSET).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{artifact}: not an export of tfhub_ft ({TASK_ASSET} cannot be read: {error})") from None


def _tflite_description(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise InputError(f"{file} does not exist")
    try:
        with zipfile.ZipFile(file) as archive:
            return _parse_description(archive.read(TFLITE_DESCRIPTION))
    except (zipfile.BadZipFile, KeyError):
        raise InputError(f"{file}: not a TFLite export of tfhub_ft ({TFLITE_DESCRIPTION} not found)") from None
    except _ZIP_FAULTS as error:
        raise _damaged(file, TFLITE_DESCRIPTION, error) from None


def read_tokenizer_vocabulary(file: Path) -> str | None:
    """Return the vocabulary in a TFLite file, a token a line; None where it has none."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.read(TFLITE_VOCABULARY).decode() if TFLITE_VOCABULARY in archive.namelist() else None
    except _ZIP_FAULTS as error:
        raise _damaged(file, TFLITE_VOCABULARY, error) from None


def _damaged(file: Path, name: str, error: Exception) -> InputError:
    return InputError(f"{file} is damaged: {name} cannot be read ({error}); export it again")


def _parse_description(content: str | bytes) -> dict[str, Any]:
    description = parse_json(content, {"task": str, "inputs": [str], "labels": [str], "decision": dict})
    check_distinct(description["labels"])
    return description


def digests(path: Path) -> str | dict[str, str]:
    """Return the SHA-256 of a file; of a SavedModel that of each file, by its path in the folder."""
    return sha256_of(path) if path.is_file() else sha256_of_files(path)


def check_artifact(path: Path) -> bool:
    """Compare a file or a SavedModel of an export with its digests in export.json.

    Args:
        path: the file, or the SavedModel's folder.

    Returns:
        Whether it is the one that was exported; False where no export.json in a folder above says so, because the
        artifact was moved away from it or an earlier version wrote it.

    Raises:
        InputError: it was changed, or export.json is damaged.
    """
    path = path.resolve()
    for folder in path.parents[:_DEPTH]:
        if not (folder / EXPORTS).is_file():
            continue
        name = path.relative_to(folder).as_posix()
        for entry in read_exports(folder)["forms"]:
            if entry["path"] == name and "sha256" in entry:
                _check(path, entry["sha256"], folder / EXPORTS)
                return True
    return False


def _check(path: Path, sha256: Any, exports: Path) -> None:
    sha256 = {".": sha256} if isinstance(sha256, str) else sha256
    try:
        check_shape(sha256, {str: str}, "'sha256'")
    except ValueError as error:
        raise InputError(f"{exports} cannot be read ({error}); restore it, or export again") from None
    for name, digest in sha256.items():
        file = path / name
        if not file.is_file():
            raise InputError(f"{file}: not found, but {exports} names it; restore it, or export again")
        if sha256_of(file) != digest:
            raise InputError(f"{file}: was changed since it was exported; restore it, or export again")
