import numpy as np
import pytest

from tfhub_ft.metrics import OUT_OF_SCOPE, UNSEEN
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


def test_weighted_cross_entropy_has_class_weights_and_focal_gamma():
    true = log_softmax(LOGITS)[np.arange(3), TARGETS]
    assert float(WeightedCrossEntropy()(TARGETS, LOGITS)) == pytest.approx(-true.mean(), rel=1e-5)
    weights = np.array([1.0, 2.0, 3.0])
    weighted = float(WeightedCrossEntropy(weights.tolist())(TARGETS, LOGITS))
    assert weighted == pytest.approx(-(true * weights[TARGETS]).mean(), rel=1e-5)
    focal = float(WeightedCrossEntropy(focal_gamma=2.0)(TARGETS, LOGITS))
    assert focal == pytest.approx(-((1 - np.exp(true)) ** 2 * true).mean(), rel=1e-5)


def test_weighted_cross_entropy_of_out_of_scope_rows_is_uniform():
    loss = float(WeightedCrossEntropy()(np.array([-1]), LOGITS[:1]))
    assert loss == pytest.approx(-log_softmax(LOGITS[:1]).mean(), rel=1e-5)


def test_in_scope_accuracy_ignores_out_of_scope_rows():
    metric = InScopeAccuracy()
    metric.update_state(np.array([0, 2, OUT_OF_SCOPE]), LOGITS)
    assert float(metric.result()) == pytest.approx(0.5)


def test_unseen_labels_count_as_wrong_and_keep_losses_finite():
    metric = InScopeAccuracy()
    metric.update_state(np.array([0, UNSEEN, UNSEEN]), LOGITS)
    assert float(metric.result()) == pytest.approx(1 / 3)
    assert np.isfinite(float(WeightedCrossEntropy()(np.array([UNSEEN]), LOGITS[:1])))


def test_tag_cross_entropy_ignores_negative_targets():
    tags, logits = np.array([[0, 2, -1, UNSEEN]]), np.concatenate([LOGITS, LOGITS[:1]])[None]
    true = log_softmax(LOGITS[:2])[[0, 1], [0, 2]]
    assert float(TagCrossEntropy()(tags, logits)) == pytest.approx(-true.mean(), rel=1e-5)


def test_in_batch_negatives_ignore_equal_replies():
    vectors = np.eye(3, dtype="float32")[:, None].repeat(2, 1)
    apart = float(InBatchNegatives(scale=1.0)(np.array([0, 1, 2]), vectors))
    assert apart == pytest.approx(np.log(np.e + 2) - 1, rel=1e-5)
    assert float(InBatchNegatives(scale=1.0)(np.array([0, 0, 0]), vectors)) == pytest.approx(0, abs=1e-6)
    recall = InBatchRecall()
    recall.update_state(np.array([0, 1, 2]), vectors[:, ::-1])
    assert float(recall.result()) == 1


def one_hot_logits(indices, size):
    return np.eye(size, dtype="float32")[np.array(indices)] * 10


def test_span_cross_entropy_covers_start_and_end():
    logits = np.stack([one_hot_logits([1, 0], 4), one_hot_logits([2, 0], 4)], -1)
    assert float(SpanCrossEntropy()(np.array([[1, 2], [0, 0]]), logits)) < 0.01
    assert float(SpanCrossEntropy()(np.array([[2, 2], [0, 3]]), logits)) == pytest.approx(5, abs=0.01)


def test_guessed_cross_entropy_is_the_mean_over_guesses():
    sums = np.array([[6.0, 1, 3], [2.0, 1, 1], [0.0, 0, 0]], "float32")
    assert float(GuessedCrossEntropy()(np.zeros(3), sums)) == pytest.approx(8 / 4)
    metric = GuessAccuracy()
    metric.update_state(None, sums)
    assert float(metric.result()) == pytest.approx(0.5)
