"""Where the tokens of many rows stand: in memory, or past a size in the cache on disk, for the next training too."""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tfhub_ft.utils.cache import cache_dir
from tfhub_ft.utils.console import log, progress
from tfhub_ft.utils.errors import RunError
from tfhub_ft.utils.files import atomic_write, sha256_of, temporary_folder, write_json

# From so many rows on the cache on disk pays.
CACHED_FROM = 100_000
ROWS_AT_ONCE = 1024
# Fewer rows are tokenized before anybody looks.
SHOWN_FROM = 20_000
UNUSED_DAYS = 30
_INDEX = "index.json"
# Raise it where the same rows would give other arrays than before.
_FORMAT = 2


def token_arrays(
    preprocessor: Any, inputs: Sequence[Any], make: Callable[[int, Sequence[Any]], dict[str, np.ndarray]], *, kind: str
) -> dict[str, np.ndarray]:
    """The arrays that are made of all rows, some rows at a time and in parallel.

    From 100,000 rows on they are written into the cache and read from there: as part of the memory that the system may
    take back, and without being made again for the same rows. What was not used for 30 days is removed.

    Args:
        preprocessor: a preprocessing layer.
        inputs: what tokens are made of, an entry a row.
        make: takes the number of a row and the inputs from there on, some of them; gives flat arrays by name.
        kind: what `make` does, for the cache: as long as it is the same, so are its arrays of the same rows.

    Returns:
        The arrays of all rows, behind each other.

    Raises:
        RunError: the cache cannot be written.
    """
    starts = range(0, len(inputs), ROWS_AT_ONCE)

    def part(start: int) -> dict[str, np.ndarray]:
        return make(start, inputs[start : start + ROWS_AT_ONCE])

    # To start threads takes longer than to tokenize one text.
    parts = in_parallel(part, starts) if len(starts) > 1 else map(part, starts)
    if len(inputs) >= SHOWN_FROM:
        parts = _shown(parts, len(inputs))
    return arrays_of_rows(len(inputs), lambda: _key(preprocessor, inputs, kind), parts)


def arrays_of_rows(rows: int, key: Callable[[], str], parts: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays of some rows' tokens, put together: in memory, or from 100,000 rows on by `kept_arrays`.

    Args:
        rows: how many.
        key: gives a name that follows from all that the arrays follow from.
        parts: the arrays by name, some rows at a time.

    Returns:
        The arrays of all rows, behind each other.

    Raises:
        RunError: the cache cannot be written.
    """
    if rows >= CACHED_FROM:
        return kept_arrays("tokens", key(), parts, f"tokens of {rows:,} rows")
    found = list(parts)
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def kept_arrays(kind: str, key: str, parts: Iterable[dict[str, np.ndarray]], described: str) -> dict[str, np.ndarray]:
    """Flat arrays from the cache on disk, written there where they are not yet. What was not used for 30 days goes.

    Args:
        kind: the folder in the cache.
        key: a name that follows from all that the arrays follow from.
        parts: the arrays by name, some entries at a time; not asked for where they are in the cache.
        described: what they are, for messages.

    Returns:
        The arrays, as maps of their files.

    Raises:
        RunError: the cache cannot be written.
    """
    folder = cache_dir() / kind / key
    arrays = _read(folder)
    if arrays:
        log(f"The {described} are in the cache")
        return arrays
    try:
        _forget_unused(folder.parent)
        with contextlib.ExitStack() as stack:
            try:
                aside = stack.enter_context(atomic_write(folder))
            except RunError:
                # A read-only cache. The maps outlive the names of their files.
                aside = Path(stack.enter_context(temporary_folder())) / "arrays"
                _write(aside, parts)
                return _read(aside)
            _write(aside, parts)
            # Whatever stands there is damaged, or was written by another process in the meantime.
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise RunError(
            f"{folder.parent}: the {described} cannot be written ({error.strerror});"
            " make room there, or name another folder in $TFHUB_FT_CACHE"
        ) from None
    return _read(folder)


def _shown(parts: Iterable[Any], rows: int) -> Iterator[Any]:
    """The parts that are made of rows, while it is shown how many of these are done."""
    with progress(f"Tokens of {rows:,} rows", rows, "rows") as advance:
        for start, part in zip(range(0, rows, ROWS_AT_ONCE), parts):
            yield part
            advance(min(ROWS_AT_ONCE, rows - start))


def in_parallel(function: Callable[[int], Any], items: Iterable[int], workers: int | None = None) -> Iterator[Any]:
    """What a function gives for each item, in order; only few results wait at any time.

    Args:
        function: takes an item.
        items: gone through once.
        workers: how many threads; as many as there are cores by default.
    """
    workers = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _key(preprocessor: Any, inputs: Sequence[Any], kind: str) -> str:
    """A number for the layer and the texts that follow from file, columns, split and settings."""
    import tensorflow_text

    layer = [_FORMAT, tensorflow_text.__version__, kind, preprocessor.digest(), len(inputs)]
    digest = hashlib.sha256(json.dumps(layer).encode())
    for row in inputs:
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def _write(folder: Path, parts: Iterable[dict[str, np.ndarray]]) -> None:
    folder.mkdir()
    types: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        files: dict[str, Any] = {}
        for part in parts:
            for name, array in part.items():
                if name not in files:
                    files[name] = stack.enter_context((folder / name).open("wb"))
                    types[name] = array.dtype.str
                files[name].write(np.ascontiguousarray(array).data)
    index = {name: {"dtype": dtype, "sha256": sha256_of(folder / name)} for name, dtype in types.items()}
    write_json(folder / _INDEX, index)


def _read(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of an entry of the cache, as maps of its files; nothing where it is not there, whole and sound."""
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        if any(sha256_of(folder / name) != entry["sha256"] for name, entry in index.items()):
            return {}
        # A cache may be read-only.
        with contextlib.suppress(OSError):
            os.utime(folder)
        return {name: _mapped(folder / name, entry["dtype"]) for name, entry in index.items()}
    except (OSError, ValueError, KeyError):
        return {}


def _mapped(path: Path, dtype: str) -> np.ndarray:
    # An empty file cannot be mapped.
    return np.asarray(np.memmap(path, dtype, "r")) if path.stat().st_size else np.empty(0, dtype)


def _forget_unused(folder: Path) -> None:
    for entry in folder.glob("*"):
        # Another process may have removed it.
        with contextlib.suppress(FileNotFoundError):
            if time.time() - entry.stat().st_mtime > UNUSED_DAYS * 86400:
                shutil.rmtree(entry, ignore_errors=True)
