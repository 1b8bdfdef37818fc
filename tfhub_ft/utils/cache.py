"""The cache: folders that are made once, whole or not there, and safe for many processes at once."""

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import platformdirs

from tfhub_ft.utils.documents import check_shape, read_json
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import remove_stale_scratch, scratch_folder, sha256_of, sync, write_json
from tfhub_ft.utils.version import __version__

CACHE_VARIABLE = "TFHUB_FT_CACHE"
ENTRY_FILE = "entry.json"
T = TypeVar("T")
# Files below are read whenever the entry is used.
_SMALL = 2**20


def cache_dir() -> Path:
    """The folder that what is downloaded is kept in: $TFHUB_FT_CACHE, else tfhub_ft in the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    return Path(platformdirs.user_cache_dir("tfhub_ft", appauthor=False))


def load_kept(get: Callable[[], Path], load: Callable[[Path], T]) -> T:
    """Load a folder; where it is an entry of the cache that was damaged without a trace, get and load it once more.

    Args:
        get: returns the folder, and makes it where it is not there.
        load: takes the folder.

    Returns:
        What `load` returned.
    """
    folder = get()
    try:
        return load(folder)
    # TensorFlow has many kinds of errors for files that are damaged.
    except Exception:
        entry = next((each for each in (folder, folder.parent) if (each / ENTRY_FILE).is_file()), None)
        if entry is None or entry.parent != cache_dir() or entry_of(entry, thorough=True):
            raise
        with contextlib.suppress(OSError):
            (entry / ENTRY_FILE).unlink()
        return load(get())


def entry_of(folder: Path, *, thorough: bool = False) -> dict[str, Any] | None:
    """What the cache knows about a whole entry; None where there is none, or where its files are other ones by now.

    Args:
        folder: the entry's.
        thorough: whether all files are read; otherwise those that are small or seem to be touched.
    """
    try:
        # Entries of earlier versions do not say what they hold, or not of all; file managers leave further files.
        entry = read_json(folder / ENTRY_FILE, dict)
        files = entry.get("files", {})
        check_shape(files, {str: list})
        touched = {}
        for name, (size, sha256, *time) in files.items():
            found = (folder / name).stat()
            if found.st_size != size:
                return None
            is_touched = [found.st_mtime_ns] != time
            if sha256 and (thorough or is_touched or size < _SMALL) and sha256_of(folder / name) != sha256:
                return None
            if time and is_touched:
                touched[name] = [size, sha256, found.st_mtime_ns]
    except (OSError, ValueError, InputError):
        return None
    if touched:
        # A copy, all of which then need not be read again. A cache may be read-only.
        with contextlib.suppress(OSError, RunError):
            write_json(folder / ENTRY_FILE, {**entry, "files": {**files, **touched}})
    return entry


def keep(
    folder: Path, make: Callable[[Path], dict[str, str]], read: Callable[[Path], dict[str, Any] | None] = entry_of
) -> None:
    """Let `make` fill a folder aside, and put it into the cache once it is whole.

    Where several processes want the same one, the first makes it and the others wait.

    Args:
        folder: the entry's folder, in the cache.
        make: makes the folder that it is given, and returns what entry.json shall say of it.
        read: what is known of a whole entry; None where a folder is none.

    Raises:
        RunError: the cache cannot be written.
    """
    cache = folder.parent
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f".lock-{folder.name}"):
            if read(folder) is not None:
                return
            remove_stale_scratch(cache)
            with scratch_folder(cache) as scratch:
                made = scratch / "made"
                facts = make(made)
                when = datetime.now(timezone.utc).isoformat(timespec="seconds")
                facts = {**facts, "fetched": when, "tfhub_ft": __version__, "files": _prints(made)}
                write_json(made / ENTRY_FILE, facts)
                sync(made)
                _put_in_place(made, folder, read)
                sync(cache, deep=False)
    except OSError as error:
        raise RunError(
            f"{cache}: the cache cannot be written ({error}); make room, or set {CACHE_VARIABLE} to a folder that can"
            " be written"
        ) from error


def _prints(folder: Path) -> dict[str, list[Any]]:
    """The size of each file of an entry, its sha256, and when it was changed."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ENTRY_FILE]
    return {
        str(path.relative_to(folder)): [path.stat().st_size, sha256_of(path), path.stat().st_mtime_ns] for path in files
    }


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait for the lock of a file and hold it within this context; the file stays, as others may wait for it."""
    from filelock import FileLock

    lock = FileLock(path)
    # A file system may lack locks: then both fetch, and one of the entries stays.
    with contextlib.suppress(OSError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _put_in_place(made: Path, folder: Path, read: Callable[[Path], dict[str, Any] | None]) -> None:
    try:
        os.replace(made, folder)
    except OSError:
        if read(folder) is not None:
            return  # Another process was faster.
        if not folder.exists():
            raise
        os.replace(folder, made.with_name("damaged"))
        os.replace(made, folder)
