"""CoNLL files: a token and its tag a line, a blank line between sentences."""

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.lines import is_blank, read_lines
from tfhub_ft.data.formats.source import ReadOptions, Record, Source


def open_conll(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """A CoNLL file: a row has the columns `tokens` and `tags`, the first and the last column of its lines."""
    return Source(path, partial(_records, path, options))


def _records(path: Path, options: ReadOptions) -> Iterator[Record]:
    lines = (line for line in read_lines(path, options) if not line.text.startswith("-DOCSTART-"))
    for blank, group in itertools.groupby(lines, key=lambda line: is_blank(line.text)):
        if blank:
            continue
        sentence = list(group)
        fields = [line.text.rstrip("\r\n").split("\t" if "\t" in line.text else None) for line in sentence]
        short = next((i for i, each in enumerate(fields) if len(each) < 2), None)
        fault = next((line.fault for line in sentence if line.fault), None)
        if short is not None:
            yield sentence[short].number, None, "the tag is missing after the token"
            continue
        row = {"tokens": [each[0] for each in fields], "tags": [each[-1] for each in fields]}
        yield sentence[0].number, *((None, fault) if fault else (row, None))
