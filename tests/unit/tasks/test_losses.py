import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.metrics import OUT_OF_SCOPE, UNSEEN
from tfhub_ft.tasks.losses import (
    GuessAccuracy,
    GuessedCrossEntropy,
    InBatchNegatives,
    InBatchRecall,
    InScopeAccuracy,
    SpanCrossEntropy,
    TagCrossEntropy,
    WeightedBinaryCrossEntropy,
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


OPTIONS = [
    {},
    {"focal_gamma": 2.0},
    {"focal_gamma": 0.5, "label_smoothing": 0.3},
    {"weights": [0.5, 2.0, 3.0]},
    {"weights": [0.5, 2.0, 0.0], "focal_gamma": 1.5, "label_smoothing": 0.1},
]


def reference(truth, log_probabilities, options):
    """Return the focal cross-entropy of smoothed targets, float (...,), without class weights."""
    smoothing, classes = options.get("label_smoothing", 0), truth.shape[-1]
    truth = (1 - smoothing) * truth + smoothing / classes
    return (truth * (1 - np.exp(log_probabilities)) ** options.get("focal_gamma", 0) * -log_probabilities).sum(-1)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_weighted_cross_entropy_equals_its_formula(options):
    weights = np.array(options.get("weights", [1, 1, 1]))
    expected = weights[TARGETS] * reference(np.eye(3)[TARGETS], log_softmax(LOGITS), options)
    assert float(WeightedCrossEntropy(**options)(TARGETS, LOGITS)) == pytest.approx(expected.mean(), rel=1e-5)
    row_weights = np.array([2.0, 0.0, 0.5])
    weighted = float(WeightedCrossEntropy(**options)(TARGETS, LOGITS, sample_weight=row_weights))
    assert weighted == pytest.approx((row_weights * expected).mean(), rel=1e-5)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_weighted_binary_cross_entropy_equals_its_formula(options):
    present = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1]])
    pairs = np.stack([np.zeros((3, 3)), LOGITS], -1)
    losses = reference(np.eye(2)[present], log_softmax(pairs), options)
    expected = np.where(present, options.get("weights", [1, 1, 1]), 1) * losses
    loss = WeightedBinaryCrossEntropy(**options)
    assert float(loss(present, LOGITS)) == pytest.approx(expected.mean(), rel=1e-5)
    assert np.asarray(loss.call(present, LOGITS)).tolist() == pytest.approx(expected.mean(-1).tolist(), rel=1e-5)


def test_weighted_binary_cross_entropy_equals_that_of_keras():
    present = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1]], "float32")
    expected = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2)(present, LOGITS)
    assert float(WeightedBinaryCrossEntropy(label_smoothing=0.2)(present, LOGITS)) == pytest.approx(float(expected))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_tag_cross_entropy_equals_its_formula(options):
    tags = np.array([[0, 2, -1], [1, UNSEEN, -1]])
    logits = np.stack([LOGITS, LOGITS[::-1]])
    known, words = tags >= 0, np.maximum(tags, 0)
    losses = np.array(options.get("weights", [1, 1, 1]))[words]
    losses = losses * reference(np.eye(3)[words], log_softmax(logits), options)
    loss = TagCrossEntropy(**options)
    assert float(loss(tags, logits)) == pytest.approx(losses[known].mean(), rel=1e-5)
    row_weights = np.array([[2.0], [0.5]])
    weighted = float(loss(tags, logits, sample_weight=row_weights))
    assert weighted == pytest.approx((row_weights * losses)[known].mean(), rel=1e-5)


@pytest.mark.parametrize("loss", [WeightedCrossEntropy, WeightedBinaryCrossEntropy, TagCrossEntropy])
def test_losses_reload_from_their_config(loss):
    config = loss([1, 2, 3], focal_gamma=1.0, label_smoothing=0.1, name="mine").get_config()
    assert loss.from_config(config).get_config() == config
    assert (config["weights"], config["name"]) == ([1.0, 2.0, 3.0], "mine")


def test_focal_loss_has_finite_gradients_for_certain_predictions():
    logits = tf.constant([[200.0, 0.0, -200.0]])
    for loss, target in ((WeightedCrossEntropy, [0]), (WeightedBinaryCrossEntropy, [[1, 0, 0]])):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(focal_gamma=0.5)(np.array(target), logits)
        assert np.isfinite(tape.gradient(value, logits)).all()


def test_weighted_cross_entropy_weights_out_of_scope_rows():
    uniform = -log_softmax(LOGITS[:1]).mean()
    for weights, expected in (([2.0, 3.0, 4.0], uniform), ([2.0, 3.0, 4.0, 0.5], uniform / 2)):
        assert float(WeightedCrossEntropy(weights)(np.array([-1]), LOGITS[:1])) == pytest.approx(expected, rel=1e-5)


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
