import numpy as np

from tfhub_ft.data.rows import Row
from tfhub_ft.evaluation.report.html_report import report_parts
from tfhub_ft.evaluation.scored import Scored
from tfhub_ft.metrics.scores import entity_metrics
from tfhub_ft.tasks.token_classification import TokenClassification

LABELS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


def test_report_parts_separate_errors_of_types_and_boundaries():
    truth = [
        ["B-PER", "I-PER", "O", "B-LOC"],
        ["B-PER", "O", "B-LOC", "I-LOC"],
        ["O", "O", "B-LOC", "O"],
    ]
    predicted = [
        ["B-PER", "I-PER", "O", "B-PER"],
        ["B-PER", "I-PER", "B-PER", "O"],
        ["B-LOC", "O", "O", "O"],
    ]
    rows = [Row(1, {"tokens": list("abcd"), "tags": tags}) for tags in truth]
    logits = [np.eye(len(LABELS))[[LABELS.index(tag) for tag in tags]] for tags in predicted]
    targets = [np.array([LABELS.index(tag) for tag in tags]) for tags in truth]
    task, scores = TokenClassification(), entity_metrics(predicted, truth)
    parts = report_parts(task, Scored(task, rows, logits, targets, LABELS, {}, {}, scores))
    (table,) = [part for part in parts if part.title == "Types and boundaries"]
    assert table.columns == [
        "type", "exact", "wrong boundary", "wrong type", "wrong type and boundary", "missed", "spurious"
    ]  # fmt: skip
    assert table.rows == [["LOC", 0, 0, 1, 1, 1, 1], ["PER", 1, 1, 0, 0, 0, 0]]
    (matrix,) = [part for part in parts if part.title == "Entity types"]
    assert "LOC predicted as PER, 2 times" in matrix.caption
