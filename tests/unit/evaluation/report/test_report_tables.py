import numpy as np

from tfhub_ft.data.rows import Row
from tfhub_ft.evaluation.report.report_tables import class_table, label_issues
from tfhub_ft.evaluation.scored import Scored
from tfhub_ft.tasks.classification import Classification


def issues(targets, probabilities, labels, texts=None):
    texts = texts or [f"text {i}" for i in range(len(targets))]
    given = [labels[i] if i >= 0 else "new" for i in targets]
    rows = [Row(i, {"text": text, "label": label}) for i, (text, label) in enumerate(zip(texts, given))]
    scored = Scored(Classification(), rows, np.log(probabilities + 1e-9), targets, labels, {}, {}, {})
    return label_issues(scored, labels, probabilities.argmax(-1), probabilities.max(-1))


def test_label_issues_sorts_mistakes_and_shortens_texts():
    probabilities = np.array([[0.1, 0.9], [0.4, 0.6], [0.3, 0.7], [0.0, 1.0]])
    texts = ["correct", "slightly wrong", "more wrong " * 100, "also correct"]
    looks_wrong, mistakes = issues(np.array([1, 0, 0, 1]), probabilities, ["no", "yes"], texts)
    assert looks_wrong.rows == []
    assert [row[0][:10] for row in mistakes.rows] == ["more wrong", "slightly w"]
    assert len(mistakes.rows[0][0]) == 400
    assert "2 of 4" in mistakes.caption


def test_label_issues_lists_each_row_once():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.05, 0.95], [0.2, 0.8], [0.97, 0.03], [0.45, 0.55]])
    targets = np.array([0, 0, 1, 1, 1, 0])
    looks_wrong, mistakes = issues(targets, probabilities, ["no", "yes"])
    # Row 4 is more typical of "no" than all rows of that label, row 5 is less typical of "yes" than most of its rows.
    assert [row[:3] for row in looks_wrong.rows] == [["text 4", "yes", "no"]]
    assert [row[:3] for row in mistakes.rows] == [["text 5", "no", "yes"]]


def test_label_issues_of_unknown_labels_are_mistakes():
    probabilities = np.array([[0.3, 0.1, 0.6], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]])
    looks_wrong, mistakes = issues(np.array([0, 1, -2]), probabilities, ["x", "y", "z"])
    assert looks_wrong.rows == []
    assert [row[:2] for row in mistakes.rows] == [["text 2", "new"], ["text 0", "x"]]


def test_class_table_has_a_row_for_each_label():
    scores = {"per_class": {"a": {"precision": 0.5, "rows": 3}, "b": {"precision": 1.0, "rows": 2}}}
    table = class_table(scores)
    assert table.columns == ["label", "precision", "rows"]
    assert table.rows == [["a", 0.5, 3], ["b", 1.0, 2]]
