"""Plots and tables of a report on predictions that are labels."""

from typing import TYPE_CHECKING, Any

from tfhub_ft.evaluation.report import plots, report_tables
from tfhub_ft.evaluation.report.parts import report_parts
from tfhub_ft.evaluation.scored import Scored, joined_labels
from tfhub_ft.metrics.calibration import confidences
from tfhub_ft.metrics.scores import OUT_OF_SCOPE
from tfhub_ft.tasks.classification import Classification, predicted_classes
from tfhub_ft.tasks.intent import Intent, predicted_intents
from tfhub_ft.tasks.multilabel import Multilabel

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np


@report_parts.register
def _(task: Classification, scored: Scored) -> list[Any]:
    probabilities = scored.probabilities
    chosen = predicted_classes(probabilities, scored.thresholds)
    targets, labels, texts = scored.targets, scored.labels, scored.texts
    predicted, given = [labels[i] for i in chosen], [row.values["label"] for row in scored.rows]
    threshold = scored.thresholds.get("threshold")
    parts: list[Any] = [plots.confusion_matrix(scored.scores["confusion_matrix"], labels)]
    parts += _rankings(probabilities, targets[:, None] == range(len(labels)), labels, threshold)
    confidence, right = confidences(probabilities, targets)
    parts.append(plots.reliability_diagram(confidence, right, scored.calibration))
    parts.append(_scores(probabilities, targets, labels, confidence, right, threshold))
    own = probabilities[range(len(chosen)), chosen]
    return [
        *parts,
        report_tables.per_class(scored.scores),
        *report_tables.label_issues(texts, given, predicted, targets, probabilities, labels, own),
    ]


def _rankings(
    probabilities: "np.ndarray", truth: "np.ndarray", labels: "Sequence[str]", threshold: float | None
) -> list[Any]:
    """ROC and precision-recall curves of the labels that some rows have and some have not."""
    if len(labels) == 2 and truth.any(0).all():
        probabilities, truth, labels = probabilities[:, 1:], truth[:, 1:], labels[1:]
    told = [i for i in range(len(labels)) if truth[:, i].any() and not truth[:, i].all()]
    if not told:
        return []
    arguments = (probabilities[:, told], truth[:, told], [labels[i] for i in told], threshold)
    return [plots.roc_curves(*arguments), plots.precision_recall_curves(*arguments)]


def _scores(
    probabilities: "np.ndarray",
    targets: "np.ndarray",
    labels: "Sequence[str]",
    confidence: "np.ndarray",
    right: "np.ndarray",
    threshold: float | None,
) -> plots.Picture:
    if len(labels) == 2:
        return plots.score_distribution(
            {label: probabilities[targets == i, 1] for i, label in enumerate(labels)},
            title="Scores",
            axis=f"probability of {plots.shortened(labels[1], 24)}",
            says="The further apart the rows of both labels are, the better.",
            threshold=threshold,
        )
    return plots.score_distribution(
        {"correct": confidence[right], "wrong": confidence[~right]},
        title="Scores",
        axis="probability of the prediction",
        says="How sure the model is of its correct and of its wrong predictions.",
    )


@report_parts.register
def _(task: Intent, scored: Scored) -> list[Any]:
    import numpy as np

    probabilities = scored.probabilities
    chosen = predicted_intents(probabilities, scored.labels, scored.thresholds)
    labels, texts, targets = scored.labels, scored.texts, scored.targets
    inside, score = targets != OUT_OF_SCOPE, 1 - probabilities.max(-1)
    given = [row.values["label"] for row in scored.rows]
    parts: list[Any] = [plots.confusion_matrix(scored.scores["confusion_matrix"], labels)]
    if inside.any():
        confidence, right = confidences(probabilities[inside], targets[inside])
        parts.append(plots.reliability_diagram(confidence, right, scored.calibration))
    kinds = {"in scope": score[inside], "out of scope": score[~inside]}
    parts.append(
        plots.score_distribution(
            {name: values for name, values in kinds.items() if len(values)},
            title="Out of scope",
            axis="out-of-scope score",
            says="Rows above the threshold are predicted to be out of scope.",
            threshold=scored.thresholds["threshold"],
        )
    )
    sure = np.where(chosen == len(labels) - 1, score, 1 - score)
    parts.append(report_tables.per_class(scored.scores))
    predicted = [labels[i] for i in chosen]
    return [*parts, *report_tables.label_issues(texts, given, predicted, targets, probabilities, labels[:-1], sure)]


@report_parts.register
def _(task: Multilabel, scored: Scored) -> list[Any]:
    import numpy as np

    labels, probabilities = scored.labels, scored.probabilities
    truth, unseen = scored.targets[:, : len(labels)] > 0, scored.targets[:, len(labels) :].any(-1)
    thresholds = np.array(scored.thresholds["thresholds"])
    given = probabilities >= thresholds
    wrong = given != truth
    # How far the wrong labels of a row are from being right.
    surety = (np.abs(probabilities - thresholds) * wrong).sum(-1)
    named = [", ".join(row.values["labels"]) or "none" for row in scored.rows]
    rows = [
        [report_tables.cut(scored.texts[i]), named[i], joined_labels(labels, given[i]), float(surety[i])]
        for i in np.argsort(-surety, kind="stable")[: report_tables.ROWS_SHOWN]
        if surety[i] > 0
    ]
    return [
        *_rankings(probabilities, truth, labels, None),
        plots.reliability_diagram(*confidences(probabilities, truth), scored.calibration),
        plots.score_distribution(
            {"labels that a row has": probabilities[truth], "labels that it has not": probabilities[~truth]},
            title="Scores",
            axis="probability of a label",
            says="The further apart both are, the better.",
        ),
        report_tables.per_class(scored.scores),
        report_tables.Listing(
            "Most confident mistakes",
            f"{int((wrong.any(-1) | unseen).sum()):,} of {len(truth):,} rows have a label too many or too few.",
            ["text", "labels", "answer", "distance from the thresholds"],
            rows,
        ),
    ]
