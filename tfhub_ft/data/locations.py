"""Record where the data files of a run are, and find them."""

import glob
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tfhub_ft.data.formats.folder import TextFiles
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import is_pattern, matching_files, sha256_of
from tfhub_ft.utils.remote import is_remote

# The entry of splits.json for a split: the location of its file, the number of rows and, unless they are all, which.
SplitEntry = dict[str, Any]
T = TypeVar("T")


def location_of(name: Path, folder: Path | None = None) -> SplitEntry:
    """Return the entry of splits.json for a file, or for the files of a pattern, whose values are then lists.

    The entry is {"file": as given, "sha256"}, and with a run folder also {"relative": the path from there, "bytes"}.
    The entry of a remote file lacks "relative".
    """
    files = matching_files(name)
    location = {"file": str(name), "sha256": _each(_sha256_of_rows, files)}
    if folder is None:
        return location
    location["bytes"] = _each(_bytes_of_rows, files)
    return location if is_remote(name) else {**location, "relative": relative_name(name, folder)}


def relative_name(name: Path, folder: Path) -> str:
    """Return the path of a file, a folder or a pattern relative to another folder, after resolving links."""
    start = os.path.realpath(folder)
    if is_pattern(name):
        return os.path.relpath(os.path.join(glob.escape(os.path.realpath(".")), name), glob.escape(start))
    return os.path.relpath(os.path.join(os.path.realpath(name.parent), name.name), start)


def content_fault(name: Path, recorded: SplitEntry) -> str | None:
    """Return how a file or a pattern differs from the entry of splits.json; None if it is the same."""
    try:
        files = matching_files(name)
    except InputError as error:
        return f"cannot be read ({str(error).removeprefix(f'{name}: ')})" if is_remote(name) else "is missing"
    try:
        if any(file.is_dir() and not TextFiles.find(file).names for file in files):
            return "is a folder"
        if not all(file.exists() for file in files):
            return "is missing"
        # Files of another size need not be read. Runs of version 0.1 do not record sizes.
        same = recorded.get("bytes") in (None, _each(_bytes_of_rows, files))
        return None if same and _each(_sha256_of_rows, files) == recorded["sha256"] else "has changed"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def find_rows(
    path: Path, relative: str | None, folder: Path, fault_of: Callable[[Path], str | None]
) -> tuple[Path | None, list[str]]:
    """Find the data of a run by its path or by its path relative to the run folder, which old runs do not record.

    Returns:
        The first candidate for which `fault_of` returns None, and the faults of those before it.
    """
    candidates, faults = [path], []
    if relative is not None:
        start = os.path.realpath(folder)
        # Wildcards in the name of the run folder are not part of the pattern.
        start = glob.escape(start) if is_pattern(os.path.join(start, relative)) and glob.has_magic(relative) else start
        located = os.path.normpath(os.path.join(start, relative))
        if os.path.abspath(path) != located:
            candidates.append(Path(located))
    for candidate in candidates:
        fault = fault_of(candidate)
        if fault is None:
            return candidate, faults
        faults.append(f"{candidate} {fault}")
    return None, faults


def _sha256_of_rows(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and the contents of the txt files of a folder."""
    if not path.is_dir():
        return sha256_of(path)
    digests = (f"{sha256_of(path / name)}  {name}\n" for name in TextFiles.find(path).names)
    return hashlib.sha256("".join(digests).encode(errors="surrogateescape")).hexdigest()


def _bytes_of_rows(path: Path) -> int:
    files = [path / name for name in TextFiles.find(path).names] if path.is_dir() else [path]
    return sum(map(os.path.getsize, files))


def _each(function: Callable[[Path], T], files: list[Path]) -> T | list[T]:
    """Return the result for a single file, or a list of the results for several."""
    values = [function(file) for file in files]
    return values if len(values) > 1 else values[0]
