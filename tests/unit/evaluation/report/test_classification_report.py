import numpy as np
import pytest

from tfhub_ft.data.rows import Row
from tfhub_ft.evaluation.report.html_report import report_parts
from tfhub_ft.evaluation.scored import Scored, held_out_scores
from tfhub_ft.tasks.classification import Classification
from tfhub_ft.tasks.intent import Intent
from tfhub_ft.tasks.multilabel import Multilabel

LABELS = ["a", "b", "c"]
RNG = np.random.default_rng(0)
TARGETS = np.arange(60) % 3
LOGITS = RNG.normal(size=(60, 3)) + 2 * np.eye(3)[TARGETS]


def parts_of(task, rows, logits, targets, labels, thresholds):
    scores = held_out_scores(task, logits, targets, labels, thresholds)
    parts = report_parts(task, Scored(task, rows, logits, targets, labels, thresholds, {}, scores))
    return {part.title: part for part in parts}


def rows_of(targets, labels):
    return [Row(i, {"text": f"text {i}", "label": labels[target]}) for i, target in enumerate(targets)]


@pytest.mark.parametrize("count", [2, 3])
def test_report_parts_of_labels(count):
    targets = TARGETS % count
    parts = parts_of(Classification(), rows_of(targets, LABELS), LOGITS[:, :count], targets, LABELS[:count], {})
    assert list(parts) == [
        "Confusion matrix", "ROC", "Precision and recall", "Calibration", "Score distribution",
        "Labels", "Labels that look wrong",
        "Most confident mistakes",
    ]  # fmt: skip
    assert all(part.caption for part in parts.values())
    assert ("b as the positive label" in parts["ROC"].caption) == (count == 2)


def test_report_parts_of_intents_show_the_threshold():
    labels, targets = [*LABELS, "oos"], np.where(np.arange(60) < 20, -1, TARGETS)
    parts = parts_of(Intent(), rows_of(targets, labels), LOGITS, targets, labels, {"threshold": 0.4})
    assert "rejected" in parts["Out of scope"].caption
    assert len(parts["Labels"].rows) == 4


def test_report_parts_of_multilabel_sort_mistakes_by_distance():
    targets = np.pad(np.eye(3)[TARGETS], ((0, 0), (0, 1)))
    rows = [Row(i, {"text": f"text {i}", "labels": (LABELS[target],)}) for i, target in enumerate(TARGETS)]
    parts = parts_of(Multilabel(), rows, LOGITS, targets, LABELS, {"thresholds": [0.5] * 3})
    distances = [row[-1] for row in parts["Most confident mistakes"].rows]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] > 0
