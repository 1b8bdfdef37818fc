from pathlib import Path

import numpy as np
import pytest

from tfhub_ft.data.rows import Row
from tfhub_ft.metrics import OUT_OF_SCOPE
from tfhub_ft.metrics.span_scores import span_metrics
from tfhub_ft.tasks.base import (
    TASKS,
    decisions,
    described_task,
    load_task,
    monitor_of,
    share_equal,
    weights_of_labels,
)
from tfhub_ft.utils.errors import InputError


@pytest.mark.parametrize("name", TASKS)
def test_load_task_returns_the_task_of_each_name(name):
    if name == "dialogue":
        pytest.importorskip("keras_hub")
    assert load_task(name).name == name


def test_described_task_has_the_fields_of_the_export():
    task = described_task({"task": "classification", "inputs": ["premise", "hypothesis"]}, Path("1"))
    assert (task.name, task.fields) == ("classification", ("premise", "hypothesis"))
    assert load_task("classification").fields == ("text",)
    with pytest.raises(InputError, match="1: unknown task 'mine' .*; pass its run"):
        described_task({"task": "mine", "inputs": []}, Path("1"))


def test_columns_without_labels_are_those_of_the_fields():
    task = load_task("classification")
    assert [column.name for column in task.columns(labeled=False)] == ["text"]
    pair = described_task({"task": "classification", "inputs": ["sentence1", "sentence2"]}, Path("1"))
    assert [column.name for column in pair.columns(labeled=False)] == ["sentence1", "sentence2"]
    assert pair.prediction_inputs(Row(2, {"sentence1": "a", "sentence2": "b"})) == ("a", "b")


def test_share_equal_compares_decisions_of_labels_and_of_numbers():
    labels = decisions(load_task("classification"), [{"label": "a"}, {"label": "b"}], ["a", "b"])
    assert share_equal(labels, ["a", "a"]) == 0.5
    assert share_equal(labels, ["a"]) == 0
    numbers = decisions(load_task("regression"), [{"score": 1.0}], [])
    assert share_equal(numbers, numbers) is None


@pytest.mark.parametrize(
    ("task", "name", "expected"),
    [
        ("classification", None, "accuracy"),
        ("classification", "f1_macro", "f1_macro"),
        ("classification", "loss", "log_loss"),
        ("multilabel", "exact_match", "exact_match"),
        ("regression", "loss", "root_mean_squared_error"),
        ("masked_words", "loss", "perplexity"),
        ("spans", "answerable_f1", "answerable_f1"),
        ("retrieval", "recall_at_3_of_10", "recall_at_3_of_10"),
    ],
)
def test_monitor_of_returns_a_score_of_the_task(task, name, expected):
    assert monitor_of(load_task(task), name) == expected


@pytest.mark.parametrize(
    ("task", "name", "message"),
    [
        (
            "regression",
            "acuracy",
            "--monitor acuracy: not a score of this recipe; choose one of pearson, spearman, r2, ",
        ),
        ("classification", "f1_makro", "choose one of accuracy, .*log_loss; did you mean f1_macro"),
        ("classification", "rows", "--monitor rows: not a score"),
        ("retrieval", "loss", "--monitor loss: not a score"),
    ],
)
def test_monitor_of_refuses_other_scores(task, name, message):
    with pytest.raises(InputError, match=message):
        monitor_of(load_task(task), name)


@pytest.mark.parametrize(
    ("class_weight", "expected"),
    [
        ({"per": 2}, [1, 2, 2, 1, 1]),
        ({"per": 2, "I-per": 0}, [1, 2, 0, 1, 1]),
        ({"O": 0.5, "B-loc": 3}, [0.5, 1, 1, 3, 1]),
        ("none", None),
    ],
)
def test_weights_of_labels_of_entities_apply_to_their_tags(class_weight, expected):
    labels = ["O", "B-per", "I-per", "B-loc", "I-loc"]
    assert weights_of_labels(load_task("entities"), class_weight, labels, None) == expected


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        (
            {"ham": 1, "spm": 2},
            "label 'spm' not found in the training rows; the labels are ham, spam; did you mean spam",
        ),
        ({"ham": 1, "Ham": 2}, "label 'ham' has two weights; remove one"),
        ({"ham": 0, "spam": 0.0}, "the weight of every label is 0"),
    ],
)
def test_weights_of_labels_refuses_wrong_weights(class_weight, message):
    with pytest.raises(InputError, match=f"--class-weight: {message}"):
        weights_of_labels(load_task("classification"), class_weight, ["ham", "spam"], None)


def test_weights_of_labels_find_labels_in_another_spelling():
    task = load_task("classification")
    for labels, class_weight in (
        (["no", "yes"], {"true": 2, "false": 0.5}),
        (["0", "1"], {"1.0": 2, "0.0": 0.5}),
        (["Ham", "Spam"], {"spam": 2, "ham": 0.5}),
    ):
        assert weights_of_labels(task, class_weight, labels, None) == [0.5, 2]


def test_monitors_are_the_scores_of_each_task():
    rng = np.random.default_rng(0)
    logits, indices = rng.normal(size=(40, 3)).astype("float32"), np.arange(40) % 3
    names, tags = ["a", "b", "c"], ["O", "B-x", "I-x"]
    scores = {
        "classification": load_task("classification").metrics(logits, indices, names, {}),
        "intent": load_task("intent").metrics(
            logits, np.where(indices == 2, OUT_OF_SCOPE, indices), [*names, "oos"], {"threshold": 0.5}
        ),
        "multilabel": load_task("multilabel").metrics(
            logits, np.pad(np.eye(3)[indices], ((0, 0), (0, 1))), names, {"thresholds": [0.5] * 3}
        ),
        "regression": load_task("regression").metrics(logits[:, :1], logits[:, 1:2], ["0.0", "1.0"], {}),
        "entities": load_task("entities").metrics(np.split(logits, 8), np.split(indices, 8), tags, {}),
        "spans": span_metrics(["a", ""], [["a"], []], ["a", "b"]),
        "retrieval": load_task("retrieval").metrics(rng.normal(size=(40, 2, 3)), np.arange(40), names, {}),
    }
    for name, task_scores in scores.items():
        numbers = {key for key, value in task_scores.items() if value is None or isinstance(value, float)}
        assert numbers == set(load_task(name).monitors), name
