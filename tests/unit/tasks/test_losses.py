import numpy as np
import pytest

from tfhub_ft.metrics.scores import OUT_OF_SCOPE, UNSEEN
from tfhub_ft.tasks.losses import (
    GuessAccuracy,
    GuessedCrossEntropy,
    InBatchNegatives,
    InBatchRecall,
    InScopeAccuracy,
    SpanCrossEntropy,
    TagCrossEntropy,
    WeightedCrossEntropy,
)

LOGITS = np.array([[2.0, 0.5, -1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 3.0]], "float32")
TARGETS = np.array([0, 2, 2])


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_cross_entropy_weighs_classes_and_plays_down_what_is_right():
    own = log_softmax(LOGITS)[np.arange(3), TARGETS]
    assert float(WeightedCrossEntropy()(TARGETS, LOGITS)) == pytest.approx(-own.mean(), rel=1e-5)
    weights = np.array([1.0, 2.0, 3.0])
    weighted = float(WeightedCrossEntropy(weights.tolist())(TARGETS, LOGITS))
    assert weighted == pytest.approx(-(own * weights[TARGETS]).mean(), rel=1e-5)
    focal = float(WeightedCrossEntropy(focal_gamma=2.0)(TARGETS, LOGITS))
    assert focal == pytest.approx(-((1 - np.exp(own)) ** 2 * own).mean(), rel=1e-5)


def test_a_row_out_of_scope_is_taught_to_be_unsure():
    loss = float(WeightedCrossEntropy()(np.array([-1]), LOGITS[:1]))
    assert loss == pytest.approx(-log_softmax(LOGITS[:1]).mean(), rel=1e-5)


def test_rows_out_of_scope_do_not_count_for_accuracy():
    metric = InScopeAccuracy()
    metric.update_state(np.array([0, 2, OUT_OF_SCOPE]), LOGITS)
    assert float(metric.result()) == pytest.approx(0.5)


def test_labels_not_seen_in_training_count_as_wrong_and_keep_losses_finite():
    metric = InScopeAccuracy()
    metric.update_state(np.array([0, UNSEEN, UNSEEN]), LOGITS)
    assert float(metric.result()) == pytest.approx(1 / 3)
    assert np.isfinite(float(WeightedCrossEntropy()(np.array([UNSEEN]), LOGITS[:1])))


def test_tags_without_a_logit_do_not_count_in_the_loss():
    tags, logits = np.array([[0, 2, -1, UNSEEN]]), np.concatenate([LOGITS, LOGITS[:1]])[None]
    own = log_softmax(LOGITS[:2])[[0, 1], [0, 2]]
    assert float(TagCrossEntropy()(tags, logits)) == pytest.approx(-own.mean(), rel=1e-5)


def test_in_batch_negatives_leave_out_equal_replies():
    vectors = np.eye(3, dtype="float32")[:, None].repeat(2, 1)
    apart = float(InBatchNegatives(scale=1.0)(np.array([0, 1, 2]), vectors))
    assert apart == pytest.approx(np.log(np.e + 2) - 1, rel=1e-5)
    assert float(InBatchNegatives(scale=1.0)(np.array([0, 0, 0]), vectors)) == pytest.approx(0, abs=1e-6)
    recall = InBatchRecall()
    recall.update_state(np.array([0, 1, 2]), vectors[:, ::-1])
    assert float(recall.result()) == 1


def one_hot_logits(indices, size):
    return np.eye(size, dtype="float32")[np.array(indices)] * 10


def test_span_losses_are_of_the_first_and_the_last_token():
    logits = np.stack([one_hot_logits([1, 0], 4), one_hot_logits([2, 0], 4)], -1)
    assert float(SpanCrossEntropy()(np.array([[1, 2], [0, 0]]), logits)) < 0.01
    assert float(SpanCrossEntropy()(np.array([[2, 2], [0, 3]]), logits)) == pytest.approx(5, abs=0.01)


def test_masked_loss_is_the_mean_over_guesses_not_over_rows():
    sums = np.array([[6.0, 1, 3], [2.0, 1, 1], [0.0, 0, 0]], "float32")
    assert float(GuessedCrossEntropy()(np.zeros(3), sums)) == pytest.approx(8 / 4)
    metric = GuessAccuracy()
    metric.update_state(None, sums)
    assert float(metric.result()) == pytest.approx(0.5)
