"""CoNLL files: a token and its tag a line, a blank line between sentences."""

import itertools
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.lines import Line, is_blank, read_lines
from tfhub_ft.data.formats.source import ReadOptions, Record, Source
from tfhub_ft.utils.errors import InputError

_COMMENT = re.compile(r"#\s")
# What CoNLL-U numbers besides tokens: the range of a multiword token, and an empty node.
_NO_TOKEN = re.compile(r"\d+(-|\.)\d+")
_TAG = re.compile("O|[BIMELSU]-(.+)")
# Kinds of syntactic chunks, which the tags before those of entities have in CoNLL-2003.
_CHUNKS = {"NP", "VP", "PP"}


@dataclass(frozen=True)
class _Layout:
    """Which columns of a CoNLL file are read, counted from 0.

    Args:
        token: the column of tokens.
        tag: the column of tags.
        numbered: whether the tokens of a sentence are numbered, and comments may be between them.
        notes: how that differs from the usual layout.
    """

    token: int = 0
    tag: int = -1
    numbered: bool = False
    notes: tuple[str, ...] = ()

    def is_skipped(self, text: str) -> bool:
        """Whether a line is without a token."""
        return text.startswith("-DOCSTART-") or (self.numbered and _is_unnumbered(text))


def open_conll(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """A CoNLL file: a row has the columns `tokens` and `tags`, the first and the last column of its lines.

    Where the first column counts the tokens of every sentence, as in GermEval 2014 and CoNLL-U, the second one has the
    tokens, and the first one that holds tags has the tags.

    Raises:
        InputError: nobody can tell which of several columns has the tags.

    Reference:
        https://universaldependencies.org/format.html
    """
    layout = _layout(path, options)
    return Source(path, partial(_records, path, options, layout), notes=layout.notes)


def _records(path: Path, options: ReadOptions, layout: _Layout) -> Iterator[Record]:
    lines = (line for line in read_lines(path, options) if not layout.is_skipped(line.text))
    least = 3 if layout.numbered else 2
    for blank, group in itertools.groupby(lines, key=lambda line: is_blank(line.text)):
        if blank:
            continue
        sentence = list(group)
        fields = [_fields(line.text) for line in sentence]
        short = next((i for i, each in enumerate(fields) if len(each) < max(least, layout.tag + 1)), None)
        fault = next((line.fault for line in sentence if line.fault), None)
        if short is not None:
            yield sentence[short].number, None, "the tag is missing after the token"
            continue
        row = {"tokens": [each[layout.token] for each in fields], "tags": [each[layout.tag] for each in fields]}
        yield sentence[0].number, *((None, fault) if fault else (row, None))


def _fields(text: str) -> list[str]:
    return text.rstrip("\r\n").split("\t" if "\t" in text else None)


def _is_unnumbered(text: str) -> bool:
    """Whether a line of a file with numbered tokens is a comment, a multiword token or an empty node."""
    fields = _fields(text)
    return bool(_COMMENT.match(text) or (fields and _NO_TOKEN.fullmatch(fields[0])))


def _layout(path: Path, options: ReadOptions) -> _Layout:
    """The layout of a file, which is read no further than to a token that is not numbered."""
    longest, widths, tags, kinds = 0, Counter(), Counter(), defaultdict(set)
    for count, fields in _numbered(read_lines(path, options)):
        if not count:
            return _Layout()
        longest, width = max(longest, count), len(fields)
        widths[width] += 1
        for place, field in enumerate(fields[2:], 2):
            if tag := _TAG.fullmatch(field.strip()):
                tags[width, place] += 1
                kinds[width, place] |= {tag[1]} - {None}
    width = max(widths, key=widths.__getitem__, default=0)
    if longest < 2 or width < 3:
        return _Layout()
    notes = ["column 1 counts the tokens of each sentence: tokens are read from column 2"]
    # A wrong tag is a bad row's, and does not make another column the one of the tags.
    levels = {place: kinds[width, place] for place in range(2, width) if tags[width, place] > widths[width] / 2}
    place = next(iter(levels), -1)
    if len(levels) > 1:
        _check_levels(path, levels)
        notes.append(f"columns {_listed(levels)} hold tags: those of column {place + 1} are read")
    elif place not in (-1, width - 1):
        notes.append(f"tags are read from column {place + 1}")
    return _Layout(1, place, numbered=True, notes=tuple(notes))


def _numbered(lines: Iterator[Line]) -> Iterator[tuple[int, list[str]]]:
    """The number and the fields of each token; the number is 0 where the tokens are not numbered."""
    count = 0
    for line in lines:
        if is_blank(line.text):
            count = 0
        elif not (line.text.startswith("-DOCSTART-") or _is_unnumbered(line.text)):
            fields = _fields(line.text)
            count = count + 1 if fields[:1] == [str(count + 1)] else 0
            yield count, fields


def _check_levels(path: Path, kinds: dict[int, set[str]]) -> None:
    """Check that the first of the columns that hold tags is the outer level of entities, as in GermEval.

    Raises:
        InputError: its tags may be others than those of entities.
    """
    first, *others = kinds
    if kinds[first] & _CHUNKS or not kinds[first] and any(kinds[place] for place in others):
        code = f'!NF {{print ""}} $1 ~ /^[0-9]+$/ {{print $2 "\\t" ${others[-1] + 1}}}'
        table = path.with_name(f"{path.stem}-tags.conll")
        raise InputError(
            f"{path}: columns {_listed(kinds)} hold tags; write the tokens and one of these columns to a file, such as"
            f" by awk {shlex.quote(code)} {shlex.quote(str(path))} > {shlex.quote(str(table))}, and name that"
        )


def _listed(places: Sequence[int]) -> str:
    *others, last = (str(place + 1) for place in places)
    return f"{', '.join(others)} and {last}"
