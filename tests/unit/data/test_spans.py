"""Entities as spans of characters, in the layouts of the programs that write them."""

import json

import pytest
import tensorflow as tf

from tests.conftest import write_csv
from tests.unit.data.test_rows import AWKWARD
from tfhub_ft.data.kept_rows import KeptRows
from tfhub_ft.data.rows import read_all
from tfhub_ft.data.spans import check_entities, spans_to_tags, split_words
from tfhub_ft.encoders.window_preprocessor import WindowPreprocessor
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError

TEXT = "Ana Lopes flew to Lyon."
TOKENS = ["Ana", "Lopes", "flew", "to", "Lyon", "."]
TAGS = ["B-PER", "I-PER", "O", "O", "B-LOC", "O"]
TRIPLES = [[0, 9, "PER"], [18, 22, "LOC"]]
REGION = {"id": "x", "from_name": "label", "to_name": "text", "type": "labels"}
LAYOUTS = {
    "entities": {"entities": TRIPLES},
    "doccano": {"id": 7, "label": TRIPLES, "Comments": []},
    "doccano 1.5": {"labels": TRIPLES},
    "doccano with relations": {
        "entities": [{"id": n, "start_offset": s, "end_offset": e, "label": x} for n, (s, e, x) in enumerate(TRIPLES)],
        "relations": [],
    },
    "doccano 1.0": {
        "annotations": [{"start_offset": s, "end_offset": e, "label": x, "user": 1} for s, e, x in TRIPLES]
    },
    "spaCy": {"ents": [{"start": s, "end": e, "label": x} for s, e, x in TRIPLES]},
    "prodigy": {
        "tokens": [{"text": "Ana", "start": 0, "end": 3, "id": 0}],
        "spans": [{"start": s, "end": e, "label": x, "token_start": 0} for s, e, x in TRIPLES],
    },
    "pipeline": {
        "entities": [{"entity_group": x, "score": 0.9, "word": TEXT[s:e], "start": s, "end": e} for s, e, x in TRIPLES]
    },
    "json-min": {
        "label": [{"start": s, "end": e, "text": TEXT[s:e], "labels": [x]} for s, e, x in TRIPLES],
        "annotator": 1,
        "annotation_id": 3,
    },
    "label studio": {
        "data": {"text": TEXT},
        "annotations": [
            {"id": 1, "result": [], "was_cancelled": True},
            {
                "id": 2,
                "result": [
                    {"type": "choices", "value": {"choices": ["news"]}},
                    *(
                        {**REGION, "value": {"start": s, "end": e, "text": TEXT[s:e], "labels": [x]}}
                        for s, e, x in TRIPLES
                    ),
                ],
            },
        ],
    },
    "unordered": {"entities": [*TRIPLES[::-1], TRIPLES[0]]},
    "spaces at the ends": {"entities": [[0, 10, "PER"], [17, 22, "LOC"]]},
    "texts": {"entities": [["0", "9", "PER"], ["18", "22", "LOC"]]},
    "floats": {"entities": [[0.0, 9.0, "PER"], [18.0, 22.0, "LOC"]]},
}


def read(path, *rows, **settings):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = load_recipe("ner")
    columns = recipe.task.columns(recipe.settings.replaced(settings))
    return [row.values for row in read_all(path, columns)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_spans_become_tags(layout, tmp_path):
    (row,) = read(tmp_path / "a.jsonl", {"id": 1, "text": TEXT, **LAYOUTS[layout]})
    assert row == {"tokens": TOKENS, "tags": TAGS}


def test_label_studio_list_is_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([LAYOUTS["label studio"]] * 2, indent=1))
    recipe = load_recipe("ner")
    rows = read_all(tmp_path / "a.json", recipe.task.columns(recipe.settings))
    assert [row.values["tags"] for row in rows] == [TAGS, TAGS]


@pytest.mark.parametrize(
    "cell", [json.dumps(TRIPLES), str([tuple(each) for each in TRIPLES]), json.dumps(LAYOUTS["spaCy"]["ents"])]
)
def test_spans_are_read_from_cells_of_tables(cell, tmp_path):
    path, recipe = (
        write_csv(tmp_path / "a.csv", [(TEXT, cell), ("No name", "[]")], ("text", "label")),
        load_recipe("ner"),
    )
    rows = read_all(path, recipe.task.columns(recipe.settings))
    assert [row.values["tags"] for row in rows] == [TAGS, ["O", "O"]]


def test_spans_are_read_from_named_columns(tmp_path):
    row = {"body": TEXT, "marks": TRIPLES, "tokens": ["x"], "tags": ["O"]}
    assert read(tmp_path / "a.jsonl", row, text_column="body", entities_column="marks") == [
        {"tokens": TOKENS, "tags": TAGS}
    ]
    assert read(tmp_path / "a.jsonl", row) == [{"tokens": ["x"], "tags": ["O"]}]
    with pytest.raises(InputError, match="--entities-column: cannot be combined with --tokens-column or --tags-column"):
        read(tmp_path / "a.jsonl", row, entities_column="marks", tags_column="tags")


def test_json_min_rows_without_entities_lack_the_column(tmp_path):
    rows = [{"text": "No name", "annotation_id": 1}, {"text": TEXT, **LAYOUTS["json-min"]}]
    assert [row["tags"] for row in read(tmp_path / "a.jsonl", *rows)] == [["O", "O"], TAGS]


@pytest.mark.parametrize(
    ("text", "spans", "tokens", "tags"),
    [
        ("Paris-based", [[0, 5, "LOC"]], ["Paris", "-based"], ["B-LOC", "O"]),
        ("unParisian", [[2, 7, "LOC"]], ["un", "Paris", "ian"], ["O", "B-LOC", "O"]),
        ("OsloBergen", [[0, 4, "A"], [4, 10, "A"]], ["Oslo", "Bergen"], ["B-A", "B-A"]),
        ("a  \n b", [[0, 6, "A"]], ["a", "b"], ["B-A", "I-A"]),
        ("\u65e5\u672c\u3067", [[0, 2, "A"]], ["\u65e5", "\u672c", "\u3067"], ["B-A", "I-A", "O"]),
        ("\U0001f600 Ana", [[2, 5, "A"]], ["\U0001f600", "Ana"], ["O", "B-A"]),
        ("No name", [], ["No", "name"], ["O", "O"]),
        ("x\x0b\x00y", [[0, 4, "A"]], ["x", "y"], ["B-A", "I-A"]),
        ("Ana", [[0, 3, " PER "]], ["Ana"], ["B-PER"]),
        ("Ana", [[0, 3, 5]], ["Ana"], ["B-5"]),
    ],
)
def test_words_are_divided_at_spans(text, spans, tokens, tags):
    values = {"text": text, "entities": check_entities(spans)}
    spans_to_tags(values)
    assert values == {"tokens": tokens, "tags": tags}


def test_offsets_in_utf_16_are_recognized_by_the_text():
    entities = [{"start": 3, "end": 6, "text": "Ana", "labels": ["A"]}]
    values = {"text": "\U0001f600 Ana", "entities": check_entities(entities)}
    spans_to_tags(values)
    assert values["tags"] == ["O", "B-A"]


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        (None, "column 'entities' is null; write [] for a text without entities"),
        ("PER", "is a text, not a list of entities; write [[start, end, label], ...]"),
        ([[0, 9]], "has an entity, number 1, with 2 values; write"),
        ([[0, 3, "PER"], "x"], "has an entity, number 2, that is a text"),
        ([{"start": 0, "label": "PER"}], "number 1, without 'end'"),
        ([[0, "x", "PER"]], "number 1, whose end is a text, not the number of a character"),
        ([[True, 9, "PER"]], "whose start is true or false"),
        ([[0, 2.5, "PER"]], "whose end is a number (2.5)"),
        ([[0, 9, None]], "number 1, whose label is null, not a label"),
        ([[0, 9, ""]], "whose label is empty"),
        ([{"start": 0, "end": 9, "labels": ["A", "B"]}], "with 2 labels; each entity needs one"),
        ([[18, 99, "LOC"]], "has the entity LOC at 18 to 99; expected 0 <= start < end <= 23, the length of the text"),
        ([[-3, 2, "LOC"]], "has the entity LOC at -3 to 2; expected"),
        ([[5, 5, "LOC"]], "has the entity LOC at 5 to 5; expected"),
        ([[9, 5, "LOC"]], "has the entity LOC at 9 to 5; expected"),
        ([[9, 10, "LOC"]], "has the entity LOC at 9 to 10, which is white space; remove it"),
        ([[0, 9, "PER"], [4, 9, "SURNAME"]], "has overlapping entities, PER 'Ana Lopes' (0 to 9) and"),
        ([[0, 9, "PER"], [0, 9, "ORG"]], "has overlapping entities, ORG 'Ana Lopes' (0 to 9) and PER 'Ana Lopes'"),
        ([{"start": 1, "end": 4, "text": "Ana", "label": "PER"}], "has the entity 'Ana' at 1 to 4, but the text"),
    ],
)  # fmt: skip
def test_bad_spans_are_rejected(entities, message, tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.jsonl", {"text": TEXT, "entities": entities})
    assert str(caught.value).startswith(f"{tmp_path / 'a.jsonl'}, line 1: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ([], "line 1: is not annotated; remove such rows"),
        (
            [{"result": [{**REGION, "value": {"start": 0, "end": 3, "labels": ["A"]}}]}, {"result": []}],
            "has 2 annotations",
        ),
    ],
)
def test_unclear_annotations_are_rejected(annotations, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.jsonl", {"data": {"text": TEXT}, "annotations": annotations})


def test_missing_columns_of_both_layouts_are_named(tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.jsonl", {"body": "x", "marks": []})
    for words in ("column 'tokens' or 'words' not found", "--tokens-column; or, instead: column 'entities' or 'spans'"):
        assert words in str(caught.value)


def test_split_words_splits_as_predictions_do(tiny_pair):
    texts = [
        *(text for text in AWKWARD if text.strip()),
        TEXT,
        "e-mail a.b@c.org, @user #tag_1 snake_case A&B and/or x--y o'clock l\u2019eau",
        "see https://x.org/a?b=c, http:// HTTPS://x https:/x httpsx ",
        "\u65e5\u672c\u8a9e\u3067 \ud55c\uad6d\uc5b4",
        "\u0928\u092e\u0938\u094d\u0924\u0947 \u00df\u0301 10,5% 1.5-2 \u20ac5 \U0001f468\u200d\U0001f469",
        "a\u00a0b\u2028c\x0bd\x1ce",
        "__x__ -.- .a-b. ''quoted'' \u201cA\u201d \u3005\u3007\U00020000\uf900 \u30ab\u30ca",
    ]  # fmt: skip
    layer = WindowPreprocessor(tiny_pair / "preprocessor", seq_length=16)
    _, starts, ends = layer.split_words(tf.constant(texts))
    for text, text_starts, text_ends in zip(texts, starts.to_list(), ends.to_list(), strict=True):
        words = [text[slice(*word)] for word in split_words(text)]
        assert words == [text[start:end] for start, end in zip(text_starts, text_ends)], text


def test_kept_rows_are_those_of_spans(tmp_path):
    recipe = load_recipe("ner")
    for settings in ({}, {"entities_column": "entities"}):
        columns = recipe.task.columns(recipe.settings.replaced(settings))
        (tmp_path / "a.jsonl").write_text(json.dumps({"text": TEXT, "entities": TRIPLES}))
        rows = read_all(tmp_path / "a.jsonl", columns)
        KeptRows(rows, rows, rows, rows).write(tmp_path / "kept.jsonl")
        assert KeptRows.read(tmp_path / "kept.jsonl", columns).test == rows
