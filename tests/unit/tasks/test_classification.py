import numpy as np
import pytest

from tfhub_ft.data.labels import known_labels
from tfhub_ft.data.rows import Row
from tfhub_ft.evaluation.scored import correctness, held_out_scores, score_warnings
from tfhub_ft.metrics.calibration import probabilities_of
from tfhub_ft.settings import TwoClassSettings
from tfhub_ft.tasks.classification import Classification, balanced_weights
from tfhub_ft.utils.errors import InputError

TASK, SETTINGS = Classification(), TwoClassSettings()


def rows(*labels):
    return [Row(i, {"text": f"text {i}", "label": label}) for i, label in enumerate(labels, 2)]


def test_labels_are_sorted_by_name_or_by_number():
    assert TASK.labels(rows("b", "a", "b"), "f", SETTINGS) == ["a", "b"]
    assert TASK.labels(rows("10", "9", "-1"), "f", SETTINGS) == ["-1", "9", "10"]
    assert TASK.labels(rows("10", "9", "x"), "f", SETTINGS) == ["10", "9", "x"]


def test_labels_rejects_a_single_label():
    with pytest.raises(InputError, match="f.csv: only one label .'a'.; classification needs at least two"):
        TASK.labels(rows("a", "a"), "f.csv", SETTINGS)


def test_targets_are_indices():
    np.testing.assert_array_equal(TASK.targets(rows("b", "a"), ["a", "b"], "f"), [1, 0])


def score_rows(labels, seen):
    """Return the scores of a model that is confident in the first label, and which rows are correct."""
    logits = np.tile([[3.0, *[0.0] * (len(seen) - 1)]], (len(labels), 1)).astype("float32")
    thresholds = {"threshold": 0.9} if len(seen) == 2 else {}
    targets = TASK.targets(rows(*labels), seen, "test.csv")
    _, correct = correctness(TASK, logits, targets, seen, thresholds)
    return TASK.metrics(logits, targets, seen, thresholds), correct


@pytest.mark.parametrize("seen", [["a", "b"], ["a", "b", "c"]])
def test_metrics_count_unseen_labels_as_wrong(seen):
    scores, correct = score_rows(["a", "new", "newer", "b"], seen)
    assert correct.tolist() == [True, False, False, False]
    assert (scores["rows"], scores["unseen_label_rows"], scores["accuracy"]) == (4, 2, 0.25)
    assert scores["per_class"]["a"]["precision"] == 0.25
    assert np.sum(scores["confusion_matrix"]) == 2
    assert scores["log_loss"] > 10
    if len(seen) == 2:
        assert scores["roc_auc"] == 0.5
        assert scores["average_precision"] == 0.25
    assert "unseen_label_rows" not in score_rows(["a", "b"], seen)[0]


def test_metrics_of_unseen_labels_alone_are_all_wrong():
    scores, correct = score_rows(["new", "newer"], ["a", "b"])
    assert not correct.any()
    assert (scores["accuracy"], scores["f1"], scores["roc_auc"]) == (0, 0, None)
    assert scores["confusion_matrix"] == [[0, 0], [0, 0]]


def test_fit_thresholds_counts_unseen_labels_as_negative():
    logits = np.array([[0.0, 3.0], [0.0, 2.0], [0.0, 1.0]] * 40)
    targets = TASK.targets(rows(*["yes", "yes", "new"] * 40), ["no", "yes"], "f")
    thresholds = TASK.fit_thresholds(logits, targets, ["no", "yes"], TwoClassSettings(wanted_precision=0.9))
    assert (thresholds["precision"], thresholds["recall"]) == (1, 1)


def test_targets_find_labels_in_another_unicode_form():
    decomposed = "cafe\u0301"
    assert TASK.targets(rows("caf\u00e9", "tea"), [decomposed, "tea"], "f").tolist() == [0, 1]
    assert known_labels(TASK, [decomposed]) == {"caf\u00e9"}
    settings = TwoClassSettings(positive_label=decomposed)
    assert TASK.labels(rows("caf\u00e9", "tea"), "f", settings) == ["tea", "caf\u00e9"]


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [({}, ["no", "yes"]), ({"threshold": 0.9}, ["no", "no"]), ({"threshold": 0.01}, ["yes"] * 2)],
)
def test_decoded_and_serving_outputs_agree(thresholds, expected):
    logits = np.array([[2.0, -1.0], [0.5, 1.5]], "float32")
    predictions = TASK.decode_serving_outputs({"logits": logits}, [], ["no", "yes"], thresholds)
    served = {
        name: np.asarray(tensor) for name, tensor in TASK.serving_outputs(logits, ["no", "yes"], thresholds).items()
    }
    assert [p["label"] for p in predictions] == expected == [word.decode() for word in served["label"]]
    np.testing.assert_allclose([p["score"] for p in predictions], served["score"], rtol=1e-6)
    probabilities = [list(p["probabilities"].values()) for p in predictions]
    np.testing.assert_allclose(probabilities, served["probabilities"], rtol=1e-6)
    assert all(p["score"] == p["probabilities"][p["label"]] for p in predictions)


def test_labels_end_with_the_positive_label():
    settings = TwoClassSettings(positive_label="spam")
    assert TASK.labels(rows("valid", "spam"), "f", settings) == ["valid", "spam"]
    with pytest.raises(InputError, match="f.csv: --positive-label 'spam' not found; labels are a, b"):
        TASK.labels(rows("a", "b"), "f.csv", settings)


def test_labels_rejects_wanted_precision_of_three_labels():
    with pytest.raises(InputError, match="f: 3 labels .a, b, c.; --wanted-precision needs two"):
        TASK.labels(rows("a", "b", "c"), "f", TwoClassSettings(wanted_precision=0.9))


def test_fit_thresholds_reaches_the_wanted_precision():
    rng = np.random.default_rng(0)
    targets = (rng.random(500) < 0.3).astype("int32")
    logits = np.stack([np.zeros(500), 2 * targets - 1 + rng.normal(0, 1, 500)], -1)
    thresholds = TASK.fit_thresholds(logits, targets, ["no", "yes"], TwoClassSettings(wanted_precision=0.95))
    scores = TASK.metrics(logits, targets, ["no", "yes"], thresholds)
    assert scores["precision"] == pytest.approx(thresholds["precision"])
    assert thresholds["precision"] >= 0.95
    assert scores["recall"] == pytest.approx(thresholds["recall"])
    assert thresholds["recall"] > 0.2
    assert TASK.metrics(logits, targets, ["no", "yes"], {})["precision"] < 0.95


def test_balanced_weights_are_inverse_frequencies():
    assert balanced_weights(np.array([2, 2, 0, 2, -1]), 4) == pytest.approx([2, 1, 2 / 3, 1])
    with pytest.raises(ValueError, match="pass the targets of the training rows"):
        balanced_weights(None)
    weights = balanced_weights(np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(weights, [4 / 6, 2.0])


def test_probabilities_of_large_logits_are_finite():
    np.testing.assert_allclose(
        probabilities_of(np.array([[1000.0, 1000.0], [-1000.0, 0.0]]), "softmax"), [[0.5, 0.5], [0.0, 1.0]]
    )


def held_out(**predicted):
    return {"per_class": {label: {"rows": 5, "predicted": count} for label, count in predicted.items()}}


def test_score_warnings_name_labels_never_predicted():
    scores = {"validation": held_out(a=9, b=0, c=1), "test": held_out(a=10, b=0, c=0)}
    assert score_warnings(TASK, scores, {}) == [
        "labels that the model never predicts, with their validation and test rows: b: 10"
    ]
    assert score_warnings(TASK, {"test": held_out(a=5, b=5)}, {}) == []


def test_score_warnings_name_the_only_predicted_label():
    (warning,) = score_warnings(TASK, {"validation": held_out(a=0, b=10)}, {})
    assert warning == "the model predicts 'b' for all validation rows; train it longer, or on more rows"


def test_score_warnings_estimate_rows_for_wanted_precision():
    logits = np.stack([np.zeros(90), np.where(np.arange(90) < 20, 3.0, -3.0) + np.arange(90) / 1e3], -1)
    targets = (np.arange(90) < 20).astype("int32")
    thresholds = TASK.fit_thresholds(logits, targets, ["no", "yes"], TwoClassSettings(wanted_precision=0.95))
    scores = {"validation": TASK.metrics(logits, targets, ["no", "yes"], thresholds)}
    (warning,) = score_warnings(TASK, scores, thresholds)
    assert warning.startswith(
        "--wanted-precision 0.95: no threshold reaches it at 95% confidence on the 90 validation rows; about "
    )
    assert f"{thresholds['rows_needed']:,} are needed" in warning


def test_held_out_scores_have_intervals_and_a_baseline():
    logits = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, 1.0]])
    targets = np.array([0, 1, 1, 1], "int32")
    train = {"rows": 10, "label_rows": {"yes": 8, "no": 2}}
    scores = held_out_scores(TASK, logits, targets, ["no", "yes"], {}, train)
    assert scores["baseline"]["accuracy"] == 0.75
    assert scores["baseline"]["roc_auc"] == 0.5
    assert scores["intervals"]["accuracy"][0] < scores["accuracy"] < scores["intervals"]["accuracy"][1]
    assert "baseline" not in held_out_scores(TASK, logits, targets, ["no", "yes"], {}, {"rows": 10})
