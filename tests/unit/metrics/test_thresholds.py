import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import f1_score

from tfhub_ft.metrics.thresholds import (
    least_rows,
    threshold_for_precision,
    threshold_for_rejection,
    thresholds_for_f1,
)

POOLS = Path(__file__).with_name("score_pools.csv")


def read_pool(name):
    with POOLS.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["pool"] == name]
    return np.array([float(row["score"]) for row in rows]), np.array([int(row["positive"]) for row in rows])


@pytest.mark.parametrize(
    ("pool", "rows", "wanted", "most_refused", "least_recall"),
    [
        ("spam", 360, 0.9, 0.3, 0.8),
        ("spam", 700, 0.95, 0.6, 0.75),
        ("phishing", 180, 0.8, 0.1, 0.7),
        ("phishing", 700, 0.9, 0.1, 0.6),
        ("sentiment", 360, 0.9, 0.2, 0.5),
        ("sentiment", 180, 0.95, 1.0, 0.5),
    ],
)
def test_threshold_for_precision_holds_on_new_rows(pool, rows, wanted, most_refused, least_recall):
    scores, truth = read_pool(pool)
    rng, draws, violations, recalls = np.random.default_rng(0), 300, 0, []
    for _ in range(draws):
        some = rng.choice(len(scores), rows, replace=False)
        result = threshold_for_precision(scores[some], truth[some], wanted=wanted)
        if result["is_confident"]:
            flagged = scores >= result["threshold"]
            violations += truth[flagged].mean() < wanted
            recalls.append(truth[flagged].sum() / truth.sum())
    assert violations <= 0.05 * draws
    assert 1 - len(recalls) / draws <= most_refused
    assert np.mean(recalls) >= least_recall


def test_threshold_for_precision_rarely_accepts_random_scores():
    rng, accepted = np.random.default_rng(0), 0
    for _ in range(300):
        truth = (rng.random(400) < 0.88).astype(int)
        accepted += threshold_for_precision(rng.random(400), truth, wanted=0.9)["is_confident"]
    assert accepted <= 0.05 * 300


def test_threshold_for_precision_lies_between_two_scores():
    scores = np.concatenate([np.linspace(0.6, 1, 100), np.linspace(0, 0.4, 100)])
    result = threshold_for_precision(scores, np.repeat([1, 0], 100), wanted=0.95)
    assert result["is_confident"]
    assert result["precision"] >= 0.95
    assert result["recall"] == 1
    assert result["rows_needed"] is None
    assert not np.isclose(scores, result["threshold"]).any()


def test_threshold_for_precision_is_below_the_lowest_score_if_all_rows_are_positive():
    result = threshold_for_precision(np.linspace(0.5, 1, 100), np.ones(100, int), wanted=0.9)
    assert (result["threshold"], result["recall"]) == (0.25, 1)


def test_threshold_for_precision_does_not_separate_equal_scores():
    scores = np.repeat([0.9, 0.1], [150, 50])
    truth = np.concatenate([np.ones(149), [0], np.zeros(50)]).astype(int)
    result = threshold_for_precision(scores, truth, wanted=0.9)
    assert (result["threshold"], result["precision"]) == (0.5, 149 / 150)


def test_threshold_for_precision_estimates_the_rows_needed():
    def choose(rows):
        truth = np.repeat([1, 0], [rows // 9, rows - rows // 9])
        scores = np.where(truth, 0.9, 0.1) + np.linspace(0.05, -0.05, rows)
        return threshold_for_precision(scores, truth, wanted=0.95)

    result = choose(180)
    assert not result["is_confident"]
    assert 400 <= result["rows_needed"] <= 2000
    assert choose(result["rows_needed"])["is_confident"]
    assert not choose(result["rows_needed"] // 2)["is_confident"]


def test_threshold_for_precision_of_a_model_that_is_too_imprecise():
    truth = np.tile([1, 1, 1, 0], 100)
    result = threshold_for_precision(np.linspace(1, 0, 400), truth, wanted=0.9)
    assert not result["is_confident"]
    assert result["rows_needed"] is None


@pytest.mark.parametrize("truth", [[1, 1, 0], [0, 0, 0], [1, 1, 1]])
def test_threshold_for_precision_of_few_rows_is_the_safest(truth):
    result = threshold_for_precision(np.array([0.9, 0.8, 0.2]), np.array(truth), wanted=0.98)
    assert not result["is_confident"]
    assert result["precision"] == (1 if any(truth) else 0)
    assert 0 <= result["threshold"] <= 0.9


@pytest.mark.parametrize(("wanted", "errors"), [(0.9, 0), (0.9, 3), (0.98, 0), (0.98, 2), (0.5, 1)])
def test_least_rows_is_the_first_that_passes_the_test(wanted, errors):
    rows = least_rows(wanted, errors)
    assert binom.cdf(errors, rows, 1 - wanted) <= 0.05 < binom.cdf(errors, rows - 1, 1 - wanted)


def test_thresholds_for_f1_maximize_f1():
    rng = np.random.default_rng(0)
    truth = (rng.random((60, 2)) < 0.3).astype(int)
    scores = np.clip(truth * 0.3 + rng.random((60, 2)) * 0.7, 0, 1)
    for label, threshold in enumerate(thresholds_for_f1(scores, truth)):
        best = max(f1_score(truth[:, label], scores[:, label] >= at) for at in scores[:, label])
        assert f1_score(truth[:, label], scores[:, label] >= threshold) == pytest.approx(best)


def test_thresholds_for_f1_of_a_label_without_rows():
    assert thresholds_for_f1(np.array([[0.2], [0.9]]), np.zeros((2, 1), int)) == [0.5]


def test_threshold_for_rejection_keeps_the_wanted_accuracy():
    rng = np.random.default_rng(0)
    scores, correct = rng.random(200), rng.random(200) < 0.97
    threshold = threshold_for_rejection(scores, correct, wanted=0.9)
    kept = correct & (scores <= threshold)
    assert kept.mean() == pytest.approx(0.9, abs=0.005)
    assert kept.mean() >= 0.9


def test_threshold_for_rejection_of_a_model_that_is_too_inaccurate():
    scores = np.array([0.1, 0.9])
    assert threshold_for_rejection(scores, np.array([True, False]), wanted=0.9) > 0.9
