"""Cells of several labels: the whole file is read in the same way, which is reported."""

import json

import numpy as np
import pytest

from tfhub_ft.data.label_cells import fit_labels
from tfhub_ft.data.rows import read_all
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError

SETS = [
    ("price",),
    ("quality", "price"),
    ("delivery", "price", "quality"),
    (),
    ("delivery",),
    ("very good", "price"),
] * 4


@pytest.mark.parametrize(
    "write",
    [
        str,
        json.dumps,
        lambda labels: str(tuple(labels)),
        lambda labels: str(set(labels)),
        lambda labels: str(frozenset(labels)),
        lambda labels: str(np.array(labels, dtype=object)),
        lambda labels: str([np.str_(label) for label in labels]),
        lambda labels: repr(np.array(labels, dtype=object)),
        lambda labels: "[" + ", ".join(labels) + "]",
        lambda labels: "{" + ",".join(labels) + "}",
        lambda labels: f"[{' '.join(map(repr, labels))}]",
        lambda labels: "".join(f"<{label}>" for label in labels),
    ],
    ids=[
        "list",
        "json",
        "tuple",
        "set",
        "frozenset",
        "numpy",
        "numpy-items",
        "repr",
        "bare",
        "postgres",
        "spaces",
        "tags",
    ],
)
def test_fit_labels_reads_lists(write):
    cells = [write(list(labels)) for labels in SETS]
    read = fit_labels(cells)
    assert [set(read(cell)) for cell in cells] == [set(labels) for labels in SETS]
    assert read.notes() == ["labels: 4 (delivery, price, quality, very good), in lists"]


@pytest.mark.parametrize("separator", [",", ", ", ";", "|", " | ", "#", "\t", "\n"])
def test_fit_labels_detects_separators(separator):
    cells = [separator.join(labels) for labels in SETS]
    read = fit_labels(cells)
    assert [read(cell) for cell in cells] == SETS
    name = repr(separator.strip(" ") or " ")
    assert read.notes() == [f"labels: 4 (delivery, price, quality, very good), separated by {name}"]


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        # Commas come first, and labels keep other separators.
        (["a,b", "b,c;d", "c;d", "a"], ["a", "b", "c;d"]),
        (["R|B,Pop", "Pop", "R|B", "Jazz,Pop"], ["Jazz", "Pop", "R|B"]),
        (["C#,python", "python", "C#", "F#,C#"], ["C#", "F#", "python"]),
        # A label with commas between semicolons.
        (["Food, drink;Price", "Price", "Food, drink", "Price;Staff", "Staff;Food, drink"],
         ["Food, drink", "Price", "Staff"]),
        # Single labels.
        (["R|B", "Pop", "Jazz"], ["Jazz", "Pop", "R|B"]),
        (["(other)", "known", "[unknown]"], ["(other)", "[unknown]", "known"]),
        (["C#", "python"], ["C#", "python"]),
    ],
)  # fmt: skip
def test_fit_labels_keeps_labels_with_other_separators(cells, labels):
    read = fit_labels(cells * 3)
    assert sorted({label for cell in cells for label in read(cell)}) == labels


def test_fit_labels_reports_labels_with_other_separators():
    read = fit_labels(["R|B", "Pop", "Jazz"])
    assert [read(cell) for cell in ("R|B", "Pop")] == [("R|B",), ("Pop",)]
    assert read.notes() == ["labels: 2 (Pop, R|B), at most one in each row"]
    assert read.warnings() == [
        "labels such as 'R|B' contain '|', which was not read as a separator; if it is one, add --label-separator '|'"
    ]
    read = fit_labels(["price/staff", "price", "staff", "staff/price"])
    read("price/staff")
    assert "--label-separator '/'" in read.warnings()[0]
    read = fit_labels(["very good", "bad", "very bad", "good"])
    read("bad")
    assert len(read.warnings()) == 1


def test_fit_labels_strips_separators_of_single_labels():
    read = fit_labels(["a;", "b;", ";c"])
    assert [read(cell) for cell in ("a;", "b;", ";c", ";")] == [("a",), ("b",), ("c",), ()]


def test_fit_labels_uses_only_a_named_separator():
    read = fit_labels(["a, b/c", "['d']"], separator="/")
    assert read("a, b/c") == ("a, b", "c")
    assert read("['d']") == ("['d']",)
    assert fit_labels([], separator=r"\t")("a\tb") == ("a", "b")
    with pytest.raises(InputError, match="--label-separator '': must not be empty"):
        load_recipe("multilabel").settings.replaced({"label_separator": ""})


def test_fit_labels_accepts_json_lists():
    read = fit_labels([["a;b"], ["c"]])
    assert read(["a;b"]) == ("a;b",)
    assert read.notes() == []


def rows_of(path, content, **settings):
    path.write_text(content)
    recipe = load_recipe("multilabel")
    return read_all(path, recipe.task.columns(recipe.settings.replaced(settings)))


def test_fit_labels_rejects_other_cells_among_lists(tmp_path):
    content = "text,labels\na,['x']\nb,\"['x', 'y']\"\nc,x\n"
    with pytest.raises(InputError, match=r"rows\.csv, line 4: column 'labels' is 'x', not a list as in other rows"):
        rows_of(tmp_path / "rows.csv", content)


def test_label_columns_are_read_as_the_error_says(tmp_path, capsys):
    path = tmp_path / "rows.csv"
    content = "id,text,price,very good,other\n7,a,1,0,x\n8,b,1.0,true,y\n9,c,No,,z\n"
    with pytest.raises(InputError) as caught:
        rows_of(path, content)
    advice = "if each label has its own column of 0 and 1, name them all: --labels-column 'price,very good'"
    assert str(caught.value).endswith(advice)
    rows = rows_of(path, content, labels_column="price,very good")
    assert [row.values["labels"] for row in rows] == [("price",), ("price", "very good"), ()]
    with pytest.raises(InputError, match="column 'prise' not found"):
        rows_of(path, content, labels_column="prise,very good")
    with pytest.raises(InputError, match="line 2: column 'id,price' has '7' for the label 'id'; expected 1 or 0"):
        rows_of(path, content, labels_column="id,price")


@pytest.mark.parametrize(("yes", "no"), [(1, 0), (True, False), (1.0, 0.0), ("x", ""), (1.0, float("nan")), (1, None)])
def test_label_columns_have_any_type(yes, no, tmp_path):
    rows = [{"text": "x", "a": yes, "b": no}, {"text": "y", "a": no, "b": no}, {"text": "z", "a": no, "b": yes}]
    content = "".join(json.dumps(row) + "\n" for row in rows)
    read = rows_of(tmp_path / "rows.jsonl", content, labels_column="a,b")
    assert [row.values["labels"] for row in read] == [("a",), (), ("b",)]
    with pytest.raises(InputError, match="column 'a,b' has -1 for the label 'a'; expected 1 or 0"):
        rows_of(tmp_path / "rows.jsonl", content.replace(f'"a": {json.dumps(yes)}', '"a": -1'), labels_column="a,b")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("nan", "column 'labels' is 'nan', a missing value; leave the cell of a row without labels empty"),
        ('"a,NaN"', "column 'labels' is 'NaN', a missing value"),
    ],
)
def test_fit_labels_rejects_nan_and_accepts_empty_cells(cell, message, tmp_path):
    content = "text,labels\nx,a\ny,\n"
    assert [row.values["labels"] for row in rows_of(tmp_path / "a.csv", content)] == [("a",), ()]
    with pytest.raises(InputError, match=message):
        rows_of(tmp_path / "b.csv", f"{content}z,{cell}\n")


def test_labels_column_may_contain_a_comma(tmp_path):
    rows = rows_of(tmp_path / "rows.csv", 'text,"a,b"\nx,c\n', labels_column="a,b")
    assert rows[0].values["labels"] == ("c",)


def test_labels_of_an_object_are_its_true_keys(tmp_path):
    rows = rows_of(tmp_path / "rows.jsonl", '{"text": "a", "labels": {"x": 1, "y": false, "z": 1.0}}\n')
    assert rows[0].values["labels"] == ("x", "z")


def test_label_notes_are_printed_once_for_all_files(tmp_path, capsys):
    for number, labels in enumerate(("a;b", "b"), 1):
        (tmp_path / f"part-{number}.csv").write_text(f"text,labels\nx,{labels}\n")
    recipe = load_recipe("multilabel")
    rows = read_all(tmp_path / "part-*.csv", recipe.task.columns(recipe.settings))
    assert [row.values["labels"] for row in rows] == [("a", "b"), ("b",)]
    assert capsys.readouterr().err == f"{tmp_path}/part-*.csv: labels: 2 (a, b), separated by ';'\n"
