import numpy as np
import pytest

from tfhub_ft.data.rows import read_all
from tfhub_ft.evaluation.scored import correctness
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError

RECIPE = load_recipe("ner")


def read(path):
    return read_all(path, RECIPE.task.columns(RECIPE.settings))


def test_columns_read_conll_files(tmp_path):
    path = tmp_path / "rows.conll"
    path.write_text("-DOCSTART- O\n\nAnn NNP B-person\nLee NNP I-person\nleft VBD O\n\nHi X O\n")
    rows = read(path)
    assert [(row.line, row.values["tokens"]) for row in rows] == [(3, ["Ann", "Lee", "left"]), (7, ["Hi"])]
    assert rows[0].values["tags"] == ["B-person", "I-person", "O"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            '{"tokens": ["a"], "tags": ["I-x"]}\n{"tokens": ["a"], "tags": ["B-x"]}',
            "line 1: column 'tags' breaks BIO at tag 1: I-x continues",
        ),
        ("a.jsonl", '{"tokens": ["a", "b"], "tags": ["B-y", "I-x"]}', "breaks BIO at tag 2"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["x"]}', "has the tag 'x', number 1; tags are O, B-KIND and I-KIND"),
        ("a.jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}', "line 1: has 2 tokens and 1 tags"),
        ("a.jsonl", '{"tokens": "a b", "tags": ["O"]}', "column 'tokens' is a text, not a list of tokens"),
        ("a.jsonl", '{"tokens": ["a", " "], "tags": ["O", "O"]}', "has a token, number 2, that is empty"),
        ("a.jsonl", '{"tokens": [], "tags": []}', "column 'tokens' is an empty list"),
        ("a.jsonl", '{"tokens": ["a"], "tags": "O"}', "column 'tags' is a text, not a list of tags"),
        ("a.jsonl", '{"tokens": ["a"], "tags": [1]}', "column 'tags' has numbers instead of tags"),
        ("a.conll", "a O\nb\n", "line 2: the tag is missing after the token"),
    ],
)
def test_columns_reject_bad_rows(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content + "\n")
    with pytest.raises(InputError, match=message):
        read(path)


def test_labels_rejects_rows_without_entities(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"tokens": ["a"], "tags": ["O"]}\n' * 3)
    with pytest.raises(InputError, match="every tag is O"):
        RECIPE.task.labels(read(path), str(path), RECIPE.settings)


def test_metrics_count_unseen_entity_types_as_missed(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"tokens": ["a", "b", "c", "d"], "tags": ["B-new", "I-new", "B-x", "O"]}\n')
    labels = ["O", "B-x", "I-x"]
    targets = RECIPE.task.targets(read(path), labels, str(path))
    for tags, (recall, all_recall) in {
        (0, 0, 1, 0): (1, 0.5),
        (1, 2, 1, 0): (1, 0.5),
        (0, 0, 0, 0): (0, 0),
    }.items():
        scores = RECIPE.task.metrics([np.eye(3)[list(tags)]], targets, labels, {})
        assert scores["entities"] == 2
        assert scores["per_class"]["x"]["recall"] == recall
        assert scores["recall"] == all_recall
        assert not correctness(RECIPE.task, [np.eye(3)[list(tags)]], targets, labels, {})[1].any()
