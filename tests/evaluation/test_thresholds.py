import numpy as np
import pytest
from sklearn.metrics import f1_score

from tfhub_ft.evaluation.thresholds import threshold_for_precision, threshold_for_rejection, thresholds_for_f1


def draw(rows, seed):
    """Scores of a good but not perfect classifier, and the truth, one row in eight positive."""
    random = np.random.default_rng(seed)
    truth = (random.random(rows) < 0.125).astype(int)
    return truth * 3.0 + random.normal(0, 1, rows), truth


def test_the_wanted_precision_holds_on_other_rows_four_times_in_five():
    held, recalls = [], []
    for seed in range(100):
        threshold = threshold_for_precision(*draw(800, seed), wanted=0.9)["threshold"]
        scores, truth = draw(20_000, 1000 + seed)
        held.append(truth[scores >= threshold].mean() >= 0.9)
        recalls.append((scores[truth == 1] >= threshold).mean())
    assert 0.7 <= np.mean(held) <= 0.95
    assert np.mean(recalls) > 0.7


def test_the_threshold_lies_between_the_row_that_set_it_and_the_next():
    scores, truth = np.array([0.1, 0.4, 0.6, 0.7, 0.9]), np.array([0, 1, 0, 1, 1])
    chosen = threshold_for_precision(scores, truth, wanted=0.6)
    assert chosen["precision"] == 1
    assert chosen["recall"] == pytest.approx(2 / 3)
    assert chosen["threshold"] == pytest.approx(0.65)


def test_rows_of_the_same_score_are_not_parted():
    chosen = threshold_for_precision(np.array([0.9, 0.9, 0.9, 0.1]), np.array([1, 1, 0, 1]), wanted=0.5)
    assert chosen["threshold"] in (0.1, 0.5)
    assert chosen["precision"] in (0.75, pytest.approx(2 / 3))


def test_a_precision_that_cannot_be_promised_warns_and_takes_the_safest(capsys):
    chosen = threshold_for_precision(np.array([0.9, 0.8, 0.2]), np.array([1, 1, 0]), wanted=0.98)
    assert (chosen["precision"], chosen["recall"]) == (1, 1)
    assert "the 3 validation rows promise no precision of 0.98" in capsys.readouterr().err


def test_f1_thresholds_are_the_best_there_are():
    random = np.random.default_rng(0)
    truth = (random.random((60, 2)) < 0.3).astype(int)
    scores = np.clip(truth * 0.3 + random.random((60, 2)) * 0.7, 0, 1)
    for label, threshold in enumerate(thresholds_for_f1(scores, truth)):
        best = max(f1_score(truth[:, label], scores[:, label] >= at) for at in scores[:, label])
        assert f1_score(truth[:, label], scores[:, label] >= threshold) == pytest.approx(best)


def test_a_label_that_no_row_has_gets_one_half():
    assert thresholds_for_f1(np.array([[0.2], [0.9]]), np.zeros((2, 1), int)) == [0.5]


def test_rejection_keeps_the_wanted_share_of_right_answers():
    random = np.random.default_rng(0)
    scores, correct = random.random(200), random.random(200) < 0.97
    threshold = threshold_for_rejection(scores, correct, wanted=0.9)
    kept = correct & (scores <= threshold)
    assert kept.mean() == pytest.approx(0.9, abs=0.005)
    assert kept.mean() >= 0.9


def test_nothing_is_rejected_where_too_few_are_right():
    scores = np.array([0.1, 0.9])
    assert threshold_for_rejection(scores, np.array([True, False]), wanted=0.9) > 0.9
