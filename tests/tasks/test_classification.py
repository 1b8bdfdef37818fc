import numpy as np
import pytest

from tfhub_ft.data.rows import Row
from tfhub_ft.errors import InputError
from tfhub_ft.settings import TwoClassSettings
from tfhub_ft.tasks.classification import Classification, balanced_weights

TASK, SETTINGS = Classification(), TwoClassSettings()


def rows(*labels):
    return [Row(i, {"text": f"text {i}", "label": label}) for i, label in enumerate(labels, 2)]


def test_labels_are_ordered_by_name_or_by_number():
    assert TASK.labels(rows("b", "a", "b"), "f", SETTINGS) == ["a", "b"]
    assert TASK.labels(rows("10", "9", "-1"), "f", SETTINGS) == ["-1", "9", "10"]
    assert TASK.labels(rows("10", "9", "x"), "f", SETTINGS) == ["10", "9", "x"]


def test_one_label_only_is_refused():
    with pytest.raises(InputError, match="f.csv: every row has the label 'a'"):
        TASK.labels(rows("a", "a"), "f.csv", SETTINGS)


def test_targets_are_indices_and_an_unseen_label_names_its_line():
    np.testing.assert_array_equal(TASK.targets(rows("b", "a"), ["a", "b"], "f"), [1, 0])
    with pytest.raises(InputError, match="test.csv, line 3: label 'neutral' was not seen in training"):
        TASK.targets(rows("a", "neutral"), ["a", "b"], "test.csv")


@pytest.mark.parametrize(
    ("decision", "expected"),
    [({}, ["no", "yes"]), ({"threshold": 0.9}, ["no", "no"]), ({"threshold": 0.01}, ["yes"] * 2)],
)
def test_answers_and_served_outputs_agree(decision, expected):
    logits = np.array([[2.0, -1.0], [0.5, 1.5]], "float32")
    answers = TASK.answers(logits, ["no", "yes"], decision)
    served = {name: np.asarray(tensor) for name, tensor in TASK.served(logits, ["no", "yes"], decision).items()}
    assert [a["label"] for a in answers] == expected == [word.decode() for word in served["label"]]
    np.testing.assert_allclose([a["score"] for a in answers], served["score"], rtol=1e-6)
    np.testing.assert_allclose([list(a["probabilities"].values()) for a in answers], served["probabilities"], rtol=1e-6)
    assert all(a["score"] == a["probabilities"][a["label"]] for a in answers)


def test_the_positive_label_stands_last_and_must_be_there():
    settings = TwoClassSettings(positive_label="spam")
    assert TASK.labels(rows("valid", "spam"), "f", settings) == ["valid", "spam"]
    with pytest.raises(InputError, match="f.csv: no row has the --positive-label 'spam'; there are a, b"):
        TASK.labels(rows("a", "b"), "f.csv", settings)


def test_a_wanted_precision_needs_two_labels():
    with pytest.raises(InputError, match="there are 3 labels .a, b, c., and --wanted-precision needs two"):
        TASK.labels(rows("a", "b", "c"), "f", TwoClassSettings(wanted_precision=0.9))


def test_the_threshold_reaches_the_wanted_precision_and_metrics_use_it():
    random = np.random.default_rng(0)
    targets = (random.random(500) < 0.3).astype("int32")
    logits = np.stack([np.zeros(500), 2 * targets - 1 + random.normal(0, 1, 500)], -1)
    decision = TASK.decide(logits, targets, ["no", "yes"], TwoClassSettings(wanted_precision=0.95))
    scores = TASK.metrics(logits, targets, ["no", "yes"], decision)
    assert scores["precision"] == pytest.approx(decision["precision"])
    assert decision["precision"] >= 0.95
    assert scores["recall"] == pytest.approx(decision["recall"])
    assert decision["recall"] > 0.2
    assert TASK.metrics(logits, targets, ["no", "yes"], {})["precision"] < 0.95


def test_balanced_weights_count_classes_the_same():
    weights = balanced_weights(np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(weights, [4 / 6, 2.0])


def test_probabilities_bear_large_logits():
    np.testing.assert_allclose(
        TASK.probabilities(np.array([[1000.0, 1000.0], [-1000.0, 0.0]])), [[0.5, 0.5], [0.0, 1.0]]
    )
