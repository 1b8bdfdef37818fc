"""Files that are whole or not there: written aside, then renamed into place."""

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def written_aside(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a path beside `path` to write a file or a folder to; rename it to `path` on success, remove it on failure.

    Args:
        path: where the file or folder shall stand. A file that stands there is replaced; a folder is not.

    Yields:
        A path that does not exist yet, on the same file system.

    Example:
        with written_aside("metrics.json") as aside:
            aside.write_text("{}")
    """
    path = Path(path)
    made = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.parent / f".{uuid.uuid4().hex[:8]}.{path.name}"
    try:
        yield aside
        os.replace(aside, path)
    finally:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)
        for parent in made:
            # Only folders that are empty, because nothing came of what was written, can be removed.
            with contextlib.suppress(OSError):
                parent.rmdir()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write an indented JSON file, whole or not at all."""
    with written_aside(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def sha256_of(path: str | os.PathLike) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def folder_bytes(path: str | os.PathLike) -> int:
    """The bytes of a file, or of all files under a folder."""
    path = Path(path)
    return path.stat().st_size if path.is_file() else sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
