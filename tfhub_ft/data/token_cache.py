"""Make token arrays of rows in parallel, and cache them on disk."""

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
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tfhub_ft.utils.cache import cache_dir
from tfhub_ft.utils.console import log, progress
from tfhub_ft.utils.errors import RunError
from tfhub_ft.utils.files import atomic_write, sha256_of, temporary_folder, write_json

if TYPE_CHECKING:
    from tfhub_ft.encoders import HubPreprocessor

# The number of rows from which caching on disk pays.
CACHED_FROM = 100_000
ROWS_AT_ONCE = 1024
# Fewer rows are tokenized too quickly for a progress bar.
SHOWN_FROM = 20_000
UNUSED_DAYS = 30
_INDEX = "index.json"
# Increase it when the arrays of the same rows change.
_FORMAT = 2

# Flat arrays by name.
Arrays = dict[str, np.ndarray]
T = TypeVar("T")


def token_arrays(
    preprocessor: "HubPreprocessor", inputs: Sequence[object], make: Callable[[int, Any], Arrays], *, kind: str
) -> Arrays:
    """Return the concatenated arrays of all rows, made in parallel, some rows at a time.

    From 100,000 rows on, the arrays are memory-mapped files in the cache, which later calls with the same rows reuse.
    `make` takes the index of a row and some inputs from there on; `kind` is a name for it in the cache.
    """
    starts = range(0, len(inputs), ROWS_AT_ONCE)

    def part(start: int) -> Arrays:
        return make(start, inputs[start : start + ROWS_AT_ONCE])

    # Starting threads takes longer than tokenizing one text.
    parts = in_parallel(part, starts) if len(starts) > 1 else map(part, starts)
    if len(inputs) >= SHOWN_FROM:
        parts = _with_progress(parts, len(inputs))
    return arrays_of_rows(len(inputs), lambda: _key(preprocessor, inputs, kind), parts)


def arrays_of_rows(rows: int, key: Callable[[], str], parts: Iterable[Arrays]) -> Arrays:
    """Return the concatenated arrays of the tokens of rows, from 100,000 rows on by `cached_arrays`."""
    if rows >= CACHED_FROM:
        return cached_arrays("tokens", key(), parts, f"tokens of {rows:,} rows")
    arrays = list(parts)
    return {name: np.concatenate([part[name] for part in arrays]) for name in arrays[0]}


def cached_arrays(kind: str, key: str, parts: Iterable[Arrays], description: str) -> Arrays:
    """Return memory-mapped arrays from the folder `kind` of the cache; write them if there are none for the key.

    Entries that were unused for 30 days are removed.
    """
    folder = cache_dir() / kind / key
    arrays = _read(folder)
    if arrays:
        log(f"The {description} are in the cache")
        return arrays
    try:
        _remove_unused(folder.parent)
        with contextlib.ExitStack() as stack:
            try:
                temporary = stack.enter_context(atomic_write(folder))
            except RunError:
                # The cache is read-only. The mapped files outlive their names.
                temporary = Path(stack.enter_context(temporary_folder())) / "arrays"
                _write(temporary, parts)
                return _read(temporary)
            _write(temporary, parts)
            # An existing folder is damaged, or was written by another process in the meantime.
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise RunError(
            f"{folder.parent}: the {description} cannot be written ({error.strerror}); free disk space, or set"
            " $TFHUB_FT_CACHE to another folder"
        ) from None
    return _read(folder)


def _with_progress(parts: Iterable[T], rows: int) -> Iterator[T]:
    with progress(f"Tokens of {rows:,} rows", rows, "rows") as advance:
        for start, part in zip(range(0, rows, ROWS_AT_ONCE), parts):
            yield part
            advance(min(ROWS_AT_ONCE, rows - start))


def in_parallel(function: Callable[[int], T], items: Iterable[int], workers: int | None = None) -> Iterator[T]:
    """Yield the results of a function in order, computed by threads, by default one per core; few results wait."""
    workers = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        futures: deque = deque()
        for item in items:
            futures.append(pool.submit(function, item))
            if len(futures) > 2 * workers:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()


def _key(preprocessor: "HubPreprocessor", inputs: Sequence[object], kind: str) -> str:
    """Return the digest of a preprocessor and the inputs."""
    import tensorflow_text

    layer = [_FORMAT, tensorflow_text.__version__, kind, preprocessor.digest(), len(inputs)]
    digest = hashlib.sha256(json.dumps(layer).encode())
    for row in inputs:
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def _write(folder: Path, parts: Iterable[Arrays]) -> None:
    folder.mkdir()
    dtypes: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        files = {}
        for part in parts:
            for name, array in part.items():
                if name not in files:
                    files[name] = stack.enter_context((folder / name).open("wb"))
                    dtypes[name] = array.dtype.str
                files[name].write(np.ascontiguousarray(array).data)
    index = {name: {"dtype": dtype, "sha256": sha256_of(folder / name)} for name, dtype in dtypes.items()}
    write_json(folder / _INDEX, index)


def _read(folder: Path) -> Arrays:
    """Return the memory-mapped arrays of an entry of the cache; {} if it is missing or damaged."""
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        if any(sha256_of(folder / name) != entry["sha256"] for name, entry in index.items()):
            return {}
        # The cache may be read-only.
        with contextlib.suppress(OSError):
            os.utime(folder)
        return {name: _map_file(folder / name, entry["dtype"]) for name, entry in index.items()}
    except (OSError, ValueError, KeyError):
        return {}


def _map_file(path: Path, dtype: str) -> np.ndarray:
    # An empty file cannot be mapped.
    return np.asarray(np.memmap(path, dtype, "r")) if path.stat().st_size else np.empty(0, dtype)


def _remove_unused(folder: Path) -> None:
    for entry in folder.glob("*"):
        # Another process may have removed it.
        with contextlib.suppress(FileNotFoundError):
            if time.time() - entry.stat().st_mtime > UNUSED_DAYS * 86400:
                shutil.rmtree(entry, ignore_errors=True)
