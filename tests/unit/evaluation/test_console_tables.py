import io

import pytest
from rich.console import Console

from tfhub_ft.evaluation.console_tables import (
    TRAINING_COLUMN,
    classes_table,
    form_title,
    headlines,
    logit_difference,
    run_comparison_tables,
    scores_table,
)
from tfhub_ft.evaluation.report.report_tables import scores_listing

SCORES = {
    "train": {"loss": 0.5, "f1": 0.75, "rows": 8},
    "test": {"f1": 0.5, "f1_macro": 0.5, "rows": 4, "roc_auc": None, "intervals": {"f1": [0.25, 0.75]}},
}


def shown(*tables):
    console = Console(file=io.StringIO(), width=120)
    console.print(*tables)
    return console.file.getvalue()


def test_headlines_leave_out_equal_scores_and_what_is_no_number():
    assert headlines(SCORES) == ["loss", "rows", "f1_macro", "roc_auc"]
    assert "f1" in headlines({"test": {"f1": 0.5, "f1_macro": 0.25}})


def test_scores_table_has_a_column_a_split_and_intervals():
    table = shown(scores_table({"test": {**SCORES["test"], "f1_macro": 0.25}, "again": SCORES["test"]}))
    assert "0.2500 to 0.7500" in table
    assert "f1 macro" in table
    assert "roc auc" in table
    assert TRAINING_COLUMN in shown(scores_table(SCORES))


def test_scores_listing_leaves_out_what_no_split_has_and_adds_the_baseline():
    listing = scores_listing({"test": {"accuracy": 0.5, "roc_auc": None, "baseline": {"accuracy": 0.25}}})
    assert listing.columns == ["", "test", "majority baseline"]
    assert listing.rows == [["accuracy", 0.5, 0.25]]


def test_classes_table_shows_what_rows_were_taken_for_of_few_labels():
    each = {"precision": 0.5, "rows": 3}
    few = {"per_class": {"a": each, "b": each}, "confusion_matrix": [[2, 1], [0, 3]]}
    assert "as b" in shown(classes_table(few))
    many = [str(number) for number in range(21)]
    assert "as 1" not in shown(classes_table({"per_class": dict.fromkeys(many, each), "confusion_matrix": [[0]]}))


def test_run_comparison_tables_leave_out_what_is_empty():
    difference = {"one": 0.5, "other": 0.75, "difference": 0.25, "interval": [-0.1, 0.6]}
    told = {"rows": 1234, "settings": {}, "scores": {"accuracy": difference}}
    (table,) = run_comparison_tables(told, "a", "b")
    assert "Scores on 1,234 rows" in shown(table)
    assert "-0.1000 to +0.6000" in shown(table)
    row = {"text": "[red]", "one": "x", "other": "y", "right": ["other"]}
    *_, changed = run_comparison_tables({**told, "changed_rows": [row], "changed": 3}, "a", "b")
    assert changed.title == "3 answers changed, 1 of them"
    assert "y (right)" in shown(changed)


@pytest.mark.parametrize(("quantization", "title"), [("none", "TFLite"), ("dynamic", "TFLite dynamic")])
def test_form_title_names_the_quantization(quantization, title):
    assert form_title({"form": "tflite", "quantization": quantization}) == title


def test_logit_difference_is_the_largest_of_all_signatures():
    assert logit_difference({"max_logit_difference": {"tokens": 0.1, "serving_default": 0.2}}) == 0.2
    assert logit_difference({"max_logit_difference": 0.3}) == 0.3
