import numpy as np
import pytest

from tfhub_ft.data.rows import Row
from tfhub_ft.evaluation.scored import correctness
from tfhub_ft.metrics import OUT_OF_SCOPE, UNSEEN
from tfhub_ft.settings import IntentSettings
from tfhub_ft.tasks.base import num_classes
from tfhub_ft.tasks.intent import Intent

TASK, SETTINGS = Intent(), IntentSettings()
ROWS = [Row(i, {"text": f"t{i}", "label": label}) for i, label in enumerate(["play", "oos", "book"], 2)]


def test_labels_end_with_the_out_of_scope_label():
    labels = TASK.labels(ROWS, "f", SETTINGS)
    assert labels == ["book", "play", "oos"]
    assert num_classes(TASK, labels) == 2
    np.testing.assert_array_equal(TASK.targets(ROWS, labels, "f"), [1, -1, 0])


def test_decoded_and_serving_outputs_reject_uncertain_rows():
    logits, labels = np.array([[4.0, 0.0], [0.1, 0.0]], "float32"), ["book", "play", "oos"]
    predictions = TASK.decode_serving_outputs({"logits": logits}, [], labels, {"threshold": 0.3})
    served = {
        name: np.asarray(tensor) for name, tensor in TASK.serving_outputs(logits, labels, {"threshold": 0.3}).items()
    }
    assert [p["label"] for p in predictions] == ["book", "oos"] == [word.decode() for word in served["label"]]
    np.testing.assert_allclose([p["out_of_scope"] for p in predictions], served["out_of_scope"], rtol=1e-5)


def test_metrics_count_unseen_intents_as_in_scope_and_wrong():
    labels, logits = ["book", "play", "oos"], np.array([[4.0, 0.0]] * 4, "float32")
    rows = [Row(i, {"text": f"t{i}", "label": label}) for i, label in enumerate(["book", "new", "play", "oos"], 2)]
    targets = TASK.targets(rows, labels, "f")
    np.testing.assert_array_equal(targets, [0, UNSEEN, 1, OUT_OF_SCOPE])
    scores = TASK.metrics(logits, targets, labels, {"threshold": 0.5})
    assert (scores["out_of_scope_rows"], scores["unseen_label_rows"]) == (1, 1)
    assert scores["in_scope_accuracy"] == pytest.approx(1 / 3)
    assert scores["per_class"]["book"]["precision"] == 0.25
    assert correctness(TASK, logits, targets, labels, {"threshold": 0.5})[1].tolist() == [True, False, False, False]
    assert correctness(TASK, logits, targets, labels, {"threshold": 0.0})[1].tolist() == [False, False, False, True]
    assert TASK.fit_thresholds(logits, targets, labels, SETTINGS)["threshold"] > 0


def test_fit_thresholds_keeps_the_wanted_in_scope_accuracy():
    rng = np.random.default_rng(0)
    targets = np.concatenate([rng.integers(0, 2, 200), np.full(50, -1)])
    logits = rng.normal(0, 1, (250, 2)) + 4 * np.eye(3)[targets][:, :2] * (targets >= 0)[:, None]
    labels = ["book", "play", "oos"]
    thresholds = TASK.fit_thresholds(logits, targets, labels, SETTINGS)
    scores = TASK.metrics(logits, targets, labels, thresholds)
    assert scores["in_scope_accuracy"] >= 0.9
    assert scores["accuracy"] > scores["in_scope_accuracy"]
    assert scores["out_of_scope_recall"] > 0.2
    assert scores["out_of_scope_rows"] == 50
    alone = TASK.metrics(logits[:200], targets[:200], labels, thresholds)
    assert alone["out_of_scope_recall"] is None
    assert alone["accuracy"] == pytest.approx(scores["accuracy"])
