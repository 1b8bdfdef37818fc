"""Read json files, which contain SQuAD or rows."""

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
    """Open a json file of SQuAD 1 or 2, a list of objects (also as the `data` of an object), or an object per line.

    A row of SQuAD is a question with the columns `question`, `context` and `answers`.
    """
    first = first_text(path, options)
    try:
        content = None if first.startswith("[") else json.loads(first)
    except (ValueError, RecursionError):
        content = _content(path, options)
    if content is None or (isinstance(content, dict) and "data" not in content and not _is_by_column(content)):
        return open_jsonl(path, columns, options)
    if _is_row_list(content):
        return Source(path, lambda: (Record(*row) for row in enumerate(content["data"], 1)), unit="row")
    return Source(path, partial(_questions, path, content), unit="question")


def _is_by_column(content: object) -> bool:
    """Return whether an object has a dictionary for each column, as DataFrame.to_json writes by default."""
    return isinstance(content, dict) and len(content) > 1 and all(isinstance(each, dict) for each in content.values())


def _is_row_list(content: object) -> bool:
    rows = content.get("data") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        return False
    return all(isinstance(row, dict) and "paragraphs" not in row for row in rows)


def _content(path: Path, options: ReadOptions) -> Any:
    """Return the value in a file; None if there are several."""
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
    """Yield the questions of a SQuAD file, numbered from 1 over the whole file."""
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
            yield Record(number, None, f"is {kind_of(question)}, not a JSON object")
            continue
        # A question without an answer has to say so.
        answers = [] if question.get("is_impossible") else question.get("answers") or None
        yield Record(number, {"question": question.get("question"), "context": context, "answers": answers})
