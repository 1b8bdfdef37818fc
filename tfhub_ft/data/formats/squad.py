"""SQuAD files: questions about passages; the one format that is read into memory as a whole."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tfhub_ft.data.columns import Column, kind_of
from tfhub_ft.data.formats.lines import read_lines
from tfhub_ft.data.formats.source import Record, Source
from tfhub_ft.errors import InputError


def open_squad(path: Path, columns: Sequence[Column]) -> Source:
    """A file of SQuAD 1 or 2: a row is a question, with the columns `question`, `context` and `answers`."""
    return Source(path, partial(_records, path), unit="question")


def _records(path: Path) -> Iterator[Record]:
    """The questions of a SQuAD file, counted from 1 over the whole file."""
    text = "".join(line.text for line in read_lines(path))
    try:
        articles = json.loads(text)["data"]
        paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
        questions = [(paragraph.get("context"), question) for paragraph in paragraphs for question in paragraph["qas"]]
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}: is not valid JSON ({error.msg}); is the file cut off?"
        ) from None
    except (KeyError, TypeError, AttributeError):
        raise InputError(
            f'{path}: is not a SQuAD file, {{"data": [{{"paragraphs": [{{"context": ..., "qas": [...]}}]}}]}};'
            " rows of other kinds come as csv, tsv or jsonl"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is JSON that cannot be read ({error})") from None
    for number, (context, question) in enumerate(questions, 1):
        if not isinstance(question, dict):
            yield number, None, f"is {kind_of(question)}, not a JSON object"
            continue
        answers = [] if question.get("is_impossible") else question.get("answers")
        if answers == [] and not question.get("is_impossible"):
            answers = None
        yield number, {"question": question.get("question"), "context": context, "answers": answers}, None
