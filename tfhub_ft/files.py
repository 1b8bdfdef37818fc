"""Files that are whole or not there: written aside, then renamed into place."""

import contextlib
import errno
import glob
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.errors import InputError, WorkError

if TYPE_CHECKING:
    import numpy as np


@contextlib.contextmanager
def written_aside(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a path beside `path` to write a file or a folder to; rename it to `path` on success, remove it on failure.

    Args:
        path: the file or the folder. An existing file is replaced, an existing folder is not. A link stays a link: what
            it points to is replaced.

    Yields:
        A path that does not exist yet, on the same file system.

    Raises:
        InputError: `path` is a link to something that does not exist.
        WorkError: the disk is full.

    Example:
        with written_aside("metrics.json") as aside:
            aside.write_text("{}")
    """
    path = Path(path)
    if path.is_symlink():
        check_link(path)
        path = path.resolve()
    made = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.parent / f".{uuid.uuid4().hex[:8]}.{path.name}"
    try:
        yield aside
        os.replace(aside, path)
    except Exception as error:
        if disk_is_full(error):
            raise WorkError(f"{path} was not written: the disk is full; make room and do it again") from error
        raise
    finally:
        remove(aside)
        for parent in made:
            # Only folders that are empty, because nothing came of what was written, can be removed.
            with contextlib.suppress(OSError):
                parent.rmdir()


@contextlib.contextmanager
def locked(folder: Path, taken: str) -> Iterator[None]:
    """Within this context no other process has the lock of a folder.

    Args:
        folder: the folder.
        taken: the message of the error, where another process has it.

    Raises:
        InputError: one has.
    """
    import fcntl

    opened = os.open(folder, os.O_RDONLY)
    try:
        # Some file systems know no locks.
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(taken) from None
        yield
    finally:
        os.close(opened)


@contextlib.contextmanager
def undone_on_failure(folder: Path) -> Iterator[None]:
    """Remove what was written into a folder within this context, and a new folder itself, where an error ends it."""
    before = set(os.listdir(folder)) if folder.is_dir() else set()
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        yield
    except BaseException:
        for name in set(os.listdir(folder)) - before if folder.is_dir() else ():
            remove(folder / name)
        for each in made:
            with contextlib.suppress(OSError):
                each.rmdir()
        raise


def is_pattern(name: str | os.PathLike) -> bool:
    """Whether a name is none of a file, but a pattern of files' names such as part-*.jsonl."""
    return glob.has_magic(str(name)) and not Path(name).is_file()


def matching_files(name: str | os.PathLike) -> list[Path]:
    """The file of that name, or all files that fit a pattern.

    Returns:
        The files, in alphabetical order. A name that is no pattern is returned as it is, whether it is there or not.

    Raises:
        InputError: no file fits the pattern.
    """
    if not is_pattern(name):
        return [Path(name)]
    found = sorted(Path(path) for path in glob.glob(str(name), recursive=True) if Path(path).is_file())
    if not found:
        raise InputError(f"{name}: no file is called so")
    return found


def check_link(path: Path, option: str = "") -> None:
    """Raise an InputError where a path is a link to something that does not exist.

    Args:
        path: the path.
        option: the option that names it.
    """
    if path.is_symlink() and not path.exists():
        name = f"{option} {path}".lstrip()
        raise InputError(f"{name}: a link to {os.readlink(path)}, which does not exist; remove the link")


def check_place(path: Path, option: str = "") -> None:
    """Raise an InputError where a file or a folder cannot be created or changed.

    Args:
        path: the file or the folder; neither it nor the folders above it need to exist.
        option: the option that names it.
    """
    check_link(path, option)
    above = next(each for each in (path, *path.absolute().parents) if each.exists())
    if (above != path and not above.is_dir()) or not os.access(above, os.W_OK):
        name = f"{option} {path}".lstrip()
        reason = "not writable" if above == path or above.is_dir() else "not a folder"
        raise InputError(f"{name}: {'' if above == path else f'{above} is '}{reason}; choose another place")


def check_new(path: Path) -> None:
    """Raise an InputError where a path exists or cannot be created."""
    if os.path.lexists(path):
        raise InputError(f"{path}: already exists; choose another name")
    check_place(path)


def check_folder(path: Path) -> None:
    """Raise an InputError where --output-dir names a file, or a folder that cannot be created or changed."""
    if path.exists() and not path.is_dir():
        raise InputError(f"--output-dir {path}: is a file; name a folder")
    check_place(path, "--output-dir")


def check_output(path: Path, option: str, inputs: Iterable[Path]) -> None:
    """Raise an InputError where a file cannot be written, or where it is a file that is read, by whatever name.

    Args:
        path: the file to write.
        option: the option that names it.
        inputs: the files that are read.

    Example:
        check_output(Path("answers.csv"), "--output", inputs=[Path("rows.csv")])
    """
    check_place(path, option)
    if path.is_dir():
        raise InputError(f"{option} {path}: is a folder; name a file")
    for each in inputs:
        if path.exists() and each.exists() and path.samefile(each):
            raise InputError(f"{option} {path}: is the input {each}, which it would replace; choose another file")


def is_leftover(name: str) -> bool:
    """Return whether a file's name is hidden, or one that file managers leave in folders."""
    return name.startswith(".") or name.lower() in ("thumbs.db", "ehthumbs.db", "desktop.ini")


def contents(folder: Path) -> list[str]:
    """Return the names in a folder, sorted, without leftovers of file managers; none where it does not exist."""
    return sorted(name for name in os.listdir(folder) if not is_leftover(name)) if folder.is_dir() else []


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; neither needs to be there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def disk_is_full(error: BaseException) -> bool:
    """Whether an error says that a disk, or somebody's share of it, is full; TensorFlow and HDF5 say it in words."""
    full = (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "errno", None) in full or any(os.strerror(code) in str(error) for code in full)


def check_room(path: Path, needed: int) -> None:
    """Raise the error of a full disk where there is not enough room for a file.

    HDF5 does not survive a disk that fills up while it writes: the process crashes when it ends.

    Args:
        path: where the file shall stand; its folder is there.
        needed: its bytes.
    """
    if shutil.disk_usage(path.parent).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all; bytes of file names that are not UTF-8 are escaped."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write an indented JSON file, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sha256_of(path: str | os.PathLike) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_of_arrays(arrays: "Iterable[np.ndarray]") -> str:
    """The SHA-256 of the values of arrays, in hexadecimal."""
    import numpy as np

    digest = hashlib.sha256()
    for array in arrays:
        # Without a view, bfloat16 has no buffer.
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def folder_bytes(path: str | os.PathLike) -> int:
    """The bytes of a file, or of all files under a folder."""
    path = Path(path)
    return path.stat().st_size if path.is_file() else sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
