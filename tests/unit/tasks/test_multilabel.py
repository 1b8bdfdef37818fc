import numpy as np
import pytest

from tfhub_ft.data.rows import Row, read_all
from tfhub_ft.evaluation.scored import correctness
from tfhub_ft.models.heads import initialize_head
from tfhub_ft.recipe import load_recipe
from tfhub_ft.settings import MultilabelSettings
from tfhub_ft.tasks.multilabel import Multilabel
from tfhub_ft.utils.errors import InputError

TASK, SETTINGS = Multilabel(), MultilabelSettings()
ROWS = [Row(2, {"text": "x", "labels": ("b", "a")}), Row(3, {"text": "y", "labels": ()})]


def test_targets_have_all_labels_of_a_row():
    labels = TASK.labels(ROWS, "f", SETTINGS)
    assert labels == ["a", "b"]
    np.testing.assert_array_equal(TASK.targets(ROWS, labels, "f"), [[1, 1, 0], [0, 0, 0]])


def test_metrics_count_unseen_labels_as_wrong():
    targets = TASK.targets(ROWS, ["a"], "f")
    np.testing.assert_array_equal(targets, [[1, 1], [0, 0]])
    np.testing.assert_array_equal(TASK.token_targets(None, targets), [[1], [0]])
    logits, thresholds = np.array([[3.0], [-3.0]]), {"thresholds": [0.5]}
    scores = TASK.metrics(logits, targets, ["a"], thresholds)
    assert (scores["unseen_label_rows"], scores["exact_match"], scores["recall_micro"]) == (1, 0.5, 0.5)
    assert scores["per_class"]["a"]["f1"] == 1
    assert correctness(TASK, logits, targets, ["a"], thresholds)[1].tolist() == [False, True]
    assert TASK.fit_thresholds(logits, targets, ["a"], SETTINGS)["thresholds"][0] < 0.96
    assert "unseen_label_rows" not in TASK.metrics(logits, TASK.targets(ROWS[1:] * 2, ["a"], "f"), ["a"], thresholds)


def test_decoded_and_serving_outputs_use_label_thresholds():
    logits, thresholds = np.array([[0.0, 0.0], [-3.0, 3.0]], "float32"), {"thresholds": [0.4, 0.6]}
    predictions = TASK.decode_serving_outputs({"logits": logits}, [], ["a", "b"], thresholds)
    assert [p["labels"] for p in predictions] == [["a"], ["b"]]
    served = TASK.serving_outputs(logits, ["a", "b"], thresholds)
    assert np.asarray(served["chosen"]).tolist() == [[True, False], [False, True]]
    assert np.asarray(served["labels"]).tolist() == [[b"a", b""], [b"", b"b"]]


def test_metrics_use_label_thresholds():
    scores = TASK.metrics(np.array([[2.0, -2.0], [2.0, 2.0]]), np.array([[1, 0], [0, 1]]), ["a", "b"],
                          {"thresholds": [0.5, 0.5]})  # fmt: skip
    assert scores["f1_micro"] == pytest.approx(0.8)
    assert scores["f1_macro"] == pytest.approx((2 / 3 + 1) / 2)
    assert scores["exact_match"] == 0.5


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("3", "is a number .3., not a list of labels"),
        ("null", "is null, not a list"),
        ("[[1]]", "is a list, not a label"),
    ],
)
def test_columns_reject_label_lists_of_the_wrong_type(tmp_path, value, message):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "x", "labels": ["a"]}\n{"text": "y", "labels": ' + value + "}\n")
    with pytest.raises(InputError, match=f"rows.jsonl, line 2: column 'labels' {message}"):
        read_all(path, TASK.columns(SETTINGS))


def test_initialize_head_predicts_label_shares(tiny_pair):
    model = load_recipe("multilabel").build_model(encoder=str(tiny_pair / "encoder"), num_classes=3, seq_length=16)
    targets = np.array([[1, 0, 0, 0]] * 30 + [[1, 1, 0, 0]] * 70, "float32")
    network = model.get_layer("token_model")
    initialize_head(network, None, targets, "sigmoid", 0)
    probabilities = 1 / (1 + np.exp(-network.get_layer("logits").dense.bias.numpy()))
    np.testing.assert_allclose(probabilities, [0.99, 0.70, 0.01], atol=0.005)
