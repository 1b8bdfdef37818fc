"""Atomic writes, checks of paths, checksums and temporary folders."""

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
from typing import TYPE_CHECKING

from tfhub_ft.utils.errors import InputError, RunError, TfhubFtError
from tfhub_ft.utils.remote import State, as_path, download, is_remote, is_remote_pattern, matching_urls, state_of

if TYPE_CHECKING:
    import numpy as np

_SCRATCH, _LOCK = "tfhub_ft-", ".lock"
_FAULTS = {
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EDQUOT: "the disk is full; free some space and try again",
    errno.EFBIG: "larger than the file size limit of this process; raise the limit (ulimit -f)",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.EACCES: "permission denied; change its permissions, or choose another place",
}


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path for a file or a folder; move it to `path` on success, remove it on failure.

    The content is synced to disk before it replaces `path`, which survives a power cut either old or new. An existing
    folder is not replaced unless empty; for a link, its target is replaced. A full disk or a path that is not writable
    raises a RunError.
    """
    path = Path(path)
    if path.is_symlink():
        check_link(path)
        path = path.resolve()
    try:
        with remove_if_empty(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_stale_scratch(path.parent)
            with scratch_folder(path.parent) as scratch:
                temporary = scratch / path.name
                yield temporary
                sync(temporary)
                os.replace(temporary, path)
            sync(path.parent, deep=False)
    except Exception as error:
        if fault := write_fault(error, path):
            raise fault from error
        raise


@contextlib.contextmanager
def remove_if_empty(folder: Path) -> Iterator[None]:
    """Remove a folder and its parents, as far as they were created within this context and are empty."""
    new_folders = _missing_folders(folder)
    try:
        yield
    finally:
        _remove_empty(new_folders)


@contextlib.contextmanager
def rollback_on_error(folder: Path) -> Iterator[None]:
    """Remove what was created in a folder within this context, and a new folder itself, if an error is raised."""
    before, new_folders = set(os.listdir(folder)) if folder.is_dir() else set(), _missing_folders(folder)
    try:
        yield
    except BaseException:
        for name in set(os.listdir(folder)) - before if folder.is_dir() else ():
            remove(folder / name)
        _remove_empty(new_folders)
        raise


def _missing_folders(folder: Path) -> list[Path]:
    return [each for each in (folder, *folder.parents) if not each.exists()]


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a hidden temporary folder in `parent`; `remove_stale_scratch` removes those of killed processes."""
    folder, lock = _new_scratch(parent, f".{_SCRATCH}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a private folder in the system's temporary folder; those of killed processes are removed."""
    return tempfile.TemporaryDirectory(dir=_process_folder(tempfile.gettempdir()))


@functools.cache
def _process_folder(parent: str) -> Path:
    remove_stale_scratch(Path(parent), prefix=_SCRATCH)
    folder, _ = _new_scratch(Path(parent), _SCRATCH)
    owner = os.getpid()
    # A forked process must not remove the folder of its parent.
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)
    return folder


def remove_stale_scratch(parent: Path, prefix: str = f".{_SCRATCH}") -> None:
    """Remove the scratch folders that killed processes of this user left in a folder.

    A running process holds the lock of its scratch folders, on any machine and in any container. On file systems
    without locks nothing is removed.
    """
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    _remove_if_unlocked(Path(entry.path))


def _remove_if_unlocked(folder: Path) -> None:
    if folder.lstat().st_uid != os.getuid():
        return
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        # Its process was killed, or is about to create the lock, and takes another folder if that fails.
        folder.rmdir()
        return
    try:
        if _try_lock(lock):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _new_scratch(parent: Path, prefix: str) -> tuple[Path, int]:
    """Create a scratch folder; return it and its open lock, which is held while the process runs."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            is_locked = _try_lock(lock)
            # Another process that removes stale folders may hold the lock or have removed the file.
            if is_locked is None or (is_locked and (folder / _LOCK).exists()):
                return folder, lock
            os.close(lock)


def _try_lock(descriptor: int) -> bool | None:
    """Lock an open file or folder; return False if it is locked already, None on a file system without locks."""
    # Slow to import.
    from filelock import lock_descriptor

    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError:
        return None


def sync(path: Path, *, deep: bool = True) -> None:
    """Flush a file, or a folder (if `deep`, with its content), to disk."""
    is_folder = path.is_dir()
    for each in path.iterdir() if is_folder and deep else ():
        if not each.is_symlink():
            sync(each)
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        # Some file systems cannot sync folders.
        if not is_folder or error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(opened)


@contextlib.contextmanager
def locked(folder: Path, message: str) -> Iterator[None]:
    """Hold the lock of a folder; raise an InputError with this message if another process holds it."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        if _try_lock(opened) is False:
            raise InputError(message)
        yield
    finally:
        os.close(opened)


def is_pattern(name: str | os.PathLike) -> bool:
    """Return whether a name is a glob pattern such as part-*.jsonl, and not that of an existing file or folder."""
    if is_remote(name):
        return is_remote_pattern(str(as_path(name)))
    return glob.has_magic(str(name)) and not Path(name).exists()


def matching_files(name: str | os.PathLike) -> list[Path]:
    """Return the files that match a glob pattern, sorted; any other name as it is, even if it does not exist.

    Remote files are downloaded, unless a copy is up to date.

    Raises:
        InputError: No file matches the pattern, or a remote file cannot be read.
    """
    if is_remote(name):
        return [as_path(url, copy=_copy_of(url)) for url in matching_urls(str(as_path(name)))]
    if not is_pattern(name):
        return [Path(name)]
    files = sorted(path for path in map(Path, glob.glob(str(name), recursive=True)) if path.is_file())
    if not files:
        raise InputError(f"{name}: no file matches the pattern")
    return files


def local_file(name: str | os.PathLike) -> Path:
    """Return the path of a file; a remote file is downloaded as by `matching_files`."""
    return matching_files(name)[0] if is_remote(name) and not is_pattern(name) else as_path(name)


# The copies of remote files: the state of the file, the folder of the copy and its path.
_copies: dict[str, tuple[State, tempfile.TemporaryDirectory[str], str]] = {}


def _copy_of(url: str) -> str:
    """Return the path of a copy of a remote file, which lasts as long as the process unless the file changes."""
    state = state_of(url)
    if url not in _copies or state is None or _copies[url][0] != state:
        folder = temporary_folder()
        try:
            _copies[url] = state, folder, str(download(url, Path(folder.name)))
        except OSError as error:
            raise write_fault(error, f"the copy of {url} in {tempfile.gettempdir()}") or error from None
    return _copies[url][2]


def check_link(path: Path, option: str = "") -> None:
    """Raise an InputError if a path, given by an option, is a broken link."""
    if path.is_symlink() and not path.exists():
        name = f"{option} {path}".lstrip()
        raise InputError(f"{name}: is a link to {os.readlink(path)}, which does not exist; remove the link")


def check_writable(path: Path, option: str = "") -> None:
    """Raise an InputError if a file or folder, given by an option, cannot be created or changed."""
    if is_remote(path):
        raise InputError(f"{option} {as_path(path)}: is remote; pass a local path".lstrip())
    check_link(path, option)
    existing = next(each for each in (path, *path.absolute().parents) if each.exists())
    if (existing != path and not existing.is_dir()) or not os.access(existing, os.W_OK):
        name = f"{option} {path}".lstrip()
        reason = "not writable" if existing == path or existing.is_dir() else "not a folder"
        raise InputError(f"{name}: {'' if existing == path else f'{existing} is '}{reason}; choose another place")


def check_new(path: Path) -> None:
    """Raise an InputError if a path exists or cannot be created."""
    if os.path.lexists(path):
        raise InputError(f"{path}: already exists; choose another name")
    check_writable(path)


def check_folder(path: Path) -> None:
    """Raise an InputError if --output-dir is a file, or a folder that cannot be created or changed."""
    if path.exists() and not path.is_dir():
        raise InputError(f"--output-dir {path}: is a file; pass a folder")
    check_writable(path, "--output-dir")


def check_output(path: Path, option: str, inputs: Iterable[Path]) -> None:
    """Raise an InputError if an output file, given by an option, is not writable or is one of the inputs."""
    check_writable(path, option)
    if path.is_dir():
        raise InputError(f"{option} {path}: is a folder; pass a file")
    for file in inputs:
        if path.exists() and file.exists() and path.samefile(file):
            raise InputError(f"{option} {path}: is the input {file}; choose another file")


def is_leftover(name: str) -> bool:
    """Return whether a name is that of a hidden file, or of one that file managers create."""
    return name.startswith(".") or name.lower() in ("thumbs.db", "ehthumbs.db", "desktop.ini")


def contents(folder: Path) -> list[str]:
    """Return the names in a folder, sorted, without hidden files; none if it does not exist."""
    return sorted(name for name in os.listdir(folder) if not is_leftover(name)) if folder.is_dir() else []


def check_links_stay(folder: Path) -> None:
    """Raise an InputError if a symbolic link leads out of a folder, whose files become part of shared models."""
    root = folder.resolve()
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_leftover(name)]
        for path in (Path(place) / name for name in [*folders, *names] if not is_leftover(name)):
            if path.is_symlink() and not (path.exists() and path.resolve().is_relative_to(root)):
                raise InputError(
                    f"{path}: is a link to {os.readlink(path)}, out of the folder {folder}; replace it by a copy"
                )


def copy_folder(source: Path, target: Path, leave_out: Collection[str] = ()) -> None:
    """Copy a folder without its permissions, without hidden files and without the names in `leave_out`."""
    target.mkdir(parents=True, exist_ok=True)
    for each in source.iterdir():
        if each.name in leave_out or is_leftover(each.name):
            continue
        if each.is_dir():
            copy_folder(each, target / each.name, leave_out)
        else:
            shutil.copyfile(each, target / each.name)


def remove(path: Path) -> None:
    """Remove a file, or a folder with its content, if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_fault(error: BaseException, path: str | os.PathLike) -> RunError | None:
    """Return an error that says why a path cannot be written and what to do; None for other errors.

    TensorFlow, HDF5 and Keras have the reason in their messages only. A `TfhubFtError` has been worded already.
    """
    if isinstance(error, TfhubFtError):
        return None
    code = getattr(error, "errno", None)
    if code not in _FAULTS:
        code = next((each for each in _FAULTS if os.strerror(each) in str(error)), None)
    return RunError(f"{path}: {_FAULTS[code]}") if code else None


def check_disk_space(path: Path, size: int) -> None:
    """Raise the error of a full disk if a file of `size` bytes does not fit: HDF5 would crash while it writes."""
    if shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a UTF-8 text file atomically; surrogates, which undecodable file names have, are escaped."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def write_json(path: str | os.PathLike, value: object) -> None:
    """Write an indented JSON file atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sha256_of(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_of_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file under a folder, by its relative path."""
    files = sorted(each for each in folder.rglob("*") if each.is_file())
    return {each.relative_to(folder).as_posix(): sha256_of(each) for each in files}


def sha256_of_arrays(arrays: "Iterable[np.ndarray]") -> str:
    """Return the SHA-256 of the values of arrays, in hexadecimal."""
    import numpy as np

    digest = hashlib.sha256()
    for array in arrays:
        # NumPy lacks the buffer protocol for bfloat16.
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def folder_bytes(path: str | os.PathLike) -> int:
    """Return the size in bytes of a file, or of all files under a folder."""
    path = Path(path)
    return path.stat().st_size if path.is_file() else sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
