"""jsonl files: a JSON object a line."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tfhub_ft.data.columns import Column, kind_of
from tfhub_ft.data.formats.lines import is_blank, read_lines
from tfhub_ft.data.formats.source import Record, Source


def open_jsonl(path: Path, columns: Sequence[Column]) -> Source:
    """A jsonl file. The first object that has every column settles the keys that are read."""
    return Source(path, partial(_records, path))


def _records(path: Path) -> Iterator[Record]:
    for number, text, fault in read_lines(path):
        if not is_blank(text):
            yield number, *((None, fault) if fault else _parsed_object(text))


def _parsed_object(text: str) -> tuple[dict | None, str | None]:
    """The object of a json line, or what is wrong with the line."""
    try:
        value = json.loads(text.rstrip("\r\n"))
    except json.JSONDecodeError as error:
        return None, f"is not valid JSON at column {error.colno} ({error.msg}); is the line cut off?"
    except (ValueError, RecursionError) as error:
        return None, f"is JSON that cannot be read ({error})"
    return (value, None) if isinstance(value, dict) else (None, f"is {kind_of(value)}, not a JSON object")
