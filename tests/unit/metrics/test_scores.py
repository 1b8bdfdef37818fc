import io
import json

import numpy as np
import pytest
from sklearn import metrics as sk

from tfhub_ft.evaluation.console_tables import classes_table, scores_table
from tfhub_ft.metrics.scores import classification_metrics


def random_case(rows, classes, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), rows), rng.integers(0, classes, rows)


def test_classification_metrics_of_two_labels_score_the_second():
    probabilities, targets = random_case(200, 2)
    predicted = probabilities.argmax(-1)
    scores = classification_metrics(probabilities, targets, ["ham", "spam"], predicted)
    assert scores["accuracy"] == pytest.approx(sk.accuracy_score(targets, predicted))
    assert scores["f1"] == pytest.approx(sk.f1_score(targets, predicted))
    assert scores["precision"] == scores["per_class"]["spam"]["precision"]
    assert scores["f1_macro"] == pytest.approx(sk.f1_score(targets, predicted, average="macro"))
    assert scores["roc_auc"] == pytest.approx(sk.roc_auc_score(targets, probabilities[:, 1]))
    assert scores["average_precision"] == pytest.approx(sk.average_precision_score(targets, probabilities[:, 1]))
    assert scores["log_loss"] == pytest.approx(sk.log_loss(targets, probabilities))
    assert scores["confusion_matrix"] == sk.confusion_matrix(targets, predicted).tolist()


def test_classification_metrics_of_more_labels_are_means():
    probabilities, targets = random_case(300, 4)
    scores = classification_metrics(probabilities, targets, list("abcd"), probabilities.argmax(-1))
    assert scores["f1"] == scores["f1_macro"]
    assert scores["roc_auc"] == pytest.approx(sk.roc_auc_score(targets, probabilities, multi_class="ovr"))
    assert np.array(scores["confusion_matrix"]).sum() == scores["rows"] == 300


def test_classification_metrics_without_rows_of_a_label():
    targets = np.array([0, 0])
    scores = classification_metrics(np.array([[0.9, 0.1], [0.6, 0.4]]), targets, ["a", "b"], targets)
    assert scores["roc_auc"] is None
    assert scores["accuracy"] == 1.0
    json.dumps(scores, allow_nan=False)


def test_console_tables_show_every_label_and_split():
    from rich.console import Console

    probabilities, targets = random_case(50, 2)
    scores = classification_metrics(probabilities, targets, ["ham", "spam"], probabilities.argmax(-1))
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(scores_table({"train": {"accuracy": 0.5}, "test": scores}))
    console.print(classes_table(scores))
    shown = console.export_text()
    assert f"{scores['accuracy']:.4f}" in shown
    assert "spam" in shown
    assert "-" in shown
