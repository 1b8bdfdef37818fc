import numpy as np
import pytest
from sklearn import metrics as sk

from tfhub_ft.metrics import intervals
from tfhub_ft.metrics.scores import (
    classification_metrics,
    entity_metrics,
    intent_metrics,
    multilabel_metrics,
    regression_metrics,
)


def draw_case(rows, classes, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, classes)) * 2
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return probabilities, np.array([rng.choice(classes, p=each) for each in probabilities])


def assert_intervals_hold(by_name, scores):
    for name, (low, high) in by_name.items():
        assert low <= scores[name] <= high, name
        assert high - low < 0.5 * max(1, abs(scores[name])), name
    assert set(by_name) == {name for name, value in scores.items() if isinstance(value, float)}


def test_proportion_interval_is_exact():
    assert intervals.proportion_interval(45, 50) == pytest.approx((0.7819, 0.9667), abs=1e-4)
    assert intervals.proportion_interval(0, 10) == pytest.approx((0, 0.3085), abs=1e-4)
    assert intervals.proportion_interval(10, 10)[1] == 1


@pytest.mark.parametrize("weighted", ["roc_auc", "average_precision"])
def test_bootstrap_ranking_scores_match_scikit_learn(weighted):
    rng = np.random.default_rng(0)
    truth = (rng.random(80) < 0.4).astype("float32")
    scores = np.round(truth * 0.3 + rng.random(80), 1)
    bootstrap = intervals.Bootstrap(80)
    score = {"roc_auc": sk.roc_auc_score, "average_precision": sk.average_precision_score}[weighted]
    expected = [score(truth, scores, sample_weight=each) for each in bootstrap.weights[:20]]
    np.testing.assert_allclose(getattr(bootstrap, weighted)(scores, truth)[:20], expected, rtol=1e-5)


@pytest.mark.parametrize("classes", [2, 4])
def test_classification_intervals_cover_every_score(classes):
    probabilities, targets = draw_case(300, classes)
    predicted = probabilities.argmax(-1)
    scores = classification_metrics(probabilities, targets, [str(i) for i in range(classes)], predicted)
    assert_intervals_hold(intervals.classification_intervals(probabilities, targets, predicted), scores)


def test_classification_intervals_cover_the_true_score():
    probabilities, targets = draw_case(60_000, 2)
    truth, inside = classification_metrics(probabilities, targets, ["a", "b"], probabilities.argmax(-1)), 0
    rng = np.random.default_rng(1)
    for _ in range(60):
        some = rng.choice(60_000, 200, replace=False)
        by_name = intervals.classification_intervals(probabilities[some], targets[some], probabilities[some].argmax(-1))
        inside += np.array(
            [by_name[n][0] <= truth[n] <= by_name[n][1] for n in ("accuracy", "roc_auc", "f1", "log_loss")]
        )
    assert (inside >= 0.85 * 60).all(), inside


def test_classification_intervals_of_missing_labels():
    probabilities, _ = draw_case(40, 2)
    by_name = intervals.classification_intervals(probabilities, np.zeros(40, int), probabilities.argmax(-1))
    assert "roc_auc" not in by_name
    assert by_name["accuracy"][0] > 0


def test_intent_intervals_cover_every_score():
    probabilities, targets = draw_case(200, 3)
    targets[:50] = -1
    labels, threshold = ["a", "b", "c", "oos"], 0.4
    predicted = np.where(1 - probabilities.max(-1) > threshold, 3, probabilities.argmax(-1))
    scores = intent_metrics(probabilities, targets, labels, predicted)
    assert_intervals_hold(intervals.intent_intervals(probabilities, targets, 4, predicted, targets == -1), scores)


def test_multilabel_intervals_cover_every_score():
    rng = np.random.default_rng(0)
    probabilities = rng.random((300, 4))
    targets = np.pad((rng.random((300, 4)) < probabilities).astype("float32"), ((0, 0), (0, 1)))
    scores = multilabel_metrics(probabilities, targets, list("abcd"), [0.5] * 4)
    by_name = intervals.multilabel_intervals(probabilities, targets, [0.5] * 4)
    assert_intervals_hold(by_name, scores)


def test_regression_intervals_cover_every_score():
    rng = np.random.default_rng(0)
    truth = rng.random(300) * 5
    predicted = truth + rng.normal(0, 0.8, 300)
    assert_intervals_hold(intervals.regression_intervals(predicted, truth), regression_metrics(predicted, truth))
    assert set(intervals.regression_intervals(np.ones(9), truth[:9])) == {
        "mean_absolute_error",
        "root_mean_squared_error",
    }


def test_entity_intervals_cover_every_score():
    truth = [["B-PER", "I-PER", "O"], ["O", "B-LOC", "O"], ["O", "O", "O"]] * 40
    predicted = [["B-PER", "I-PER", "O"], ["O", "B-PER", "O"], ["O", "O", "B-LOC"]] * 20 + truth[:60]
    losses = [np.full(3, 0.1 * (1 + number % 3)) for number in range(120)]
    scores = {**entity_metrics(predicted, truth), "log_loss": float(np.concatenate(losses).mean())}
    assert_intervals_hold(intervals.entity_intervals(predicted, truth, losses), scores)


def test_mean_intervals_of_zeros_and_ones_are_exact():
    by_name = intervals.mean_intervals(
        {"share": np.repeat([0, 1], [5, 45]), "mean": np.linspace(0, 1, 50), "none": np.array([])}
    )
    assert by_name["share"] == pytest.approx((0.7819, 0.9667), abs=1e-4)
    assert by_name["mean"] == pytest.approx((0.42, 0.58), abs=0.03)
    assert "none" not in by_name


def test_guess_intervals_are_means_over_tokens():
    sums = np.array([[10.0, 2, 10], [1.0, 0, 1]] * 50)
    by_name = intervals.guess_intervals(sums, "masked_accuracy")
    assert by_name["masked_accuracy"][0] <= 2 / 11 <= by_name["masked_accuracy"][1]
    assert by_name["perplexity"] == pytest.approx((np.e, np.e))
    assert intervals.guess_intervals(np.zeros((2, 3)), "masked_accuracy") == {}


def test_mean_interval_is_that_of_students_t():
    from scipy import stats

    values = [0.91, 0.88, 0.93, 0.9, 0.87]
    low, high = intervals.mean_interval(values)
    expected = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert (low, high) == pytest.approx(expected)
    assert intervals.mean_interval([0.5, 0.5]) == (0.5, 0.5)
