"""The SHA-256 of each file of an export, kept in export.json and compared before the file is loaded."""

from pathlib import Path
from typing import Any

from tfhub_ft.utils.documents import check_shape, read_json
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import sha256_of, sha256_of_files

EXPORTS = "export.json"
EXPORTS_SHAPE = {"recipe": str, "labels": [str], "forms": [{"form": str, "path": str}]}
# An artifact is this deep in its export folder at most: int8/1.
_DEPTH = 2


def read_exports(folder: Path) -> dict[str, Any]:
    """What export.json says of an export folder.

    Raises:
        InputError: there is none, or it is damaged.
    """
    return read_json(folder / EXPORTS, EXPORTS_SHAPE)


def digests(path: Path) -> str | dict[str, str]:
    """The SHA-256 of a file; of a SavedModel that of each file, by its path in the folder."""
    return sha256_of(path) if path.is_file() else sha256_of_files(path)


def check_artifact(path: Path) -> bool:
    """Compare a file or a SavedModel of an export with what export.json says of it.

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
        for form in read_exports(folder)["forms"]:
            if form["path"] == name and "sha256" in form:
                _check(path, form["sha256"], folder / EXPORTS)
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
