"""Join tables with a word and its tag per row into sentences."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from tfhub_ft.data.columns import is_missing
from tfhub_ft.data.formats.source import Record, Source

WORDS, TAGS = ("word", "token"), ("tag", "ner", "ner_tag", "label")
SENTENCES = ("sentence #", "sentence_id", "sentence_idx", "sent_id", "sentence")


def join_words(source: Source, *, tokens_column: str | None = None, tags_column: str | None = None) -> Source:
    """Return a table of words as a table of sentences with their tokens and tags; other sources unchanged.

    Consecutive rows with an equal value in the column of sentences are a sentence; an empty value repeats the one
    before.
    """
    names = source.names
    if names is None:
        names = next((list(record.values) for record in source.records() if record.values is not None), [])
    word = _find(names, (tokens_column,) if tokens_column else WORDS)
    tag = _find(names, (tags_column,) if tags_column else TAGS)
    # Lists of tokens may be next to their "sentence".
    sentence = _find(names, SENTENCES[:-1] if tokens_column or tags_column else SENTENCES)
    if word is None or tag is None or sentence is None:
        return source
    names = [tokens_column or "tokens", tags_column or "tags"]
    return replace(source, records=partial(_sentences, source, (word, tag), sentence, names), names=names)


def _find(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    by_key = {name.strip().casefold(): name for name in reversed(names)}
    return next((by_key[each.casefold()] for each in wanted if each.casefold() in by_key), None)


def _sentences(source: Source, columns: tuple[str, str], sentence: str, names: Sequence[str]) -> Iterator[Record]:
    current: object = None

    def sentence_of(record: Record) -> object:
        nonlocal current
        value = None if record.values is None else record.values.get(sentence)
        current = current if is_missing(value) else value
        return current

    for _, group in itertools.groupby(source.records(), key=sentence_of):
        records = list(group)
        fault = next((fault for record in records if (fault := _fault(source, record, columns))), None)
        values = None
        if not fault:
            rows = [record.values or {} for record in records]
            values = {
                name: [str(row[column]).strip() for row in rows] for name, column in zip(names, columns, strict=True)
            }
        yield Record(records[0].number, values, fault)


def _fault(source: Source, record: Record, columns: Sequence[str]) -> str | None:
    """Return what is wrong with a row."""
    if record.values is None:
        return record.fault
    missing = next((name for name in columns if is_missing(record.values.get(name))), None)
    return f"column {missing!r} is empty in {source.place_of(record.number)}" if missing else None
