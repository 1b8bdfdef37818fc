"""Files of rows to score may differ from those of the run."""

import pytest

from tfhub_ft.data.memory_rows import MemoryRows
from tfhub_ft.data.scored_rows import has_labels, read_scored_rows
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError

ROWS = [("größer – gut", "a"), ("fine, too", "b")]


def read(path, content, recipe="sentiment", labels=("a", "b"), *, run=None, dropped=(), **reading):
    """Return the rows of a file with this content, read with the settings of a run."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    recipe = load_recipe(recipe)
    settings = recipe.settings.replaced(run or {})
    rows = read_scored_rows(recipe.task, settings, labels, path, dropped=dropped, **reading)
    return [tuple(row.values.values()) for row in rows]


def table(delimiter, header="text,label"):
    quoted = [tuple(f'"{cell}"' if delimiter in cell else cell for cell in row) for row in ROWS]
    lines = [header.replace(",", delimiter), *(delimiter.join(row) for row in quoted)]
    return "".join(f"{line}\n" for line in lines if line)


@pytest.mark.parametrize("trained_with", [None, ",", ";", "tab", "~"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_detected_delimiter_overrides_that_of_the_run(trained_with, delimiter, tmp_path):
    assert read(tmp_path / "a.csv", table(delimiter), run={"delimiter": trained_with}) == ROWS


def test_undetected_delimiter_is_that_of_the_run(tmp_path):
    assert read(tmp_path / "a.csv", table("~"), run={"delimiter": "~"}) == ROWS
    assert read(tmp_path / "a.csv", table("~"), run={"delimiter": ";"}, delimiter="~") == ROWS


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_encoding_of_the_run_applies_to_other_encodings(encoding, tmp_path):
    assert read(tmp_path / "a.csv", table(",").encode(encoding), run={"encoding": "cp1252"}) == ROWS
    assert read(tmp_path / "a.csv", table(",").encode("cp1250"), run={"encoding": "utf-16"}, encoding="cp1250") == ROWS


def test_header_may_differ_from_that_of_the_run(tmp_path):
    run = {"header": False, "text_column": "1", "label_column": "2"}
    assert read(tmp_path / "a.csv", table(",", header=""), run=run) == ROWS
    assert read(tmp_path / "b.csv", table(","), run=run, header=True) == ROWS
    with pytest.raises(InputError, match="if line 1 is a row, add --no-header and name columns by number"):
        read(tmp_path / "c.csv", "größer, oder gut wie nie zuvor,a\nb,a\n")


def test_label_separator_may_be_named(tmp_path):
    content, labels = "text,labels\nx,a/b\ny,b\n", ("a", "b")
    assert read(tmp_path / "a.csv", content, "multilabel", labels, label_separator="/") == [
        ("x", ("a", "b")), ("y", ("b",))
    ]  # fmt: skip
    with pytest.raises(InputError, match="unknown setting 'label_separator'"):
        read(tmp_path / "a.csv", table(","), label_separator="/")


def test_read_scored_rows_skips_and_warns(tmp_path, capsys):
    path = tmp_path / "a.csv"
    content = table(",") + ",a\nmeh,rare\nwell,new\n"
    assert read(path, content, skip_bad_rows=True, dropped=["rare"]) == [*ROWS, ("well", "new")]
    assert capsys.readouterr().err.splitlines() == [
        f"{path}: skipped 1 bad row (first: line 4: column 'text' is empty)",
        f"{path}: dropped 1 rare label by number of rows: rare: 1",
        f"Warning: {path}: 1 label not seen in training (new: 1); their rows count as wrong",
    ]
    with pytest.raises(InputError, match="skip_bad_rows: expected True or False, got an int"):
        read(path, content, skip_bad_rows=1)


def test_columns_may_be_named(tmp_path):
    content, run = table(",", header="comment,verdict"), {"text_column": "body", "label_column": "y"}
    assert read(tmp_path / "a.csv", content, run=run, text_column="comment", label_column="verdict") == ROWS
    with pytest.raises(InputError, match="column 'y' not found; .* name one of them with --label-column"):
        read(tmp_path / "a.csv", content, run=run, text_column="comment")


def test_template_replaces_the_column_of_the_run_and_vice_versa(tmp_path):
    path, content = tmp_path / "a.csv", "title,body,label\nx,y,a\n"
    assert read(path, content, run={"text_column": "comment"}, text="{title}: {body}") == [("x: y", "a")]
    assert read(path, content, run={"text": "{headline}"}, text_column="body") == [("y", "a")]
    assert read(path, content, run={"text": "{title}-{body}"}) == [("x-y", "a")]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"labels_column": "a"},
            "--labels-column: not a column of this model; its options are --text-column, --",
        ),
        ({"text_column": 1}, "text_column: expected the name of a column, got an int"),
        ({"text": "{a"}, "--text '{a': the brace"),
        ({"text": "{text}", "text_column": "text"}, "--text: cannot be combined with --text-column"),
    ],
)
def test_other_columns_are_rejected(columns, message, tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.csv", table(","), **columns)
    assert message in str(caught.value)


ENTITIES = '{"body": "Ana flew", "marks": [[0, 3, "a"]], "forms": ["Bo"], "bio": ["B-a"]}\n'


@pytest.mark.parametrize(
    ("run", "columns", "tokens"),
    [
        ({}, {"text_column": "body", "entities_column": "marks"}, ["Ana", "flew"]),
        ({"tokens_column": "x"}, {"text_column": "body", "entities_column": "marks"}, ["Ana", "flew"]),
        ({"text_column": "x", "entities_column": "y"}, {"tokens_column": "forms", "tags_column": "bio"}, ["Bo"]),
    ],
)  # fmt: skip
def test_columns_of_another_layout_may_be_named(run, columns, tokens, tmp_path):
    ((read_tokens, _),) = read(tmp_path / "a.jsonl", ENTITIES, "ner", ("O", "B-a", "I-a"), run=run, **columns)
    assert read_tokens == tokens
    with pytest.raises(InputError, match="--text: not a column of this model"):
        read(tmp_path / "a.jsonl", ENTITIES, "ner", ("O", "B-a", "I-a"), run=run, text="{body}")


def test_columns_of_dialogues_may_be_named(tmp_path):
    content = '{"a": "hello", "b": "hi"}\n'
    for run in ({}, {"messages_column": "chat"}):
        rows = read(tmp_path / "a.jsonl", content, "dialogue", (), run=run, prompt_column="a", reply_column="b")
        assert rows == [("hello", "hi")]


def test_has_labels_of_rows_in_memory_leaves_them_readable():
    pyarrow = pytest.importorskip("pyarrow")
    recipe, texts, labels = load_recipe("topic"), [text for text, _ in ROWS], [label for _, label in ROWS]
    columns = {"text": texts, "label": labels}
    for data, labeled in [
        (columns, True),
        ((texts, labels), True),
        (ROWS, True),
        (pyarrow.table(columns).to_reader(), True),
        (pyarrow.table({"text": texts}).to_reader(), False),
        ({"text": texts}, False),
        ((texts,), False),
        (texts, False),
    ]:
        rows = MemoryRows(data)
        assert has_labels(recipe.task, recipe.settings, rows) == labeled
        read = read_scored_rows(recipe.task, recipe.settings, ["a", "b"], rows, labeled=labeled)
        assert [row.values["text"] for row in read] == texts
