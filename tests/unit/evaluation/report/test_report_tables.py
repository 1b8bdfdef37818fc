import numpy as np

from tfhub_ft.evaluation.report.report_tables import label_issues, per_class


def issues(targets, probabilities, labels, texts=None):
    texts = texts or [f"text {i}" for i in range(len(targets))]
    predicted = probabilities.argmax(-1)
    given = [labels[i] if i >= 0 else "new" for i in targets]
    named = [labels[i] for i in predicted]
    confidence = probabilities.max(-1)
    return label_issues(texts, given, named, targets, probabilities, labels, confidence)


def test_label_issues_shows_the_surest_mistakes_first_and_cuts_long_texts():
    probabilities = np.array([[0.1, 0.9], [0.4, 0.6], [0.3, 0.7], [0.0, 1.0]])
    texts = ["right", "slightly wrong", "more wrong " * 100, "right, too"]
    looks_wrong, mistakes = issues(np.array([1, 0, 0, 1]), probabilities, ["no", "yes"], texts)
    assert looks_wrong.rows == []
    assert [row[0][:10] for row in mistakes.rows] == ["more wrong", "slightly w"]
    assert len(mistakes.rows[0][0]) == 400
    assert "2 of 4" in mistakes.says


def test_label_issues_lists_a_row_as_wrong_label_or_as_mistake():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.05, 0.95], [0.2, 0.8], [0.97, 0.03], [0.45, 0.55]])
    targets = np.array([0, 0, 1, 1, 1, 0])
    looks_wrong, mistakes = issues(targets, probabilities, ["no", "yes"])
    # Row 4 is more typical of "no" than all rows of that label, row 5 is less typical of "yes" than most of its rows.
    assert [row[:3] for row in looks_wrong.rows] == [["text 4", "yes", "no"]]
    assert [row[:3] for row in mistakes.rows] == [["text 5", "no", "yes"]]


def test_label_issues_of_labels_without_rows_and_unseen_labels_are_mistakes():
    probabilities = np.array([[0.3, 0.1, 0.6], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]])
    looks_wrong, mistakes = issues(np.array([0, 1, -2]), probabilities, ["x", "y", "z"])
    assert looks_wrong.rows == []
    assert [row[:2] for row in mistakes.rows] == [["text 2", "new"], ["text 0", "x"]]


def test_labels_have_a_row_each():
    scores = {"per_class": {"a": {"precision": 0.5, "rows": 3}, "b": {"precision": 1.0, "rows": 2}}}
    listing = per_class(scores)
    assert listing.columns == ["label", "precision", "rows"]
    assert listing.rows == [["a", 0.5, 3], ["b", 1.0, 2]]
