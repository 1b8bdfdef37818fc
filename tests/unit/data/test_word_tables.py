"""Tables with a word and its tag per row."""

import json

import pytest

from tfhub_ft.data.rows import read_all
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError

ROWS = [(["Ana", "null", ","], ["B-PER", "O", "O"]), (["Oslo"], ["B-LOC"])]
KAGGLE = 'Sentence #,Word,POS,Tag\nSentence: 1,Ana,NNP,B-PER\n,null,NN,O\n,",",",",O\nSentence: 2,Oslo,NNP,B-LOC\n'
TABLES = {
    "kaggle": KAGGLE,
    "every id": "sentence_id,token,ner_tag\n1,Ana,B-PER\n1,null,O\n1,\",\",O\n2,Oslo,B-LOC\n",
    "semicolons": "word;tag;sent_id\nAna;B-PER;a\nnull;O;a\n,;O;a\nOslo;B-LOC;b\n",
    "iob1": "word;tag;sent_id\nAna;I-PER;a\nnull;O;a\n,;O;a\nOslo;I-LOC;b\n",
}  # fmt: skip


def read(path, content, skip_bad_rows=False, **settings):
    path.write_text(content)
    recipe = load_recipe("ner")
    columns = recipe.task.columns(recipe.settings.replaced(settings))
    rows = read_all(path, columns, skip_bad_rows=skip_bad_rows)
    return [(row.values["tokens"], row.values["tags"]) for row in rows]


@pytest.mark.parametrize("table", TABLES)
def test_words_are_joined_to_sentences(table, tmp_path):
    assert read(tmp_path / "a.csv", TABLES[table]) == ROWS


def test_words_in_objects_are_joined(tmp_path):
    rows = [
        {"word": word, "tag": tag, "sentence_id": number}
        for number, row in enumerate(ROWS)
        for word, tag in zip(*row, strict=True)
    ]
    assert read(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows)) == ROWS
    with pytest.raises(InputError, match="a.jsonl, line 1: column 'tag' is empty in line 2"):
        read(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in [rows[0], {"word": "x"}]))


def test_named_columns_are_joined(tmp_path):
    content = KAGGLE.replace("Word", "form").replace("Tag", "entity")
    assert read(tmp_path / "a.csv", content, tokens_column="form", tags_column="entity") == ROWS


def test_lists_next_to_their_sentence_are_not_joined(tmp_path):
    content = "sentence,token,label\nAna flew,\"['Ana', 'flew']\",\"['B-PER', 'O']\"\n"
    rows = read(tmp_path / "a.csv", content, tokens_column="token", tags_column="label")
    assert rows == [(["Ana", "flew"], ["B-PER", "O"])]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (",,NN,O\n", "a.csv, line 2: column 'Word' is empty in line 3"),
        (",x,NN,\n", "a.csv, line 2: column 'Tag' is empty in line 3"),
        (",x,NN\n", "a.csv, line 2: has 3 of 4 fields"),
        (",x,NN,I-LOC\n", "a.csv, line 2: column 'tags' breaks BIO"),
    ],
)
def test_bad_words_make_a_bad_sentence(line, message, tmp_path):
    content = KAGGLE.replace(",null,NN,O\n", line)
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.csv", content)
    assert message in str(caught.value)
    assert read(tmp_path / "a.csv", content, skip_bad_rows=True) == ROWS[1:]
