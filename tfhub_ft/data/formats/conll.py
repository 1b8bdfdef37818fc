"""Read CoNLL files, which have a token and its tag per line."""

import itertools
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.lines import Line, is_blank, read_lines
from tfhub_ft.data.formats.source import ReadOptions, Record, Source
from tfhub_ft.utils.errors import InputError

_COMMENT = re.compile(r"#\s")
# In CoNLL-U the range of a multiword token, or an empty node.
_NO_TOKEN = re.compile(r"\d+(-|\.)\d+")
_TAG = re.compile("O|[BIMELSU]-(.+)")
# Syntactic chunks, whose tags precede those of entities in CoNLL-2003.
_CHUNKS = {"NP", "VP", "PP"}


@dataclass(frozen=True)
class _Layout:
    """The columns of tokens and tags, and whether tokens are numbered, with comments between them."""

    token: int = 0
    tag: int = -1
    numbered: bool = False
    notes: tuple[str, ...] = ()

    def is_skipped(self, text: str) -> bool:
        return text.startswith("-DOCSTART-") or (self.numbered and _is_unnumbered(text))


def open_conll(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """Open a CoNLL file, whose rows have the columns `tokens` and `tags`: the first and the last column of its lines.

    If the first column numbers the tokens of each sentence, as in GermEval 2014 and CoNLL-U, the tokens are in the
    second column and the tags in the first one that has tags.

    Reference:
        https://universaldependencies.org/format.html
    """
    layout = _detect_layout(path, options)
    return Source(path, partial(_records, path, options, layout), notes=layout.notes)


def _records(path: Path, options: ReadOptions, layout: _Layout) -> Iterator[Record]:
    lines = (line for line in read_lines(path, options) if not layout.is_skipped(line.text))
    width = max(3 if layout.numbered else 2, layout.tag + 1)
    for blank, group in itertools.groupby(lines, key=lambda line: is_blank(line.text)):
        if blank:
            continue
        sentence = list(group)
        fields = [_fields(line.text) for line in sentence]
        short = next((line for line, each in zip(sentence, fields) if len(each) < width), None)
        fault = next((line.fault for line in sentence if line.fault), None)
        if short is not None:
            yield Record(short.number, None, "the tag is missing after the token")
        elif fault:
            yield Record(sentence[0].number, None, fault)
        else:
            tokens, tags = ([each[column] for each in fields] for column in (layout.token, layout.tag))
            yield Record(sentence[0].number, {"tokens": tokens, "tags": tags})


def _fields(text: str) -> list[str]:
    return text.rstrip("\r\n").split("\t" if "\t" in text else None)


def _is_unnumbered(text: str) -> bool:
    """Return whether a line of a file with numbered tokens is a comment, a multiword token or an empty node."""
    fields = _fields(text)
    return bool(_COMMENT.match(text) or (fields and _NO_TOKEN.fullmatch(fields[0])))


def _detect_layout(path: Path, options: ReadOptions) -> _Layout:
    """Return the layout of a file, reading up to the first token that is not numbered."""
    longest, widths, tags, kinds = 0, Counter(), Counter(), defaultdict(set)
    for count, fields in _numbered_tokens(read_lines(path, options)):
        if not count:
            return _Layout()
        longest, width = max(longest, count), len(fields)
        widths[width] += 1
        for column, field in enumerate(fields[2:], 2):
            if tag := _TAG.fullmatch(field.strip()):
                tags[width, column] += 1
                kinds[width, column] |= {tag[1]} - {None}
    width = max(widths, key=widths.__getitem__, default=0)
    if longest < 2 or width < 3:
        return _Layout()
    notes = ["column 1 counts the tokens of each sentence: tokens are read from column 2"]
    # A column with a few wrong tags is still the column of tags; its rows are bad.
    kinds_by_column = {
        column: kinds[width, column] for column in range(2, width) if tags[width, column] > widths[width] / 2
    }
    tag_column = next(iter(kinds_by_column), -1)
    if len(kinds_by_column) > 1:
        _check_outer_level(path, kinds_by_column)
        notes.append(f"columns {_join_columns(kinds_by_column)} hold tags: those of column {tag_column + 1} are read")
    elif tag_column not in (-1, width - 1):
        notes.append(f"tags are read from column {tag_column + 1}")
    return _Layout(1, tag_column, numbered=True, notes=tuple(notes))


def _numbered_tokens(lines: Iterator[Line]) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the fields of each token; the number is 0 if the tokens are not numbered."""
    count = 0
    for line in lines:
        if is_blank(line.text):
            count = 0
        elif not (line.text.startswith("-DOCSTART-") or _is_unnumbered(line.text)):
            fields = _fields(line.text)
            count = count + 1 if fields[:1] == [str(count + 1)] else 0
            yield count, fields


def _check_outer_level(path: Path, kinds: dict[int, set[str]]) -> None:
    """Raise an InputError unless the first column of tags is the outer level of entities, as in GermEval."""
    first, *others = kinds
    if kinds[first] & _CHUNKS or not kinds[first] and any(kinds[column] for column in others):
        code = f'!NF {{print ""}} $1 ~ /^[0-9]+$/ {{print $2 "\\t" ${others[-1] + 1}}}'
        table = path.with_name(f"{path.stem}-tags.conll")
        raise InputError(
            f"{path}: columns {_join_columns(kinds)} hold tags; write the tokens and one of these columns to a file,"
            f" such as by awk {shlex.quote(code)} {shlex.quote(str(path))} > {shlex.quote(str(table))}, and pass that"
        )


def _join_columns(columns: Iterable[int]) -> str:
    *others, last = (str(column + 1) for column in columns)
    return f"{', '.join(others)} and {last}"
