import keras
import numpy as np
import pytest
from scipy.special import log_softmax, rel_entr, softmax

from tfhub_ft.distillation.losses import softened_classes
from tfhub_ft.distillation.student_model import DistillationLoss, StudentLearner, hidden_difference
from tfhub_ft.tasks.losses import WeightedCrossEntropy

RANDOM = np.random.default_rng(0)
TEACHER, LOGITS = (RANDOM.normal(0, 2, (4, 3)).astype("float32") for _ in range(2))
TARGETS = {
    "task": np.array([0, 2, 1, 0], "int32"),
    "teacher": TEACHER,
    "is_labeled": np.array([1, 1, 0, 0], "float32"),
}
SOFT = 4 * rel_entr(softmax(TEACHER / 2, -1), softmax(LOGITS / 2, -1)).sum(-1)
TASK = -log_softmax(LOGITS, -1)[np.arange(4), TARGETS["task"]]


def learner(**weights):
    tokens = {"features": keras.Input((3,))}
    outputs = {"logits": keras.layers.Dense(3)(tokens["features"])}
    if "hidden_loss" in weights:
        outputs["hidden"] = [tokens["features"], outputs["logits"]]
    model = StudentLearner(tokens, outputs, DistillationLoss(softened_classes, 2.0, **weights))
    model.compile(loss=WeightedCrossEntropy(), metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")])
    return model


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_student_loss_of_unlabeled_rows_is_the_soft_loss(alpha):
    expected = (alpha * SOFT + (1 - alpha) * TASK * TARGETS["is_labeled"]).mean()
    loss = learner(alpha=alpha).compute_loss(None, TARGETS, {"logits": LOGITS})
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_student_loss_of_weighted_rows_multiplies_both_terms():
    weights = np.array([2.0, 0.0, 1.0, 0.5], "float32")
    expected = (weights * (0.3 * SOFT + 0.7 * TASK * TARGETS["is_labeled"])).mean()
    loss = learner(alpha=0.3).compute_loss(None, TARGETS, {"logits": LOGITS}, weights)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_student_metrics_cover_labeled_rows_only():
    right = LOGITS.argmax(-1) == TARGETS["task"]
    scores = learner(alpha=0.9).compute_metrics(None, TARGETS, {"logits": LOGITS})
    assert float(scores["accuracy"]) == pytest.approx(right[:2].mean())


def test_hidden_difference_ignores_padding():
    seen_ids = []
    states = RANDOM.normal(size=(3, 2, 4, 5)).astype("float32")
    hidden = [keras.ops.array(state) for state in RANDOM.normal(size=(2, 2, 4, 5)).astype("float32")]
    tokens = {
        "input_word_ids": np.array([[1, 2, 0, 0], [1, 0, 2, 2]]),
        "input_mask": np.array([[1, 1, 0, 0], [1, 1, 1, 1]]),
    }

    def teacher(tokens):
        seen_ids.append(np.asarray(tokens["input_word_ids"]))
        return list(states)

    difference = hidden_difference(teacher, [0, 2], [7, 8, 9])
    here = tokens["input_mask"] > 0
    expected = np.mean([(np.square(np.asarray(own) - states[i])[here]).mean() for own, i in zip(hidden, [0, 2])])
    assert float(difference(tokens, hidden)) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(seen_ids[0], [[8, 9, 7, 7], [8, 7, 9, 9]])

    model = learner(alpha=1.0, hidden_weight=3.0, hidden_loss=difference)
    outputs = {"logits": LOGITS, "hidden": hidden}
    assert float(model.compute_loss(tokens, TARGETS, outputs)) == pytest.approx(SOFT.mean() + 3 * expected, rel=1e-5)
    assert {*model.compute_metrics(tokens, TARGETS, outputs)} == {"accuracy", "loss"}
