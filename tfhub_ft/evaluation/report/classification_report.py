"""Plots and tables of a report on labels."""

from collections.abc import Sequence

import numpy as np

from tfhub_ft.evaluation.report import plots, report_tables
from tfhub_ft.evaluation.report.explained_texts import explained_texts
from tfhub_ft.evaluation.report.parts import Parts, report_parts
from tfhub_ft.evaluation.scored import Scored, joined_labels
from tfhub_ft.metrics import OUT_OF_SCOPE
from tfhub_ft.metrics.calibration import confidences
from tfhub_ft.tasks.classification import Classification
from tfhub_ft.tasks.intent import Intent
from tfhub_ft.tasks.multilabel import Multilabel


@report_parts.register
def _(task: Classification, scored: Scored) -> Parts:
    probabilities, targets, labels = scored.probabilities, scored.targets, scored.labels
    threshold = scored.thresholds.get("threshold")
    predicted = task.predicted(probabilities, labels, scored.thresholds)
    confidence, correct = confidences(probabilities, targets)
    return [
        plots.confusion_matrix(scored.scores["confusion_matrix"], labels),
        *_ranking_curves(probabilities, targets[:, None] == range(len(labels)), labels, threshold),
        plots.reliability_diagram(confidence, correct, scored.calibration),
        _score_plot(probabilities, targets, labels, threshold),
        report_tables.class_table(scored.scores),
        *report_tables.label_issues(scored, labels, predicted, probabilities[range(len(predicted)), predicted]),
    ]


def _ranking_curves(
    probabilities: np.ndarray, truth: np.ndarray, labels: Sequence[str], threshold: float | None
) -> Parts:
    """Return the ROC and precision-recall curves of the labels that some rows have and others lack."""
    if len(labels) == 2 and truth.any(0).all():
        probabilities, truth, labels = probabilities[:, 1:], truth[:, 1:], labels[1:]
    mixed = [i for i in range(len(labels)) if truth[:, i].any() and not truth[:, i].all()]
    if not mixed:
        return []
    arguments = (probabilities[:, mixed], truth[:, mixed], [labels[i] for i in mixed], threshold)
    return [plots.roc_curves(*arguments), plots.precision_recall_curves(*arguments)]


def _score_plot(
    probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str], threshold: float | None
) -> plots.Plot:
    if len(labels) == 2:
        return plots.score_distribution(
            {label: probabilities[targets == i, 1] for i, label in enumerate(labels)},
            title="Score distribution",
            axis=f"probability of {plots.shorten(labels[1], 24)}",
            caption="Rows by label. The less the two overlap, the better the model separates them.",
            threshold=threshold,
        )
    confidence, correct = confidences(probabilities, targets)
    return plots.score_distribution(
        {"correct": confidence[correct], "wrong": confidence[~correct]},
        title="Score distribution",
        axis="probability of the prediction",
        caption="Wrong predictions should have low probabilities, so that a threshold can separate them.",
    )


@report_parts.register
def _(task: Intent, scored: Scored) -> Parts:
    probabilities, labels, targets = scored.probabilities, scored.labels, scored.targets
    predicted = task.predicted(probabilities, labels, scored.thresholds)
    inside, score = targets != OUT_OF_SCOPE, 1 - probabilities.max(-1)
    parts: Parts = [plots.confusion_matrix(scored.scores["confusion_matrix"], labels)]
    if inside.any():
        parts.append(
            plots.reliability_diagram(*confidences(probabilities[inside], targets[inside]), scored.calibration)
        )
    parts.append(
        plots.score_distribution(
            {"in scope": score[inside], "out of scope": score[~inside]},
            title="Out of scope",
            axis="out-of-scope score",
            caption="Rows above the threshold are rejected. In-scope rows should be below it, others above it.",
            threshold=scored.thresholds["threshold"],
        )
    )
    confidence = np.where(predicted == len(labels) - 1, score, 1 - score)
    parts.append(report_tables.class_table(scored.scores))
    return [*parts, *report_tables.label_issues(scored, labels[:-1], predicted, confidence)]


@report_parts.register
def _(task: Multilabel, scored: Scored) -> Parts:
    labels, probabilities = scored.labels, scored.probabilities
    truth, unseen = scored.targets[:, : len(labels)] > 0, scored.targets[:, len(labels) :].any(-1)
    thresholds = np.array(scored.thresholds["thresholds"])
    predicted = probabilities >= thresholds
    wrong = predicted != truth
    # Distance of a row's wrong labels from their thresholds.
    distance = (np.abs(probabilities - thresholds) * wrong).sum(-1)
    true = [", ".join(row.values["labels"]) or "none" for row in scored.rows]
    order = np.argsort(-distance, kind="stable")[: report_tables.ROWS_SHOWN].tolist()
    shown = [i for i in order if distance[i] > 0]
    texts, legend = explained_texts(scored, shown)
    rows = [
        [text, true[i], joined_labels(labels, predicted[i]), float(distance[i])]
        for i, text in zip(shown, texts, strict=True)
    ]
    return [
        *_ranking_curves(probabilities, truth, labels, None),
        plots.reliability_diagram(*confidences(probabilities, truth), scored.calibration),
        plots.score_distribution(
            {"labels of the row": probabilities[truth], "other labels": probabilities[~truth]},
            title="Score distribution",
            axis="probability of a label",
            caption="The less the two overlap, the better the model separates them.",
        ),
        report_tables.class_table(scored.scores),
        report_tables.ReportTable(
            "Most confident mistakes",
            f"{int((wrong.any(-1) | unseen).sum()):,} of {len(truth):,} rows have a wrong or a missing label. Those"
            f" whose wrong labels are farthest from their thresholds come first.{legend}",
            ["text", "labels", "prediction", "distance from the thresholds"],
            rows,
        ),
    ]
