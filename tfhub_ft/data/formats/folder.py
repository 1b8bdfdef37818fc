"""Read folders of txt files, a text per file, which may be in a folder for each label."""

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tfhub_ft.data.columns import Column, has_columns
from tfhub_ft.data.formats.lines import read_lines
from tfhub_ft.data.formats.source import ReadOptions, Record, Source
from tfhub_ft.data.formats.unreadable import folder_advice
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import contents, is_leftover

TEXT, LABEL, FILE = "text", "label", "file"
# Folders of texts without a label, as in the reviews of aclImdb.
UNLABELED = ("unsup", "unlabeled")
# Folders of a data set that is already split, and the options for their rows.
_SPLITS = {
    "train": "--train",
    **dict.fromkeys(("validation", "valid", "val", "dev"), "--validation"),
    "test": "--test",
}
# Longer than any text.
_MOST_CHARACTERS = 2**22


@dataclass(frozen=True)
class TextFiles:
    """The txt files of a folder.

    Args:
        names: Their paths in the folder, in the order in which they are read.
        labeled: Whether the first part of a path is the label of the text.
        ignored: The paths of other files and folders.
    """

    names: list[str]
    labeled: bool
    ignored: list[str]

    @classmethod
    def find(cls, folder: Path) -> "TextFiles":
        """Find the files as `keras.utils.text_dataset_from_directory` does, without hidden ones and without UNLABELED.

        If the folder has subfolders with txt files, each of these is a label; otherwise its own files are the texts.
        They are in the order of their names, with numbers by value: texts that were numbered keep their order.

        Reference:
            https://keras.io/api/data_loading/text/
        """
        names = contents(folder)
        folders = [name for name in names if (folder / name).is_dir()]
        loose = [name for name in names if name not in folders]
        texts_by_folder = {name: [*_walk(folder, name)] for name in folders}
        labels = [name for name in folders if any(map(_is_text, texts_by_folder[name]))]
        if len(labels) > 1:
            labels = [name for name in labels if name not in UNLABELED]
        if not labels:
            others = [name for name in loose if not _is_text(name)]
            return cls(sorted(filter(_is_text, loose), key=_order), False, [*others, *folders])
        unused = [name for name in folders if name not in labels]
        found = [name for label in labels for name in texts_by_folder[label]]
        others = [name for name in found if not _is_text(name)]
        texts = sorted(filter(_is_text, found), key=lambda name: _order(os.path.relpath(name, Path(name).parts[0])))
        return cls(texts, True, [*unused, *loose, *others])


def _walk(folder: Path, label: str) -> Iterator[str]:
    for place, _, names in sorted(os.walk(folder / label)):
        start = os.path.relpath(place, folder)
        yield from (os.path.join(start, name) for name in sorted(names) if not is_leftover(name))


def _order(name: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", name)]


def _is_text(name: str) -> bool:
    return name.lower().endswith(".txt")


def open_folder(path: Path, columns: Sequence[Column], options: ReadOptions, suffixes: Sequence[str]) -> Source:
    """Open a folder of txt files, whose rows have the columns `text`, `file` and, if it has folders of labels, `label`.

    `suffixes` are those of the formats that the advice for other folders names.
    """
    files = TextFiles.find(path)
    if not files.names or {column.name for column in columns} == {"tokens", "tags"}:
        raise InputError(f"{path}: {folder_advice(path, suffixes)}")
    if parts := _parts(files):
        advice = " ".join(f"{_SPLITS[part]} {shlex.quote(str(path / part))}" for part in parts)
        raise InputError(f"{path}: has the folders of labels in {' and '.join(parts)}; pass {advice}")
    names = [TEXT, *[LABEL] * files.labeled, FILE]
    if not files.labeled and not has_columns(names, columns) and has_columns([*names, LABEL], columns):
        raise InputError(
            f"{path}: has texts without labels; move each file into a folder that is named after its label, such as"
            f" {path / 'positive' / files.names[0]}"
        )
    records = partial(_records, path, files, options)
    return Source(path, records, names, notes=_notes(files), place=lambda number: files.names[number - 1])


def _parts(files: TextFiles) -> list[str]:
    """Return the subfolders of a folder that holds training and test rows, each with folders of labels."""
    if not files.labeled:
        return []
    depths: dict[str, int] = {}
    for name in files.names:
        part, *rest = Path(name).parts
        depths[part] = max(depths.get(part, 0), len(rest))
    is_split = "train" in depths and all(part in _SPLITS and depth > 1 for part, depth in depths.items())
    return [part for part in _SPLITS if part in depths] if is_split else []


def _notes(files: TextFiles) -> tuple[str, ...]:
    notes = ["labels are the names of its folders"] if files.labeled else []
    if unlabeled := [name for name in files.ignored if name in UNLABELED]:
        notes.append(
            f"the folder {unlabeled[0]} is ignored, because its texts are unlabeled; rename it if it is a label"
        )
    if others := [name for name in files.ignored if name not in UNLABELED]:
        where = "in folders of labels " if files.labeled else ""
        notes.append(f"{', '.join(others[:3])}{' ...' * (len(others) > 3)} ignored; only .txt files {where}are read")
    return tuple(notes)


def _records(path: Path, files: TextFiles, options: ReadOptions) -> Iterator[Record]:
    for number, name in enumerate(files.names, 1):
        text, fault = _read(path / name, options)
        values = {TEXT: text, **({LABEL: Path(name).parts[0]} if files.labeled else {}), FILE: Path(name).as_posix()}
        yield Record(number, None if fault else values, fault)


def _read(file: Path, options: ReadOptions) -> tuple[str, str | None]:
    """Return the text of a file, and what is wrong with it."""
    parts, size = [], 0
    try:
        for line in read_lines(file, options):
            if line.fault:
                return "", f"line {line.number}: {line.fault}"
            parts.append(line.text)
            size += len(line.text)
            if size > _MOST_CHARACTERS:
                return "", f"has more than {_MOST_CHARACTERS:,} characters"
    except InputError as error:
        return "", str(error).removeprefix(f"{file}: ")
    return "".join(parts).rstrip("\r\n"), None
