"""Scored rows: metrics, intervals, the baseline, warnings and correct predictions."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, singledispatch
from typing import Any

import numpy as np

from tfhub_ft.data.labels import format_counts
from tfhub_ft.data.rows import Row
from tfhub_ft.metrics import OUT_OF_SCOPE, Scores
from tfhub_ft.metrics.calibration import logits_of
from tfhub_ft.metrics.thresholds import precision_warning
from tfhub_ft.tasks.base import Logits, Prediction, Segments, Targets, Task, Thresholds, default_thresholds
from tfhub_ft.tasks.classification import Classification
from tfhub_ft.tasks.multilabel import Multilabel
from tfhub_ft.tasks.question_answering import QuestionAnswering, predicted_answers, true_texts
from tfhub_ft.tasks.token_classification import TokenClassification, tags_by_row
from tfhub_ft.utils.precision import resolve_precision

Correctness = tuple[list[str], np.ndarray]


@dataclass(frozen=True)
class Scored:
    """Rows that a model has scored.

    `written` are the generated texts of each row, by column of the report; `explain` explains predictions of rows.
    """

    task: Task
    rows: Sequence[Row]
    logits: Logits
    targets: Targets
    labels: Sequence[str]
    thresholds: Thresholds
    calibration: Mapping[str, Any]
    scores: Scores
    written: Sequence[Mapping[str, str]] = ()
    explain: Callable[[Sequence[Segments], Sequence[Prediction]], list[Prediction]] | None = None

    @cached_property
    def texts(self) -> list[str]:
        """The text of each row, its segments joined."""
        return [" │ ".join(self.task.prediction_inputs(row)) for row in self.rows]

    @cached_property
    def probabilities(self) -> np.ndarray:
        """The probabilities of the labels, float64 (rows, labels)."""
        return self.task.probabilities(self.logits)


def scoring_precision(task: Task, precision: str) -> str:
    """Return the compute dtype in which rows are scored: float32, or for some tasks that of training."""
    return "float32" if task.scored_in_float32 else resolve_precision(precision)


def held_out_scores(
    task: Task,
    logits: Logits,
    targets: Targets,
    labels: Sequence[str],
    thresholds: Thresholds,
    train: Scores | None = None,
) -> Scores:
    """Return the metrics of rows with "intervals", and "baseline", the scores of a model that knows label shares only.

    The label shares come from the "label_rows" of the scores of the training rows, `train`.
    """
    scores = task.metrics(logits, targets, labels, thresholds, intervals=True)
    intervals = scores.pop("intervals")
    if defined := {name: list(ends) for name, ends in intervals.items() if scores.get(name) is not None}:
        scores["intervals"] = defined
    if train and train.get("label_rows") and task.output_activation:
        with_logit = labels[: len(labels) - task.labels_without_logit]
        shares = np.array([train["label_rows"].get(label, 0) / train["rows"] for label in with_logit])
        constant = np.tile(logits_of(shares, task.output_activation), (len(targets), 1))
        baseline = task.metrics(constant, targets, labels, default_thresholds(task, labels))
        scores["baseline"] = {name: value for name, value in baseline.items() if isinstance(value, float)}
    return scores


def score_warnings(task: Task, scores: Mapping[str, Scores], thresholds: Thresholds) -> list[str]:
    """Return warnings about a trained model from the scores of its held-out splits."""
    warnings = _never_predicted(scores)
    return [*warnings, *precision_warning(scores, thresholds)] if isinstance(task, Classification) else warnings


def _never_predicted(scores: Mapping[str, Scores]) -> list[str]:
    rows, predicted = Counter(), Counter()
    for split_scores in scores.values():
        for label, label_scores in split_scores.get("per_class", {}).items():
            rows[label] += label_scores["rows"]
            predicted[label] += label_scores.get("predicted", 0)
    missed = {label: count for label, count in rows.most_common() if count and not predicted[label]}
    if not missed:
        return []
    splits = " and ".join(scores)
    predicted_labels = [label for label, count in predicted.items() if count]
    if not predicted_labels:
        return [f"the model predicts no label for any of the {splits} rows; train it longer, or on more rows"]
    if len(predicted_labels) == 1:
        label = predicted_labels[0]
        return [f"the model predicts {label!r} for all {splits} rows; train it longer, or on more rows"]
    return [f"labels that the model never predicts, with their {splits} rows: {format_counts(missed)}"]


@singledispatch
def correctness(
    task: Task, logits: Logits, targets: Targets, labels: Sequence[str], thresholds: Thresholds
) -> Correctness | None:
    """Return the prediction of each row as text, and whether it is correct, bool (rows,).

    The result is None if predictions are neither right nor wrong. Each kind of task registers its own function.
    """
    return None


@correctness.register
def _(
    task: Classification, logits: np.ndarray, targets: np.ndarray, labels: Sequence[str], thresholds: Thresholds
) -> Correctness:
    predicted = task.predicted(task.probabilities(logits), labels, thresholds)
    truth = np.where(targets == OUT_OF_SCOPE, len(labels) - 1, targets)
    return np.array(labels)[predicted].tolist(), predicted == truth


@correctness.register
def _(
    task: Multilabel, logits: np.ndarray, targets: np.ndarray, labels: Sequence[str], thresholds: Thresholds
) -> Correctness:
    predicted = task.probabilities(logits) >= np.array(thresholds["thresholds"])
    correct = (predicted == (targets[:, : len(labels)] > 0)).all(-1) & ~targets[:, len(labels) :].any(-1)
    return [joined_labels(labels, row) for row in predicted], correct


@correctness.register
def _(
    task: TokenClassification, logits: Logits, targets: Targets, labels: Sequence[str], thresholds: Thresholds
) -> Correctness:
    predicted, true = tags_by_row(logits, targets, labels)
    return [" ".join(tags) for tags in predicted], np.array([one == other for one, other in zip(predicted, true)])


@correctness.register
def _(
    task: QuestionAnswering, logits: Logits, targets: Targets, labels: Sequence[str], thresholds: Thresholds
) -> Correctness:
    from tfhub_ft.metrics.span_scores import span_exact_match

    predicted, truth = predicted_answers(logits, thresholds), true_texts(targets)
    return predicted, np.array([span_exact_match(text, answers) > 0 for text, answers in zip(predicted, truth)])


def joined_labels(labels: Sequence[str], predicted: np.ndarray) -> str:
    """Return the names of the predicted labels, bool (labels,), as one text."""
    return ", ".join(label for label, is_predicted in zip(labels, predicted, strict=True) if is_predicted) or "none"
