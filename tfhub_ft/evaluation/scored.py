"""Score rows with a model: metrics, intervals, the baseline, warnings and which predictions are correct."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.data.labels import format_counts
from tfhub_ft.metrics.calibration import logits_of, probabilities_of
from tfhub_ft.metrics.scores import OUT_OF_SCOPE
from tfhub_ft.metrics.thresholds import precision_warning
from tfhub_ft.tasks.base import Task, default_thresholds
from tfhub_ft.tasks.classification import Classification, predicted_classes
from tfhub_ft.tasks.intent import Intent, predicted_intents
from tfhub_ft.tasks.multilabel import Multilabel
from tfhub_ft.tasks.question_answering import QuestionAnswering, answers_of, true_texts
from tfhub_ft.tasks.token_classification import TokenClassification, tags_by_row
from tfhub_ft.utils.precision import resolve_precision

if TYPE_CHECKING:
    from tfhub_ft.data.rows import Row


@dataclass(frozen=True)
class Scored:
    """Rows that a model has scored.

    Args:
        task: what the rows mean.
        rows: the rows.
        logits: what the task's score function returned for them.
        targets: the true values.
        labels: the labels, in the order of the logits.
        thresholds: turn logits into predictions.
        calibration: what `fit_calibration` returned; empty where nothing was calibrated.
        scores: what `held_out_scores` returned.
        written: of predictions that are generated, {"prompt", "reply", and what the model generates} for each row, by
            the names of the columns that a report shows.
    """

    task: Task
    rows: "Sequence[Row]"
    logits: Any
    targets: Any
    labels: Sequence[str]
    thresholds: Mapping[str, Any]
    calibration: Mapping[str, Any]
    scores: Mapping[str, Any]
    written: Sequence[Mapping[str, str]] = ()

    @cached_property
    def texts(self) -> list[str]:
        """The texts of the rows; the segments of a row are joined."""
        return [" │ ".join(self.task.prediction_inputs(row)) for row in self.rows]

    @cached_property
    def probabilities(self) -> np.ndarray:
        """The probabilities of the labels, float64 (rows, labels)."""
        return probabilities_of(self.logits, self.task.output_activation)


def scoring_precision(task: Task, precision: str) -> str:
    """Return the compute dtype in which a run's rows are scored: float32, or for some tasks that of its training.

    Args:
        task: of the run.
        precision: the run's setting, which may be "auto".
    """
    return "float32" if task.scored_in_float32 else resolve_precision(precision)


def held_out_scores(
    task: Task,
    logits: Any,
    targets: Any,
    labels: Sequence[str],
    thresholds: dict[str, Any],
    train: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the metrics of rows, with "intervals", and "baseline": the scores of a model that knows label shares only.

    Args:
        task: what the rows mean.
        logits, targets, labels, thresholds: as for `Task.metrics`.
        train: what metrics.json has of the training rows; without "label_rows" in it there is no baseline.
    """
    scores = task.metrics(logits, targets, labels, thresholds, intervals=True)
    intervals = scores.pop("intervals")
    if defined := {name: list(ends) for name, ends in intervals.items() if scores.get(name) is not None}:
        scores["intervals"] = defined
    label_rows = (train or {}).get("label_rows")
    if label_rows and task.output_activation:
        named = labels[: len(labels) - task.labels_without_logit]
        shares = np.array([label_rows.get(label, 0) / train["rows"] for label in named])
        constant = np.tile(logits_of(shares, task.output_activation), (len(targets), 1))
        baseline = task.metrics(constant, targets, labels, default_thresholds(task, labels))
        scores["baseline"] = {name: value for name, value in baseline.items() if isinstance(value, float)}
    return scores


def score_warnings(task: Task, scores: Mapping[str, Mapping[str, Any]], thresholds: dict[str, Any]) -> list[str]:
    """Return what is wrong with a trained model, as far as the scores of its held-out splits show it.

    Args:
        task: what the rows mean.
        scores: by split.
        thresholds: chosen on validation rows.
    """
    rare = _never_predicted(scores)
    return [*rare, *precision_warning(scores, thresholds)] if isinstance(task, Classification) else rare


def _never_predicted(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows, predicted = Counter(), Counter()
    for split in scores.values():
        for label, each in split.get("per_class", {}).items():
            rows[label] += each["rows"]
            predicted[label] += each.get("predicted", 0)
    missed = {label: count for label, count in rows.most_common() if count and not predicted[label]}
    if not missed:
        return []
    where = " and ".join(scores)
    found = [label for label, count in predicted.items() if count]
    if not found:
        return [f"the model predicts no label for any of the {where} rows; train it longer, or on more rows"]
    if len(found) == 1:
        return [f"the model predicts {found[0]!r} for all {where} rows; train it longer, or on more rows"]
    return [f"labels that the model never predicts, with their {where} rows: {format_counts(missed)}"]


@singledispatch
def correctness(
    task: Task, logits: Any, targets: Any, labels: Sequence[str], thresholds: dict[str, Any]
) -> tuple[list[str], np.ndarray] | None:
    """Return the prediction of each row as a text, and whether it is correct, bool (rows,).

    None where predictions are not right or wrong. A task of another kind registers its own function.
    """
    return None


@correctness.register
def _(
    task: Classification, logits: Any, targets: Any, labels: Sequence[str], thresholds: dict[str, Any]
) -> tuple[list[str], np.ndarray]:
    predicted = predicted_classes(probabilities_of(logits, task.output_activation), thresholds)
    return [labels[i] for i in predicted], predicted == targets


@correctness.register
def _(
    task: Intent, logits: Any, targets: Any, labels: Sequence[str], thresholds: dict[str, Any]
) -> tuple[list[str], np.ndarray]:
    predicted = predicted_intents(probabilities_of(logits, task.output_activation), labels, thresholds)
    return [labels[i] for i in predicted], predicted == np.where(targets == OUT_OF_SCOPE, len(labels) - 1, targets)


@correctness.register
def _(
    task: Multilabel, logits: Any, targets: Any, labels: Sequence[str], thresholds: dict[str, Any]
) -> tuple[list[str], np.ndarray]:
    chosen = probabilities_of(logits, task.output_activation) >= np.array(thresholds["thresholds"])
    correct = (chosen == (targets[:, : len(labels)] > 0)).all(-1) & ~targets[:, len(labels) :].any(-1)
    return [joined_labels(labels, row) for row in chosen], correct


@correctness.register
def _(
    task: TokenClassification, logits: Any, targets: Any, labels: Sequence[str], thresholds: dict[str, Any]
) -> tuple[list[str], np.ndarray]:
    predicted, true = tags_by_row(logits, targets, labels)
    return [" ".join(tags) for tags in predicted], np.array([ours == theirs for ours, theirs in zip(predicted, true)])


@correctness.register
def _(
    task: QuestionAnswering, logits: Any, targets: Any, labels: Sequence[str], thresholds: dict[str, Any]
) -> tuple[list[str], np.ndarray]:
    from tfhub_ft.metrics.span_scores import span_exact_match

    predicted = answers_of(logits, thresholds)
    return predicted, np.array(
        [span_exact_match(text, true) > 0 for text, true in zip(predicted, true_texts(targets), strict=True)]
    )


def joined_labels(labels: Sequence[str], chosen: np.ndarray) -> str:
    """Return the names of the labels that are chosen, bool (labels,), as one text."""
    return ", ".join(label for label, is_chosen in zip(labels, chosen, strict=True) if is_chosen) or "none"
