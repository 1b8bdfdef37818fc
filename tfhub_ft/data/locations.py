"""The files of a run's rows: named as given and relative to the run folder, and recognized by their content."""

import glob
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import is_pattern, matching_files, sha256_of


def location_of(name: Path, folder: Path | None = None) -> dict[str, Any]:
    """What splits.json records of a file, or of the files that fit a pattern: lists where they are several.

    Args:
        name: the file or the pattern, as given.
        folder: the run folder.

    Returns:
        {"file": as given, "sha256"}, and with a folder {"relative": the name from there, "bytes"}, too.
    """
    files = matching_files(name)
    location = {"file": str(name), "sha256": _each(sha256_of, files)}
    if folder is None:
        return location
    return {**location, "relative": relative_name(name, folder), "bytes": _each(os.path.getsize, files)}


def relative_name(name: Path, folder: Path) -> str:
    """The name of a file, a folder or a pattern relative to another folder; links on the way to both are followed."""
    start = os.path.realpath(folder)
    if is_pattern(name):
        return os.path.relpath(os.path.join(glob.escape(os.path.realpath(".")), name), glob.escape(start))
    return os.path.relpath(os.path.join(os.path.realpath(name.parent), name.name), start)


def content_fault(name: Path, recorded: Mapping[str, Any]) -> str | None:
    """What is wrong with a file or a pattern as the one that an entry of splits.json records; None where it is that."""
    if name.is_dir():
        return "is a folder"
    try:
        files = matching_files(name)
    except InputError:
        return "is missing"
    if not all(file.is_file() for file in files):
        return "is missing"
    try:
        # Files of other sizes need not be read. Runs of version 0.1 do not record the sizes.
        same = recorded.get("bytes") in (None, _each(os.path.getsize, files))
        return None if same and _each(sha256_of, files) == recorded["sha256"] else "has changed"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def find_rows(
    given: Path, relative: str | None, folder: Path, fault: Callable[[Path], str | None]
) -> tuple[Path | None, list[str]]:
    """Find the rows of a run again: under the name that was given, otherwise relative to the run folder.

    Args:
        given: as given, from the current folder.
        relative: relative to the run folder; None of runs that do not record it.
        folder: the run folder.
        fault: returns what is wrong with a candidate, None where it is the right one.

    Returns:
        The first candidate that is right, and what is wrong with those before it.
    """
    candidates, faults = [given], []
    if relative is not None:
        start = os.path.realpath(folder)
        # Characters of a pattern in the run folder's own name are none of the pattern's.
        start = glob.escape(start) if is_pattern(os.path.join(start, relative)) and glob.has_magic(relative) else start
        named = os.path.normpath(os.path.join(start, relative))
        if os.path.abspath(given) != named:
            candidates.append(Path(named))
    for candidate in candidates:
        wrong = fault(candidate)
        if wrong is None:
            return candidate, faults
        faults.append(f"{candidate} {wrong}")
    return None, faults


def _each(function: Callable[[Path], Any], files: list[Path]) -> Any:
    """What a function returns for the only file, or a list of what it returns for each of several."""
    values = [function(file) for file in files]
    return values if len(values) > 1 else values[0]
