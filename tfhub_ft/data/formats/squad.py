"""json files: SQuAD's questions about passages, which are read into memory as a whole, or rows."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tfhub_ft.data.columns import Column, kind_of
from tfhub_ft.data.formats.jsonl import first_text, open_jsonl
from tfhub_ft.data.formats.lines import read_lines
from tfhub_ft.data.formats.source import ReadOptions, Record, Source
from tfhub_ft.utils.errors import InputError


def open_json(path: Path, columns: Sequence[Column], options: ReadOptions) -> Source:
    """A json file: SQuAD 1 or 2, where a row is a question with the columns `question`, `context` and `answers`; a list
    of objects, alone or as the `data` of an object; or, as in a jsonl file, an object a line."""
    first = first_text(path, options)
    try:
        content = None if first.startswith("[") else json.loads(first)
    except (ValueError, RecursionError):
        content = _content(path, options)
    if content is None or _is_row(content):
        return open_jsonl(path, columns, options)
    if _is_row_list(content):
        return Source(path, lambda: ((number, row, None) for number, row in enumerate(content["data"], 1)), unit="row")
    return Source(path, partial(_questions, path, content), unit="question")


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and "data" not in value and not _is_by_column(value)


def _is_by_column(value: Any) -> bool:
    """Whether an object has a column under each name, as DataFrame.to_json writes it by default."""
    return isinstance(value, dict) and len(value) > 1 and all(isinstance(each, dict) for each in value.values())


def _is_row_list(content: Any) -> bool:
    rows = content.get("data") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        return False
    return all(isinstance(row, dict) and "paragraphs" not in row for row in rows)


def _content(path: Path, options: ReadOptions) -> Any:
    """What a file holds; None where that is several values."""
    try:
        return json.loads("".join(line.text for line in read_lines(path, options)))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return None
        message = f"is not valid JSON ({error.msg}); is the file cut off?"
        raise InputError(f"{path}, line {error.lineno}: {message}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is JSON that cannot be read ({error})") from None


def _questions(path: Path, content: Any) -> Iterator[Record]:
    """The questions of a SQuAD file, counted from 1 over the whole file."""
    try:
        paragraphs = [paragraph for article in content["data"] for paragraph in article["paragraphs"]]
        questions = [(paragraph.get("context"), question) for paragraph in paragraphs for question in paragraph["qas"]]
    except (KeyError, TypeError, AttributeError):
        advice = "write it with DataFrame.to_json(path, orient='records')" if _is_by_column(content) else ""
        raise InputError(
            f'{path}: is neither a SQuAD file, {{"data": [{{"paragraphs": [{{"context": ..., "qas": [...]}}]}}]}}, nor'
            f" a list of objects; {advice or 'write a list of objects, one for each row'}"
        ) from None
    for number, (context, question) in enumerate(questions, 1):
        if not isinstance(question, dict):
            yield number, None, f"is {kind_of(question)}, not a JSON object"
            continue
        answers = [] if question.get("is_impossible") else question.get("answers")
        if answers == [] and not question.get("is_impossible"):
            answers = None
        yield number, {"question": question.get("question"), "context": context, "answers": answers}, None
