import numpy as np
import pytest

from tfhub_ft.data.rows import Row
from tfhub_ft.errors import InputError
from tfhub_ft.tasks.classification import Classification, softmax

TASK = Classification()


def rows(*labels):
    return [Row(i, {"text": f"text {i}", "label": label}) for i, label in enumerate(labels, 2)]


def test_labels_are_ordered_by_name_or_by_number():
    assert TASK.labels(rows("b", "a", "b"), "f") == ["a", "b"]
    assert TASK.labels(rows("10", "9", "-1"), "f") == ["-1", "9", "10"]
    assert TASK.labels(rows("10", "9", "x"), "f") == ["10", "9", "x"]


def test_one_label_only_is_refused():
    with pytest.raises(InputError, match="f.csv: every row has the label 'a'"):
        TASK.labels(rows("a", "a"), "f.csv")


def test_targets_are_indices_and_an_unseen_label_names_its_line():
    np.testing.assert_array_equal(TASK.targets(rows("b", "a"), ["a", "b"], "f"), [1, 0])
    with pytest.raises(InputError, match="test.csv, line 3: label 'neutral' was not seen in training"):
        TASK.targets(rows("a", "neutral"), ["a", "b"], "test.csv")


def test_answers_and_served_outputs_agree():
    logits = np.array([[2.0, -1.0], [0.5, 1.5]], "float32")
    answers = TASK.answers(logits, ["no", "yes"])
    served = {name: np.asarray(tensor) for name, tensor in TASK.served(logits, ["no", "yes"]).items()}
    assert [a["label"] for a in answers] == ["no", "yes"] == [word.decode() for word in served["label"]]
    np.testing.assert_allclose([a["score"] for a in answers], served["score"], rtol=1e-6)
    np.testing.assert_allclose([list(a["probabilities"].values()) for a in answers], served["probabilities"], rtol=1e-6)


def test_softmax_bears_large_logits():
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0], [-1000.0, 0.0]])), [[0.5, 0.5], [0.0, 1.0]])
