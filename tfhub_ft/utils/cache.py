"""The cache: folders written once and atomically, shared by many processes."""

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
# Smaller files are verified whenever the entry is used.
_SMALL = 2**20


def cache_dir() -> Path:
    """Return the folder of downloads: $TFHUB_FT_CACHE, by default tfhub_ft in the user's cache folder."""
    if folder := os.environ.get(CACHE_VARIABLE):
        return Path(os.path.abspath(os.path.expanduser(folder)))
    return Path(platformdirs.user_cache_dir("tfhub_ft", appauthor=False))


def load_cached(get: Callable[[], Path], load: Callable[[Path], T]) -> T:
    """Return `load(get())`; if that fails because the cache entry is damaged, discard the entry and try once more."""
    folder = get()
    try:
        return load(folder)
    # TensorFlow raises many kinds of errors for damaged files.
    except Exception:
        entry = next((each for each in (folder, folder.parent) if (each / ENTRY_FILE).is_file()), None)
        if entry is None or entry.parent != cache_dir() or read_entry(entry, thorough=True):
            raise
        with contextlib.suppress(OSError):
            (entry / ENTRY_FILE).unlink()
        return load(get())


def read_entry(folder: Path, *, thorough: bool = False) -> dict[str, Any] | None:
    """Return the content of entry.json; None if the entry is missing or its files have changed.

    Unless `thorough`, only small files and those with a new modification time are read.
    """
    try:
        # Entries of earlier versions list no files, or not all; file managers add files.
        entry = read_json(folder / ENTRY_FILE, dict)
        files = entry.get("files", {})
        check_shape(files, {str: list})
        touched = {}
        for name, (size, sha256, *time) in files.items():
            stat = (folder / name).stat()
            if stat.st_size != size:
                return None
            is_touched = [stat.st_mtime_ns] != time
            if sha256 and (thorough or is_touched or size < _SMALL) and sha256_of(folder / name) != sha256:
                return None
            if time and is_touched:
                touched[name] = [size, sha256, stat.st_mtime_ns]
    except (OSError, ValueError, InputError):
        return None
    if touched:
        # A copied entry: record the new times, so that it is not read again. The cache may be read-only.
        with contextlib.suppress(OSError, RunError):
            write_json(folder / ENTRY_FILE, {**entry, "files": {**files, **touched}})
    return entry


def store_in_cache(
    folder: Path,
    make: Callable[[Path], dict[str, str]],
    read: Callable[[Path], dict[str, Any] | None] = read_entry,
) -> None:
    """Fill a folder of the cache atomically with `make(folder)`, unless `read(folder)` finds a complete entry.

    `make` returns facts for entry.json. Other processes that need the entry wait. A cache that is not writable raises a
    RunError.
    """
    cache = folder.parent
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f".lock-{folder.name}"):
            if read(folder) is not None:
                return
            remove_stale_scratch(cache)
            with scratch_folder(cache) as scratch:
                new = scratch / "new"
                facts = make(new)
                time = datetime.now(timezone.utc).isoformat(timespec="seconds")
                facts = {**facts, "fetched": time, "tfhub_ft": __version__, "files": _file_facts(new)}
                write_json(new / ENTRY_FILE, facts)
                sync(new)
                _move_into_cache(new, folder, read)
                sync(cache, deep=False)
    except OSError as error:
        raise RunError(
            f"{cache}: the cache is not writable ({error}); free some space, or set ${CACHE_VARIABLE} to a writable"
            " folder"
        ) from error


def _file_facts(folder: Path) -> dict[str, list[int | str]]:
    """Return size, SHA-256 and modification time of each file of an entry."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ENTRY_FILE]
    return {
        str(path.relative_to(folder)): [path.stat().st_size, sha256_of(path), path.stat().st_mtime_ns] for path in files
    }


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait for a file lock and hold it within this context; the file stays, as other processes may wait for it."""
    from filelock import FileLock

    lock = FileLock(path)
    # On a file system without locks, every process fills the entry, and one of them wins.
    with contextlib.suppress(OSError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _move_into_cache(new: Path, folder: Path, read: Callable[[Path], dict[str, Any] | None]) -> None:
    try:
        os.replace(new, folder)
    except OSError:
        if read(folder) is not None:
            return  # Another process was faster.
        if not folder.exists():
            raise
        os.replace(folder, new.with_name("damaged"))
        os.replace(new, folder)
