"""The cache: folders that are made once, whole or not there, and safe for many processes at once."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import platformdirs

from tfhub_ft import __version__
from tfhub_ft.errors import WorkError
from tfhub_ft.files import remove_remains, scratch_folder, sha256_of, sync, write_json

CACHE_VARIABLE = "TFHUB_FT_CACHE"
ENTRY_FILE = "entry.json"
_HASHED = 2**20


def cache_dir() -> Path:
    """The folder that what is downloaded is kept in: $TFHUB_FT_CACHE, else tfhub_ft in the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    return Path(platformdirs.user_cache_dir("tfhub_ft", appauthor=False))


def entry_of(folder: Path) -> dict[str, Any] | None:
    """What the cache knows about a whole entry; None where there is none, or where its files are other ones by now."""
    try:
        entry = json.loads((folder / ENTRY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(entry, dict):
        return None
    # Entries of earlier versions do not say what they hold; file managers leave further files.
    return entry if entry.get("files", {}).items() <= _prints(folder).items() else None


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
        WorkError: the cache cannot be written.
    """
    cache = folder.parent
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(cache / f".lock-{folder.name}"):
            if read(folder) is not None:
                return
            remove_remains(cache)
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
        raise WorkError(
            f"{cache}: the cache cannot be written ({error}); make room, or set {CACHE_VARIABLE} to a folder that can"
            " be written"
        ) from error


def _prints(folder: Path) -> dict[str, list[Any]]:
    """The size of each file of an entry, and the sha256 of those that are small."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ENTRY_FILE]
    sizes = {path: path.stat().st_size for path in files}
    return {
        str(path.relative_to(folder)): [size, sha256_of(path) if size < _HASHED else None]
        for path, size in sizes.items()
    }


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Within this context no other process is in the context of this file; waits until the one that is has left."""
    import fcntl

    with path.open("w") as file:
        # Some file systems know no locks: then both fetch, and one of the entries stays.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


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
