import json

import pytest

from tfhub_ft.data.formats.source import ReadOptions
from tfhub_ft.data.formats.squad import open_json
from tfhub_ft.utils.errors import InputError

ANSWER = {"text": "b", "answer_start": 2}
QUESTIONS = [
    {"question": "which?", "answers": [ANSWER]},
    {"question": "none?", "answers": [], "is_impossible": True},
    {"question": "unlabeled?", "answers": []},
    "which?",
]
SQUAD = {"data": [{"title": "t", "paragraphs": [{"context": "a b", "qas": QUESTIONS}]}]}
ROWS = [{"text": "good"}, {"text": "bad"}]


@pytest.fixture
def records(tmp_path):
    def read(content):
        path = tmp_path / "rows.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        source = open_json(path, [], ReadOptions())
        return source.unit, list(source.records())

    return read


def test_open_json_reads_squad_questions(records):
    unit, (answered, impossible, unlabeled, bad) = records(SQUAD)
    assert unit == "question"
    assert answered == (1, {"question": "which?", "context": "a b", "answers": [ANSWER]}, None)
    assert impossible[1]["answers"] == []
    assert unlabeled[1]["answers"] is None
    assert (bad[1], bad[2]) == (None, "is a text, not a JSON object")


@pytest.mark.parametrize(
    "content", [ROWS, {"data": ROWS}, "\n".join(map(json.dumps, ROWS))], ids=["list", "data", "jsonl"]
)
def test_open_json_reads_rows(records, content):
    assert [record for _, record, _ in records(content)[1]] == ROWS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"text": {"0": "good"}, "label": {"0": "a"}}, r"DataFrame\.to_json\(path, orient='records'\)"),
        ({"data": 5}, "is neither a SQuAD file, .* write a list of objects"),
        ('{"data": [\n', r"rows\.json, line 2: is not valid JSON .* is the file cut off\?"),
    ],
)
def test_open_json_names_the_formats_it_reads(records, content, message):
    with pytest.raises(InputError, match=message):
        records(content)
