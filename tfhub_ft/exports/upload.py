"""Export into a folder of an object store: write and verify locally, then upload."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tfhub_ft.export_folder import EXPORTS
from tfhub_ft.exports.serving.config import BATCHING_CONFIG, MODELS_CONFIG
from tfhub_ft.utils.errors import InputError, RunError, TfhubFtError
from tfhub_ft.utils.files import sha256_of, temporary_folder
from tfhub_ft.utils.remote import fetch, list_files, upload

_SAVED_MODEL = "saved_model.pb"
# Files that an export reads, or adds to.
_READ = (EXPORTS, MODELS_CONFIG, BATCHING_CONFIG)


def export_and_upload(url: str, write: Callable[[Path], None]) -> None:
    """Call `write` with a local copy of a remote export folder, and upload the files that it writes.

    The copy has the files that describe the folder, and its versions as empty folders. saved_model.pb, without which TF
    Serving does not load a version, is uploaded after the other files of the version, and export.json last.

    Raises:
        InputError: The remote folder cannot be read; or `write` raised one.
        RunError: The files cannot be uploaded, and are kept in a temporary folder; or `write` raised one, after which
            the artifacts that it kept are uploaded.
    """
    url = url.rstrip("/")
    with temporary_folder() as temporary:
        folder = Path(temporary) / url.rpartition("/")[2]
        folder.mkdir()
        remote_files = _copy_description(url, folder)
        before = _digests(folder)
        fault = None
        try:
            write(folder)
        except TfhubFtError as error:
            fault = type(error)(str(error).replace(str(folder), url))
        if isinstance(fault, InputError):
            raise fault
        names = [name for name, digest in _digests(folder).items() if before.get(name) != digest]
        if EXPORTS in names:
            _upload(folder, sorted(names, key=_upload_order), url, remote_files)
        if fault:
            raise fault


def _copy_description(url: str, folder: Path) -> list[str]:
    """Copy the files that describe a remote folder, and create its folders; return the paths of its files."""
    try:
        names = list_files(url)
    except InputError as error:
        raise InputError(f"--output-dir {error}") from None
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name in _READ:
            fetch(url, name, folder)
        elif "/" not in name and EXPORTS not in names:
            # An export refuses a folder with other files.
            (folder / name).touch()
    return names


def _digests(folder: Path) -> dict[str, str]:
    return {each.relative_to(folder).as_posix(): sha256_of(each) for each in folder.rglob("*") if each.is_file()}


def _upload_order(name: str) -> tuple[bool, bool, str]:
    return (name == EXPORTS, name.endswith(_SAVED_MODEL), name)


def _upload(folder: Path, names: list[str], url: str, remote_files: list[str]) -> None:
    try:
        others = sorted({*list_files(url)} - {*remote_files})
        if others:
            raise InputError(f"{url}: another export has written {others[0]}")
        upload(folder, names, url)
    except InputError as error:
        kept = Path(tempfile.mkdtemp(prefix="export-of-tfhub_ft-")) / folder.name
        shutil.move(folder, kept)
        raise RunError(f"{error}; the verified export is in {kept}: copy it to {url}, or export again") from None
