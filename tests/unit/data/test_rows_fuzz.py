"""Read random files of every format: each is read, or rejected in one line.

The seed is fixed. 100 files of each kind are read by default, 1,000 in the slow tier (a minute in all), or another
number: TFHUB_FT_FUZZ=25000 pytest -n 0 tests/unit/data/test_rows_fuzz.py
"""

import gzip
import os

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as some

from tfhub_ft.data.rows import ReadOptions, read_rows
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError

EXAMPLES = [int(os.environ.get("TFHUB_FT_FUZZ", "100")), pytest.param(1000, marks=pytest.mark.slow)]
PARTS = {
    "csv": ["text", "label", ",", '"', '""', "\n", "\r\n", "\r", "\x00", "ä", "\ufeff", " ", "a,b", '"a\nb",c', ";"],
    "tsv": ["text\tlabel", "\t", "\n", '"', "good\tyes", "\r\n", "\x0b", "\u2028"],
    "jsonl": ['{"text": "a", "label": "b"}', "{", "}", "[", "]", ":", ",", '"text"', '"label"', "null", "1e999", "NaN",
              '"\\ud800"', "\n", "[" * 2000, "-", "true", '{"text": {"text": 1}, "label": []}'],
    "conll": ["EU B-ORG\n", "\n", "rejects O\n", "-DOCSTART- -X- O\n", "\t", " ", "I-PER", "B-", "O", "a b c\n",
              "# a\n", "1\tEU\tB-ORG\tO\n", "2\tb\tO\tB-X\n", "3\tB-NP\n", "1-2\tab\n"],
    "labels": ["text,labels\n", "a,", "['x', 'y']", '"[""x""]"', "x;y", "x|y", ",", ";", "[", "]", "'", '"', "(", "{}",
               "set()", "np.str_('a')", "\\", "nan", "\n", "[1 2]", "array(['a'], dtype=object)"],
    "txt": ["EU NNP I-ORG\n", "\n", "S-X", "E-X", "O\n", "-DOCSTART-\n", "M-X\n", " ", "\t", "I-\n", "B-X-Y\n"],
    "array": ["[", "]", '{"text": "a", "label": "b"}', ",", '{\n"text": "a",\n"label": "b"}', '{"data": [', "}", '"',
              "\\", "[" * 2000, "\n", "1", "-", "null", '{"text": {"0": "a"}, "label": {"0": "b"}}'],
    "json": ['{"data": [', '{"paragraphs": [', '{"context": "a b c", "qas": [', '{"question": "q", "answers": [',
             '{"text": "b", "answer_start": 2}', "]}", "]", "}", ",", '"id": "1"', '"is_impossible": true', "-1", "{}"],
}  # fmt: skip
RECIPES = {"csv": "sentiment", "tsv": "sentiment", "jsonl": "multilabel", "conll": "ner", "json": "qa",
           "labels": "multilabel", "txt": "ner", "array": "sentiment"}  # fmt: skip
SUFFIXES = {"labels": "csv", "array": "json"}
ENCODINGS = [*[None] * 8, "utf-8", "utf-16", "utf-16-le", "cp1252", "shift_jis", "utf-7", "utf-32"]
DELIMITERS = [*[None] * 3, ";", "tab", "\x0b"]


def contents(kind):
    """Return a strategy of pieces of a format in any order, with random bytes between them."""
    piece = some.one_of(some.sampled_from(PARTS[kind]).map(str.encode), some.binary(max_size=4))
    return some.lists(piece, max_size=25).map(b"".join)


option_sets = some.builds(
    ReadOptions,
    encoding=some.sampled_from(ENCODINGS),
    delimiter=some.sampled_from(DELIMITERS),
    header=some.booleans(),
    usual_encoding=some.sampled_from(ENCODINGS),
    keep_blank=some.booleans(),
)


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
def test_read_rows_rejects_random_files_in_one_line(kind, zipped, examples, tmp_path):
    recipe = load_recipe(RECIPES[kind])
    task = recipe.task
    columns = task.columns(recipe.settings)
    file = tmp_path / f"rows.{SUFFIXES.get(kind, kind)}{'.gz' if zipped else ''}"

    @seed(0)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(contents(kind), some.integers(0, 10**6), option_sets)
    def reads(content, cut, options):
        if zipped:
            packed = gzip.compress(content)
            content = packed[: len(packed) - cut % 3]
        file.write_bytes(content)
        try:
            for row in read_rows(file, columns, options=options):
                assert row.line >= 1
                assert set(row.values) == {column.name for column in columns}
        except InputError as error:
            assert "\n" not in str(error)
            assert str(file) in str(error)

    reads()
