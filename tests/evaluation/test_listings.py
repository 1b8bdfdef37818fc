import numpy as np

from tfhub_ft.evaluation.listings import confident_mistakes, doubtful_labels, per_class


def test_the_surest_mistakes_come_first_and_long_texts_are_cut():
    texts = ["right", "slightly wrong", "very wrong " * 100]
    listing = confident_mistakes(texts, ["a", "a", "a"], ["a", "b", "b"], np.array([0.9, 0.6, 0.99]))
    assert [row[0][:10] for row in listing.rows] == ["very wrong", "slightly w"]
    assert len(listing.rows[0][0]) == 400
    assert "2 of 3" in listing.says


def test_a_label_is_doubted_where_the_model_is_as_sure_of_another():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.05, 0.95], [0.2, 0.8], [0.97, 0.03], [0.45, 0.55]])
    targets = np.array([0, 0, 1, 1, 1, 0])
    listing = doubtful_labels([f"text {i}" for i in range(6)], targets, probabilities, ["no", "yes"])
    # Row 5 leans to "yes", but less than rows of that label do.
    assert [row[:3] for row in listing.rows] == [["text 4", "yes", "no"]]


def test_a_label_without_rows_is_no_rival():
    probabilities = np.array([[0.3, 0.1, 0.6], [0.2, 0.7, 0.1]])
    assert doubtful_labels(["a", "b"], np.array([0, 1]), probabilities, ["x", "y", "z"]).rows == []


def test_labels_have_a_row_each():
    scores = {"per_class": {"a": {"precision": 0.5, "rows": 3}, "b": {"precision": 1.0, "rows": 2}}}
    listing = per_class(scores)
    assert listing.columns == ["label", "precision", "rows"]
    assert listing.rows == [["a", 0.5, 3], ["b", 1.0, 2]]
