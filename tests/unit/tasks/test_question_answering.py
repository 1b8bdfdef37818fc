import json

import pytest

from tfhub_ft.data.rows import read_all
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError

RECIPE = load_recipe("qa")


def squad(questions):
    return json.dumps({"data": [{"paragraphs": [{"context": c, "qas": [q]} for c, q in questions]}]})


def test_split_keeps_the_rows_of_a_passage_together(tmp_path):
    path = tmp_path / "a.json"
    questions = [{"question": f"q{i}", "answers": [{"text": "x", "answer_start": 0}]} for i in range(4)]
    paragraphs = [{"context": f"x {number}", "qas": questions} for number in range(20)]
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    from tfhub_ft.data.datasets import load_dataset

    splits = load_dataset(RECIPE.task, RECIPE.settings.replaced({"data": str(path)}), path).splits
    contexts = [{row.values["context"] for row in split.rows} for split in splits.values()]
    assert sum(map(len, contexts)) == len(set.union(*contexts)) == 20


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.json",
            squad([("a b", {"question": "q", "answers": [{"text": "b", "answer_start": 0}]})]),
            "a.json, question 1: the answer 'b' is not at 0 in its context: it is at 2",
        ),
        (
            "a.json",
            squad([("a", {"question": "q", "answers": [{"text": "z", "answer_start": 0}]})]),
            "the answer 'z' is not at 0 in its context: not found",
        ),
        ("a.json", squad([("a", {"question": "q", "answers": []})]), 'write "is_impossible": true'),
        ("a.json", squad([("a", {"answers": []})]), "question 1: column 'question' is null, not text"),
        ("a.json", squad([("a", {"question": "q", "answers": ["a"]})]), "has an answer that is not"),
        ("a.json", '{"data": 5}', "a.json: is neither a SQuAD file"),
        ("a.json", '{"data": [', "a.json, line 1: is not valid JSON"),
        ("a.jsonl", '{"question": "q", "context": "c"}', "column 'answers' or 'answer' not found"),
    ],
)
def test_columns_reject_bad_questions(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_all(path, RECIPE.task.columns(RECIPE.settings))


def test_skip_bad_rows_skips_bad_questions(tmp_path):
    path = tmp_path / "a.json"
    good = {"question": "q", "answers": [{"text": "a", "answer_start": 0}]}
    path.write_text(squad([("a", good), ("b", good)]))
    rows = read_all(path, RECIPE.task.columns(RECIPE.settings), skip_bad_rows=True)
    assert [row.values["context"] for row in rows] == ["a"]
