"""Checks of the values of rows."""

import json

import pytest

from tests.unit.data.test_rows import AWKWARD
from tfhub_ft.data.columns import check_label, check_text
from tfhub_ft.data.rows import ReadOptions, read_all
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError


@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
def test_check_text_returns_texts_unchanged(text):
    assert check_text(text) == text


@pytest.mark.parametrize("value", ["", " ", "\n\t", "\u3000", None, 1, 1.5, True, [], {}, b"bytes", "\ud83c"])
def test_check_text_rejects_other_values(value):
    with pytest.raises(ValueError, match=r"^(is|contains) "):
        check_text(value)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("spam", "spam"),
        (" spam\t", "spam"),
        ("1", "1"),
        (1, "1"),
        (0, "0"),
        (-3, "-3"),
        (1.0, "1"),
        (0.0, "0"),
        (True, "true"),
        (False, "false"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u00a0spam\u2003", "spam"),
        ("None", "None"),
        ("NA", "NA"),
        ("null", "null"),
    ],
)
def test_check_label_returns_a_string(value, label):
    assert check_label(value) == label


@pytest.mark.parametrize(
    "value", ["", "  ", "nan", " NaN ", None, 0.5, float("nan"), float("inf"), ["spam"], {"a": 1}, b"spam", "\udfff"]
)
def test_check_label_rejects_other_values(value):
    with pytest.raises(ValueError, match=r"^(is|contains) "):
        check_label(value)


def test_check_label_advises_regression():
    with pytest.raises(
        ValueError, match=r"not whole \(0.5\), not a label; to predict numbers, train the recipe regression"
    ):
        check_label(0.5)


def read(path, recipe="topic", **settings):
    recipe = load_recipe(recipe)
    return [row.values for row in read_all(path, recipe.task.columns(recipe.settings.replaced(settings)))]


ARTICLES = "title,body,price,label\nGood,A film,3,a\nBad,,4,b\n,,5,a\n"


def test_text_template_joins_columns(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(ARTICLES)
    texts = [row["text"] for row in read(path, text="{Title}. {body} ({price})")]
    assert texts == ["Good. A film (3)", "Bad.  (4)", ".  (5)"]


@pytest.mark.parametrize("missing", [None, "", " ", float("nan")])
def test_text_template_leaves_missing_values_empty(missing, tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"a": "x", "b": missing, "label": "p"}, {"a": missing, "b": 2, "label": "q"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [row["text"] for row in read(path, text="{a}: {b}")] == ["x: ", ": 2"]
    path.write_text(json.dumps({"a": missing, "b": missing, "label": "p"}))
    with pytest.raises(InputError, match=r"a.jsonl, line 1: column '\{a\}: \{b\}' is empty"):
        read(path, text="{a}: {b}")


@pytest.mark.parametrize(("value", "text"), [(1, "1"), (1.5, "1.5"), (True, "True"), ("{b}", "{b}")])
def test_text_template_writes_values_as_text(value, text, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"a": value, "label": "p"}))
    assert [row["text"] for row in read(path, text="<{a}>")] == [f"<{text}>"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"text": "{titel}"},
            "a.csv: column 'titel' of --text '{titel}' not found; the columns are 'title', 'body', 'price', 'label';"
            " correct the name, or name the column of the text with --text-column",
        ),
        ({"text": "{title} {label}"}, "'{title} {label}' contains 'label', which is the column of the label; remove"),
        ({"text": "{title.upper}"}, "column 'title.upper' of --text"),
        ({"text": "{title}", "text_column": "body"}, "--text: cannot be combined with --text-column; pass one of"),
        ({"text": "{title"}, "--text '{title': the brace"),
    ],
)
def test_text_template_rejects_other_columns(settings, message, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(ARTICLES)
    with pytest.raises(InputError) as caught:
        read(path, **settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_template_rejects_lists(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": ["x"], "label": "p"}\n')
    with pytest.raises(InputError, match="a.jsonl, line 1: column 'a' is a list, not text"):
        read(path, text="{a}")


def test_templates_of_pairs_may_share_columns(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(ARTICLES.replace("\n,,5,a", ""))
    rows = read(path, "pair", first_text="{title}", second_text="{title}: {body}")
    assert [(row["sentence1"], row["sentence2"]) for row in rows] == [("Good", "Good: A film"), ("Bad", "Bad: ")]


def test_text_template_names_columns_by_number(tmp_path):
    path, recipe = tmp_path / "a.csv", load_recipe("adapt")
    path.write_text("x,y\nz,w\n")
    columns = recipe.task.columns(recipe.settings.replaced({"text": "{2} {1}"}))
    assert [row.values["text"] for row in read_all(path, columns, options=ReadOptions(header=False))] == ["y x", "w z"]
