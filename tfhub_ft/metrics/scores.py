"""Scores of predictions, computed with scikit-learn and seqeval."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn import metrics as sk

from tfhub_ft.metrics import OUT_OF_SCOPE, UNSEEN, Scores
from tfhub_ft.metrics.intervals import guess_intervals
from tfhub_ft.metrics.row_losses import binary_log_losses, log_losses

LABEL_SCORES = ("precision", "recall", "f1")


def classification_metrics(
    probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str], predicted: np.ndarray
) -> Scores:
    """Return the scores of probabilities, float (rows, classes), for targets, int (rows,).

    With two labels, the last one is the positive class; with more, scores are means over the labels. ROC AUC and
    average precision are None if a label lacks rows.
    """
    classes = np.arange(len(labels))
    by_label = _precision_recall_f1(targets, predicted, labels=classes)
    macro = [float(np.mean(values)) for values in by_label[:3]]
    headline = [float(values[-1]) for values in by_label[:3]] if len(labels) == 2 else macro
    ranking: Scores = {"roc_auc": None, "average_precision": None}
    if np.isin(classes, targets).all():
        truth, scores = targets[:, None] == classes, probabilities
        if len(labels) == 2:
            truth, scores = truth[:, 1], scores[:, 1]
        ranking = {
            "roc_auc": float(sk.roc_auc_score(truth, scores)),
            "average_precision": float(sk.average_precision_score(truth, scores)),
        }
    return {
        **_row_counts(targets == UNSEEN),
        "accuracy": float(sk.accuracy_score(targets, predicted)),
        **dict(zip(LABEL_SCORES, headline, strict=True)),
        **dict(zip((f"{name}_macro" for name in LABEL_SCORES), macro, strict=True)),
        **ranking,
        "log_loss": float(log_losses(probabilities, targets).mean()),
        "per_class": _per_class(labels, by_label, np.bincount(predicted, minlength=len(labels))),
        "confusion_matrix": _confusion_matrix(targets, predicted, len(labels)),
    }


def _precision_recall_f1(truth: np.ndarray, predicted: np.ndarray, **options: Any) -> Any:
    """Return precision, recall, F1 and rows, each a number or an array (labels,)."""
    return sk.precision_recall_fscore_support(truth, predicted, zero_division=0, **options)  # pyright: ignore[reportArgumentType]


def _per_class(
    labels: Sequence[str], by_label: Sequence[np.ndarray], predicted: np.ndarray
) -> dict[str, dict[str, float | int]]:
    """Return the scores of each label, its true rows and its predicted rows."""
    rows = zip(*(values.tolist() for values in (*by_label, predicted)), strict=True)
    names = (*LABEL_SCORES, "rows", "predicted")
    return {label: dict(zip(names, values, strict=True)) for label, values in zip(labels, rows, strict=True)}


def _row_counts(unseen: np.ndarray) -> dict[str, int]:
    return {"rows": len(unseen)} | ({"unseen_label_rows": int(unseen.sum())} if unseen.any() else {})


def _confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> list[list[int]]:
    """Return the number of rows by true and predicted label; rows with a negative target are left out."""
    known = truth >= 0
    cells = np.bincount(truth[known] * classes + predicted[known], minlength=classes**2)
    return cells.reshape(classes, classes).tolist()


def regression_metrics(predicted: np.ndarray, truth: np.ndarray) -> Scores:
    """Return the scores of numbers, float (rows,); correlations are None if either side is constant."""
    varied = len(truth) > 1 and np.ptp(truth) > 0 and np.ptp(predicted) > 0
    return {
        "rows": len(truth),
        "pearson": float(np.corrcoef(predicted, truth)[0, 1]) if varied else None,
        "spearman": float(np.corrcoef(rankdata(predicted), rankdata(truth))[0, 1]) if varied else None,
        "r2": float(sk.r2_score(truth, predicted)) if varied else None,
        "mean_absolute_error": float(sk.mean_absolute_error(truth, predicted)),
        "root_mean_squared_error": float(sk.root_mean_squared_error(truth, predicted)),
    }


def multilabel_metrics(
    probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str], thresholds: Sequence[float]
) -> Scores:
    """Return the scores of labels predicted at or above their thresholds, for targets (rows, labels + 1).

    The last column of the targets, which may be missing, is for labels that no training row has. Except in scores by
    label, it counts as one more label that is never predicted and is ranked last.
    """
    count = len(labels)
    unseen = targets[:, count:].sum(-1) > 0
    # The additional column makes scikit-learn treat a single label as multilabel data, too.
    truth = np.column_stack([targets[:, :count], unseen]).astype(int)
    predicted = np.pad(probabilities >= np.array(thresholds), ((0, 0), (0, 1))).astype(int)
    ranked = np.pad(probabilities, ((0, 0), (0, 1)), constant_values=-1)
    by_label = [values[:count] for values in _precision_recall_f1(truth, predicted, average=None)]
    micro = _precision_recall_f1(truth, predicted, average="micro")
    present = np.flatnonzero(truth[:, :count].any(0))
    per_class = _per_class(labels, by_label, predicted[:, :count].sum(0))
    for label_scores, threshold in zip(per_class.values(), thresholds, strict=True):
        label_scores["threshold"] = threshold
    return {
        **_row_counts(unseen),
        "f1_micro": float(micro[2]),
        "f1_macro": float(np.mean(by_label[2])),
        "precision_micro": float(micro[0]),
        "recall_micro": float(micro[1]),
        "exact_match": float((truth == predicted).all(-1).mean()),
        "label_ranking_average_precision": float(sk.label_ranking_average_precision_score(truth, ranked)),
        "average_precision": (
            float(sk.average_precision_score(truth[:, present], probabilities[:, present])) if len(present) else None
        ),
        "log_loss": float(binary_log_losses(probabilities, truth[:, :count]).mean()),
        "per_class": per_class,
    }


def intent_metrics(
    probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str], predicted: np.ndarray
) -> Scores:
    """Return the scores of a classifier that may reject rows as out of scope, which is the last label.

    "accuracy" is that of in-scope rows if none were rejected; in "in_scope_accuracy" rejected rows count as wrong.
    Scores whose rows are missing are None.
    """
    outside, rejected = targets == OUT_OF_SCOPE, predicted == len(labels) - 1
    inside, outside_score = ~outside, 1 - probabilities.max(-1)
    has_inside, has_outside = inside.any(), outside.any()
    truth = np.where(outside, len(labels) - 1, targets)
    by_label = _precision_recall_f1(truth, predicted, labels=np.arange(len(labels)))
    present = by_label[3] > 0
    return {
        **_row_counts(targets == UNSEEN),
        "out_of_scope_rows": int(outside.sum()),
        "accuracy": float((probabilities.argmax(-1) == targets)[inside].mean()) if has_inside else None,
        "in_scope_accuracy": float((predicted == targets)[inside].mean()) if has_inside else None,
        "out_of_scope_recall": float(rejected[outside].mean()) if has_outside else None,
        "out_of_scope_precision": float(by_label[0][-1]) if has_outside else None,
        "out_of_scope_roc_auc": (
            float(sk.roc_auc_score(outside, outside_score)) if has_inside and has_outside else None
        ),
        "f1_macro": float(by_label[2][present].mean()) if present.any() else 0.0,
        "log_loss": float(log_losses(probabilities, targets)[inside].mean()) if has_inside else None,
        "per_class": _per_class(labels, by_label, np.bincount(predicted, minlength=len(labels))),
        "confusion_matrix": _confusion_matrix(truth, predicted, len(labels)),
    }


def mean_scores(values: Mapping[str, np.ndarray]) -> Scores:
    """Return the means of the rows' values, by name; None where no row counts."""
    return {name: float(each.mean()) if len(each) else None for name, each in values.items()}


def retrieval_values(ranks: np.ndarray, candidates: int) -> dict[str, np.ndarray]:
    """Return the values whose means are recall and reciprocal rank of N candidates (Henderson et al. 2019)."""
    return {
        f"recall_at_1_of_{candidates}": ranks == 1,
        f"recall_at_3_of_{candidates}": ranks <= 3,
        f"mean_reciprocal_rank_of_{candidates}": 1 / ranks,
    }


def reply_ranks(prompts: np.ndarray, replies: np.ndarray, identities: np.ndarray, *, candidates: int) -> np.ndarray:
    """Return the rank, from 1, of each prompt's reply among candidates drawn with a fixed seed.

    Prompts and replies are unit vectors (rows, hidden). Replies with equal identities do not compete.
    """
    rng, ranks = np.random.default_rng(0), []
    for row, (prompt, identity) in enumerate(zip(prompts, identities, strict=True)):
        drawn = rng.permutation(len(replies)) if len(replies) < 1000 else rng.integers(0, len(replies), 100)
        distinct = dict.fromkeys(drawn.tolist())
        others = [i for i in distinct if identities[i] != identity][: candidates - 1]
        # Ties count against the model, so that embedding all texts alike scores nothing.
        ranks.append(1 + int((replies[others] @ prompt >= replies[row] @ prompt).sum()))
    return np.array(ranks)


def entity_metrics(predicted: Sequence[Sequence[str]], truth: Sequence[Sequence[str]]) -> Scores:
    """Return the scores of BIO tags by whole entities, as seqeval's default mode and conlleval count them."""
    from seqeval.metrics.sequence_labeling import get_entities, precision_recall_fscore_support

    score: Any = precision_recall_fscore_support
    by_label, micro = (score(truth, predicted, average=average, zero_division=0) for average in (None, "micro"))
    labels = sorted({label for tags in (*truth, *predicted) for label, _, _ in get_entities(tags)})
    counts = Counter(label for tags in predicted for label, _, _ in get_entities(tags))
    pairs = [pair for tags in zip(truth, predicted, strict=True) for pair in zip(*tags, strict=True)]
    return {
        "rows": len(truth),
        "entities": int(micro[3]),
        "precision": float(micro[0]),
        "recall": float(micro[1]),
        "f1": float(micro[2]),
        "f1_macro": float(by_label[2].mean()) if labels else None,
        "tag_accuracy": sum(one == other for one, other in pairs) / len(pairs),
        "per_class": _per_class(labels, by_label, np.array([counts[label] for label in labels])),
    }


def guess_metrics(sums: np.ndarray) -> tuple[int, float, float]:
    """Return the number of guessed tokens, their accuracy and perplexity.

    The sums, float (rows, 3), are those of cross-entropy, of correct guesses and of guesses.
    """
    loss, correct, count = sums.astype("float64").sum(0).tolist()
    return int(count), correct / max(count, 1), float(np.exp(loss / max(count, 1)))


def guess_scores(sums: np.ndarray, *, count: str, accuracy: str, intervals: bool) -> Scores:
    """Return `guess_metrics` by name, with their confidence intervals if asked for."""
    scores: Scores = dict(zip((count, accuracy, "perplexity"), guess_metrics(sums), strict=True))
    if intervals:
        scores["intervals"] = guess_intervals(sums, accuracy)
    return scores
