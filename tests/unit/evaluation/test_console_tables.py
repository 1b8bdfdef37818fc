import io

import pytest
from rich.console import Console

from tfhub_ft.evaluation.console_tables import (
    TRAINING_COLUMN,
    artifact_title,
    benchmark_table,
    classes_table,
    dry_run_tables,
    headlines,
    logit_difference,
    repeats_cells,
    run_comparison_tables,
    scores_table,
)
from tfhub_ft.evaluation.report.report_tables import score_table

SCORES = {
    "train": {"loss": 0.5, "f1": 0.75, "rows": 8},
    "test": {"f1": 0.5, "f1_macro": 0.5, "rows": 4, "roc_auc": None, "intervals": {"f1": [0.25, 0.75]}},
}


def show(*tables):
    console = Console(file=io.StringIO(), width=160)
    console.print(*tables)
    return console.file.getvalue()


def test_headlines_are_distinct_numbers():
    assert headlines(SCORES) == ["loss", "rows", "f1_macro", "roc_auc"]
    assert "f1" in headlines({"test": {"f1": 0.5, "f1_macro": 0.25}})


def test_scores_table_shows_splits_and_intervals():
    table = show(scores_table({"test": {**SCORES["test"], "f1_macro": 0.25}, "again": SCORES["test"]}))
    assert "0.2500 to 0.7500" in table
    assert "f1 macro" in table
    assert "roc auc" in table
    assert TRAINING_COLUMN in show(scores_table(SCORES))


def test_score_table_omits_undefined_scores_and_adds_the_baseline():
    table = score_table({"test": {"accuracy": 0.5, "roc_auc": None, "baseline": {"accuracy": 0.25}}})
    assert table.columns == ["", "test", "majority baseline"]
    assert table.rows == [["accuracy", 0.5, 0.25]]


def test_classes_table_shows_predictions_of_few_labels():
    each = {"precision": 0.5, "rows": 3}
    few = {"per_class": {"a": each, "b": each}, "confusion_matrix": [[2, 1], [0, 3]]}
    assert "as b" in show(classes_table(few))
    many = [str(number) for number in range(21)]
    assert "as 1" not in show(classes_table({"per_class": dict.fromkeys(many, each), "confusion_matrix": [[0]]}))


def test_run_comparison_tables_omit_empty_tables():
    difference = {"one": 0.5, "other": 0.75, "difference": 0.25, "interval": [-0.1, 0.6]}
    comparison = {"rows": 1234, "settings": {}, "scores": {"accuracy": difference}}
    (table,) = run_comparison_tables(comparison, "a", "b")
    assert "Scores on 1,234 rows" in show(table)
    assert "-0.1000 to +0.6000" in show(table)
    row = {"text": "[red]", "one": "x", "other": "y", "right": ["other"]}
    *_, changed = run_comparison_tables({**comparison, "changed_rows": [row], "changed": 3}, "a", "b")
    assert changed.title == "3 changed predictions, 1 of them shown"
    assert "y (right)" in show(changed)


@pytest.mark.parametrize(("quantization", "title"), [("none", "TFLite"), ("dynamic", "TFLite dynamic")])
def test_artifact_title_has_the_quantization(quantization, title):
    assert artifact_title({"form": "tflite", "quantization": quantization}) == title


def test_logit_difference_is_the_maximum_of_all_signatures():
    assert logit_difference({"max_logit_difference": {"tokens": 0.1, "serving_default": 0.2}}) == 0.2
    assert logit_difference({"max_logit_difference": 0.3}) == 0.3


def test_dry_run_tables_show_rows_and_costs():
    split = {"rows": 1200, "distinct_texts": 1190, "also_in_training": 3, "labels": {f"l{i}": 1 for i in range(22)}}
    plan = {
        "splits": {"train": split},
        "tokens": {"rows": 1200, "p50": 8.0, "p95": 20.0, "longest": 64, "truncated": 5},
        "settings": {"epochs": 2},
        "weights": {"all": 1000, "trained": 10},
        "steps_an_epoch": 38,
        "epochs": 2,
        "precision": "float32",
        "seconds_an_epoch": 61.0,
        "runs": 5,
        "seconds": 7300.0,
        "peak_memory_bytes": 5e8,
    }
    rows, training = map(show, dry_run_tables(plan))
    assert "and 2 more labels" in rows
    for words in (
        "5 of 1,200",
        "10 of 1,000",
        "about 61 s",
        "about 2.0 h, for 5 runs",
        "500 MB, measured",
        "epochs 2",
    ):
        assert words in training


def test_benchmark_table_shows_predictions_or_replies():
    size = {"bytes": 2e6, "peak_memory_bytes": 3e8, "load_seconds": 0.5, "batch_size": 32, "quantization": "none"}
    predicts = {"form": "tflite", "reads": "text", "latency_ms": {"p50": 1.5, "p95": 2.5}, "rows_per_second": 700}
    table = show(benchmark_table([{**size, **predicts, "scores": {"f1_macro": 0.5}, "agreement": 1.0}]))
    for words in ("TFLite", "f1 macro", "0.5000", "100.00%", "batches of 32"):
        assert words in table
    replies = {"tokens_per_second": 9.5, "rows_per_second": 1.25, "scores": {"perplexity": 8.0}, "same_words": 0.75}
    table = show(benchmark_table([{**size, **replies, "agreement": 0.5}]))
    for words in ("float32", "9.5", "1.25", "8.0000", "50.0%", "75.0%"):
        assert words in table


def test_repeats_cells_show_every_run_and_the_summary():
    scores = [{"accuracy": value, "roc_auc": None} for value in (0.5, 0.7)]
    runs = [{"name": f"seed {number}", "test": each} for number, each in enumerate(scores)]
    summary = {"accuracy": {"mean": 0.6, "deviation": 0.1414, "interval": (-0.67, 1.87)}}
    columns, rows = repeats_cells({"runs": runs, "split": "test", "kept": 0, "summary": summary})
    assert columns == ["", "accuracy", "roc auc"]
    assert rows == [
        ["seed 0 (kept)", "0.5000", "-"],
        ["seed 1", "0.7000", "-"],
        ["mean", "0.6000", "-"],
        ["deviation", "0.1414", "-"],
        ["95% interval", "-0.6700 to 1.8700", "-"],
    ]
