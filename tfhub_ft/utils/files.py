"""Files that are whole or not there: written aside, then renamed into place."""

import atexit
import contextlib
import errno
import functools
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.utils.errors import InputError, RunError, TfhubFtError

if TYPE_CHECKING:
    import numpy as np

_SCRATCH, _LOCK = "tfhub_ft-", ".lock"
_FAULTS = {
    errno.ENOSPC: " was not written: the disk is full; make room and do it again",
    errno.EDQUOT: " was not written: the disk is full; make room and do it again",
    errno.EFBIG: " was not written: it would become larger than this process may write; raise the limit (ulimit -f)",
    errno.EROFS: " was not written: the file system is read-only; choose another place",
    # Also of what cannot be read.
    errno.EACCES: ": permission denied; change its permissions, or choose another place",
}


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a path to write a file or a folder to; move it to `path` on success, remove it on failure.

    What was written is on the disk, not only in the system's memory, before it replaces what was there: after a power
    cut `path` is the old one or the new one. What processes left there that were killed while they wrote is removed.

    Args:
        path: the file or the folder. An existing file is replaced, an existing folder is not. A link stays a link: what
            it points to is replaced.

    Yields:
        A path that does not exist yet, on the same file system, with the same name.

    Raises:
        InputError: `path` is a link to something that does not exist.
        RunError: the disk is full, or the file may not be written.

    Example:
        with atomic_write("metrics.json") as aside:
            aside.write_text("{}")
    """
    path = Path(path)
    if path.is_symlink():
        check_link(path)
        path = path.resolve()
    try:
        with not_left_empty(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_remains(path.parent)
            with scratch_folder(path.parent) as scratch:
                aside = scratch / path.name
                yield aside
                sync(aside)
                os.replace(aside, path)
            sync(path.parent, deep=False)
    except Exception as error:
        if fault := write_fault(error, path):
            raise fault from error
        raise


@contextlib.contextmanager
def not_left_empty(folder: Path) -> Iterator[None]:
    """After this context a folder that did not exist before, and its parents that did not, are removed if empty."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        yield
    finally:
        for each in made:
            with contextlib.suppress(OSError):
                each.rmdir()


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a hidden folder in `parent` that is removed afterwards, by `remove_remains` where the process is killed."""
    folder, lock = _new_scratch(parent, f".{_SCRATCH}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def temporary_folder() -> tempfile.TemporaryDirectory:
    """Return a folder in the system's temporary folder that other users cannot read.

    It is removed at the end of its context or with its object; where the process is killed, by the next process that
    calls this function.
    """
    return tempfile.TemporaryDirectory(dir=_process_folder(tempfile.gettempdir()))


@functools.cache
def _process_folder(parent: str) -> Path:
    remove_remains(Path(parent), prefix=_SCRATCH)
    folder, _ = _new_scratch(Path(parent), _SCRATCH)
    atexit.register(_remove_of_process, folder, os.getpid())
    return folder


def _remove_of_process(folder: Path, process: int) -> None:
    # Whoever forked this process still uses it.
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def remove_remains(parent: Path, prefix: str = f".{_SCRATCH}") -> None:
    """Remove the scratch folders that dead processes of this user left in a folder.

    A living process holds the lock of its scratch folders, on whatever machine or in whatever container it runs. Where
    the file system knows no locks, they are left.

    Args:
        parent: the folder; it need not exist.
        prefix: what the names of scratch folders begin with.
    """
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    _remove_dead(Path(entry.path))


def _remove_dead(folder: Path) -> None:
    if folder.lstat().st_uid != os.getuid():
        return
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        # Its process was killed, or is about to make the lock, and takes another folder if it cannot.
        folder.rmdir()
        return
    try:
        if _try_lock(lock):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _new_scratch(parent: Path, prefix: str) -> tuple[Path, int]:
    """Make a scratch folder; return it and the open file whose lock says that its process lives."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            is_locked = _try_lock(lock)
            # A process that cleans up may have the lock, or may have removed the file.
            if is_locked is None or (is_locked and (folder / _LOCK).exists()):
                return folder, lock
            os.close(lock)


def _try_lock(descriptor: int) -> bool | None:
    """Lock an open file or folder; return False where another has the lock, None where the file system lacks locks."""
    # Slow to import.
    from filelock import lock_descriptor

    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError:
        return None


def sync(path: Path, *, deep: bool = True) -> None:
    """Wait until a file, or a folder with all that is in it, is on the disk.

    Args:
        path: the file or the folder.
        deep: whether the files and folders in a folder are meant, too.
    """
    is_folder = path.is_dir()
    for each in path.iterdir() if is_folder and deep else ():
        if not each.is_symlink():
            sync(each)
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        # Some file systems cannot do that for folders.
        if not is_folder or error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(opened)


@contextlib.contextmanager
def locked(folder: Path, taken: str) -> Iterator[None]:
    """Within this context no other process has the lock of a folder.

    Args:
        folder: the folder.
        taken: the message of the error, where another process has it.

    Raises:
        InputError: one has.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        if _try_lock(opened) is False:
            raise InputError(taken)
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


def check_links_stay(folder: Path) -> None:
    """Raise an InputError where a symbolic link in a folder leads out of it, or to nothing.

    What a folder holds is copied into models, which are given away.
    """
    root = folder.resolve()
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_leftover(name)]
        for path in (Path(place) / name for name in [*folders, *names] if not is_leftover(name)):
            if path.is_symlink() and not (path.exists() and path.resolve().is_relative_to(root)):
                raise InputError(
                    f"{path}: a link to {os.readlink(path)}, out of the folder {folder}; put a copy of the file there"
                )


def copy_folder(source: Path, target: Path, leave_out: Collection[str] = ()) -> None:
    """Copy a folder with all that is in it, but without its permissions.

    Args:
        source: the folder.
        target: the copy; may exist.
        leave_out: names of files and folders that are left out; leftovers of file managers are, too.
    """
    target.mkdir(parents=True, exist_ok=True)
    for each in source.iterdir():
        if each.name in leave_out or is_leftover(each.name):
            continue
        if each.is_dir():
            copy_folder(each, target / each.name, leave_out)
        else:
            shutil.copyfile(each, target / each.name)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; neither needs to be there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_fault(error: BaseException, path: str | os.PathLike) -> RunError | None:
    """Return what to raise for an error because of which a file cannot be written; None for other errors.

    TensorFlow, HDF5 and Keras say such errors in words.

    Args:
        error: the error. One that is worded for the user already is another error.
        path: what was to be written.

    Returns:
        An error that names the path and what to do: the disk, or somebody's share of it, is full, the file would become
        too large, the file system is read-only, or permission is denied.
    """
    if isinstance(error, TfhubFtError):
        return None
    code = getattr(error, "errno", None)
    if code not in _FAULTS:
        code = next((each for each in _FAULTS if os.strerror(each) in str(error)), None)
    return RunError(f"{path}{_FAULTS[code]}") if code else None


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
    with atomic_write(path) as aside:
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


def sha256_of_files(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file in a folder and its subfolders, by its path in the folder."""
    files = sorted(each for each in folder.rglob("*") if each.is_file())
    return {each.relative_to(folder).as_posix(): sha256_of(each) for each in files}


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
