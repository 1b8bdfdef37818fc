"""Lists in the cells of tables."""

import pytest

from tfhub_ft.data.list_cells import parse_list
from tfhub_ft.data.rows import read_all
from tfhub_ft.recipe import load_recipe


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        ("['it''s']", ["it", "s"]),
        ('["it\'s", \'say "hi"\']', ["it's", 'say "hi"']),
        (r"['a\'b', 'c\\d']", ["a'b", r"c\d"]),
        (r'["caf\u00e9"]', ["café"]),
        ("['a',\n 'b']", ["a", "b"]),
        ("['a'\n 'b']", ["a", "b"]),
        ("[u'a', u'b']", ["a", "b"]),
        ("[1 0 12]", ["1", "0", "12"]),
        ("[np.int64(1), np.int64(2)]", ["1", "2"]),
        ("set()", []),
        ("()", []),
        ("[ ]", []),
        ("('a',)", ["a"]),
        ("['a', 'b, c']", ["a", "b, c"]),
    ],
)
def test_parse_list_reads_common_notations(cell, items):
    assert parse_list(cell) == items


@pytest.mark.parametrize("cell", ["price", "['a'", "{'a': 1}", "[['a'], ['b']]", "['a', nan]", "[None]", "['a' + 'b']"])
def test_parse_list_rejects_other_texts(cell):
    with pytest.raises(ValueError, match=r"not a list|missing item"):
        parse_list(cell)


def rows_of(path, content, recipe):
    path.write_text(content)
    recipe = load_recipe(recipe)
    rows = read_all(path, recipe.task.columns(recipe.settings))
    return [tuple(row.values.values()) for row in rows]


@pytest.mark.parametrize("tags", ["['I-PER', 'O']", '[""I-PER"", ""O""]', "['I-PER' 'O']", "['U-PER', 'O']"])
def test_tokens_and_tags_are_read_from_cells(tags, tmp_path):
    content = f"tokens,tags\n\"['Ada', 'wrote']\",\"{tags}\"\n"
    assert rows_of(tmp_path / "rows.csv", content, "ner") == [(["Ada", "wrote"], ["B-PER", "O"])]


@pytest.mark.parametrize(
    "answers",
    [
        "{'text': ['born'], 'answer_start': [4]}",
        '[{""text"": ""born"", ""answer_start"": 4}]',
        "[]",
        "{'text': [], 'answer_start': []}",
    ],
)
def test_answers_are_read_from_cells(answers, tmp_path):
    content = f'question,context,answers\nWhere?,Ada born,"{answers}"\n'
    expected = [{"text": "born", "answer_start": 4}] if "born" in answers else []
    assert rows_of(tmp_path / "rows.csv", content, "qa") == [("Where?", "Ada born", expected)]
