"""Record where the data files of a run are, and find them."""

import glob
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import is_pattern, matching_files, sha256_of

# The entry of splits.json for a split: the location of its file, the number of rows and, unless they are all, which.
SplitEntry = dict[str, Any]
T = TypeVar("T")


def location_of(name: Path, folder: Path | None = None) -> SplitEntry:
    """Return the entry of splits.json for a file, or for the files of a pattern, whose values are then lists.

    The entry is {"file": as given, "sha256"}, and with a run folder also {"relative": the path from there, "bytes"}.
    """
    files = matching_files(name)
    location = {"file": str(name), "sha256": _each(sha256_of, files)}
    if folder is None:
        return location
    return {**location, "relative": relative_name(name, folder), "bytes": _each(os.path.getsize, files)}


def relative_name(name: Path, folder: Path) -> str:
    """Return the path of a file, a folder or a pattern relative to another folder, after resolving links."""
    start = os.path.realpath(folder)
    if is_pattern(name):
        return os.path.relpath(os.path.join(glob.escape(os.path.realpath(".")), name), glob.escape(start))
    return os.path.relpath(os.path.join(os.path.realpath(name.parent), name.name), start)


def content_fault(name: Path, recorded: SplitEntry) -> str | None:
    """Return how a file or a pattern differs from the entry of splits.json; None if it is the same."""
    if name.is_dir():
        return "is a folder"
    try:
        files = matching_files(name)
    except InputError:
        return "is missing"
    if not all(file.is_file() for file in files):
        return "is missing"
    try:
        # Files of another size need not be read. Runs of version 0.1 do not record sizes.
        same = recorded.get("bytes") in (None, _each(os.path.getsize, files))
        return None if same and _each(sha256_of, files) == recorded["sha256"] else "has changed"
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


def _each(function: Callable[[Path], T], files: list[Path]) -> T | list[T]:
    """Return the result for a single file, or a list of the results for several."""
    values = [function(file) for file in files]
    return values if len(values) > 1 else values[0]
