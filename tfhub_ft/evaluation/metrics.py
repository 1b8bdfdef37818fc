"""Scores of a model's answers, by scikit-learn."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def classification_metrics(probabilities: "np.ndarray", targets: "np.ndarray", labels: Sequence[str]) -> dict[str, Any]:
    """Scores of predicted probabilities.

    With two labels the last one is the positive class of precision, recall, F1, ROC AUC and average precision; with
    more, ROC AUC is one label against the rest, and all are means over the labels. A label that no target has leaves
    those two undefined: they are None.

    Args:
        probabilities: float (rows, classes), each row summing to one.
        targets: int (rows,), indices of the labels.
        labels: the labels' names.

    Returns:
        {"rows", "accuracy", "precision", "recall", "f1", "precision_macro", "recall_macro", "f1_macro", "roc_auc",
        "average_precision", "log_loss", "per_class": {label: {precision, recall, f1, rows}}, "confusion_matrix": rows
        are the true labels, columns the predicted ones}.

    Example:
        classification_metrics(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]), ["negative", "positive"])
    """
    import numpy as np
    from sklearn import metrics as sk

    classes = np.arange(len(labels))
    predicted = probabilities.argmax(-1)
    each = sk.precision_recall_fscore_support(targets, predicted, labels=classes, zero_division=0)
    precision, recall, f1, rows = (column.tolist() for column in each)
    macro = [float(np.mean(column)) for column in (precision, recall, f1)]
    headline = [column[-1] for column in (precision, recall, f1)] if len(labels) == 2 else macro
    return {
        "rows": len(targets),
        "accuracy": float(sk.accuracy_score(targets, predicted)),
        **dict(zip(("precision", "recall", "f1"), headline, strict=True)),
        **dict(zip(("precision_macro", "recall_macro", "f1_macro"), macro, strict=True)),
        **_ranking_metrics(probabilities, targets, classes),
        "log_loss": float(sk.log_loss(targets, probabilities, labels=classes)),
        "per_class": {
            label: {"precision": precision[i], "recall": recall[i], "f1": f1[i], "rows": rows[i]}
            for i, label in enumerate(labels)
        },
        "confusion_matrix": sk.confusion_matrix(targets, predicted, labels=classes).tolist(),
    }


def _ranking_metrics(probabilities: "np.ndarray", targets: "np.ndarray", classes: "np.ndarray") -> dict[str, Any]:
    import numpy as np
    from sklearn import metrics as sk

    if len(np.unique(targets)) < len(classes):
        return {"roc_auc": None, "average_precision": None}
    if len(classes) == 2:
        truth, scores = targets, probabilities[:, 1]
        return {
            "roc_auc": float(sk.roc_auc_score(truth, scores)),
            "average_precision": float(sk.average_precision_score(truth, scores)),
        }
    truth = targets[:, None] == classes
    return {
        "roc_auc": float(sk.roc_auc_score(truth, probabilities, average="macro")),
        "average_precision": float(sk.average_precision_score(truth, probabilities, average="macro")),
    }
