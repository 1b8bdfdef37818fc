"""Scores of a model's answers, by scikit-learn."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

# Targets that are not the index of a label: of a row that belongs to none of the labels, and of a row whose label no
# training row has.
OUT_OF_SCOPE, UNSEEN = -1, -2
LOWER_IS_BETTER = ("log_loss", "perplexity", "mean_absolute_error", "root_mean_squared_error")


def goodness(name: str, value: float | None) -> float:
    """A score as a number that is higher the better it is; an undefined score is worse than any other.

    Example:
        goodness("log_loss", 0.3)  # -0.3
    """
    if value is None:
        return -math.inf
    return -value if name in LOWER_IS_BETTER else value


def classification_metrics(
    probabilities: "np.ndarray",
    targets: "np.ndarray",
    labels: Sequence[str],
    *,
    predicted: "np.ndarray | None" = None,
) -> dict[str, Any]:
    """Scores of predicted probabilities.

    With two labels the last one is the positive class of precision, recall, F1, ROC AUC and average precision; with
    more, ROC AUC is one label against the rest, and all are means over the labels. A label that no target has leaves
    those two undefined: they are None.

    Args:
        probabilities: float (rows, classes), each row summing to one.
        targets: int (rows,), indices of the labels; `UNSEEN` for a label that training rows lack, whose probability
            counts as 0.
        labels: the labels' names.
        predicted: int (rows,), the labels chosen; the likeliest ones by default.

    Returns:
        {"rows", "unseen_label_rows": if there are any, "accuracy", "precision", "recall", "f1", "precision_macro",
        "recall_macro", "f1_macro", "roc_auc", "average_precision", "log_loss", "per_class": {label: {precision, recall,
        f1, rows, predicted: rows with this prediction}}, "confusion_matrix": rows are the true labels, columns the
        predicted ones}.

    Example:
        classification_metrics(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]), ["negative", "positive"])
    """
    import numpy as np
    from sklearn import metrics as sk

    classes = np.arange(len(labels))
    predicted = probabilities.argmax(-1) if predicted is None else predicted
    unseen = targets == UNSEEN
    each = sk.precision_recall_fscore_support(targets, predicted, labels=classes, zero_division=0)
    precision, recall, f1, rows = (column.tolist() for column in each)
    macro = [float(np.mean(column)) for column in (precision, recall, f1)]
    headline = [column[-1] for column in (precision, recall, f1)] if len(labels) == 2 else macro
    return {
        "rows": len(targets),
        **_unseen_rows(unseen),
        "accuracy": float(sk.accuracy_score(targets, predicted)),
        **dict(zip(("precision", "recall", "f1"), headline, strict=True)),
        **dict(zip(("precision_macro", "recall_macro", "f1_macro"), macro, strict=True)),
        **_ranking_metrics(probabilities, targets, classes),
        "log_loss": _log_loss(np.where(unseen, len(labels), targets), probabilities),
        "per_class": _per_class(labels, each, np.bincount(predicted, minlength=len(labels))),
        "confusion_matrix": _confusion_matrix(targets, predicted, len(labels)),
    }


def _per_class(
    labels: Sequence[str], each: Sequence["np.ndarray"], predicted: "np.ndarray"
) -> dict[str, dict[str, float | int]]:
    """The scores of each label: what `precision_recall_fscore_support` returns, and how often it was predicted."""
    columns = (column.tolist() for column in (*each, predicted))
    return {
        label: {"precision": precision, "recall": recall, "f1": f1, "rows": rows, "predicted": count}
        for label, precision, recall, f1, rows, count in zip(labels, *columns, strict=True)
    }


def _unseen_rows(unseen: "np.ndarray") -> dict[str, int]:
    return {"unseen_label_rows": int(unseen.sum())} if unseen.any() else {}


def _log_loss(targets: "np.ndarray", probabilities: "np.ndarray") -> float:
    """The log loss; of a target that is one more than the classes the probability is 0."""
    import numpy as np
    from sklearn import metrics as sk

    count = probabilities.shape[1]
    if (targets == count).any():
        probabilities, count = np.pad(probabilities, ((0, 0), (0, 1))), count + 1
    return float(sk.log_loss(targets, probabilities, labels=np.arange(count)))


def _confusion_matrix(truth: "np.ndarray", predicted: "np.ndarray", classes: int) -> list[list[int]]:
    """The rows of each true label by predicted label; rows whose label is none of the classes are left out."""
    import numpy as np

    known = truth >= 0
    cells = np.bincount(truth[known] * classes + predicted[known], minlength=classes**2)
    return cells.reshape(classes, classes).tolist()


def _ranking_metrics(probabilities: "np.ndarray", targets: "np.ndarray", classes: "np.ndarray") -> dict[str, Any]:
    import numpy as np
    from sklearn import metrics as sk

    if not np.isin(classes, targets).all():
        return {"roc_auc": None, "average_precision": None}
    if len(classes) == 2:
        truth, scores = targets == 1, probabilities[:, 1]
        return {
            "roc_auc": float(sk.roc_auc_score(truth, scores)),
            "average_precision": float(sk.average_precision_score(truth, scores)),
        }
    truth = targets[:, None] == classes
    return {
        "roc_auc": float(sk.roc_auc_score(truth, probabilities, average="macro")),
        "average_precision": float(sk.average_precision_score(truth, probabilities, average="macro")),
    }


def regression_metrics(predicted: "np.ndarray", truth: "np.ndarray") -> dict[str, Any]:
    """Scores of predicted numbers, both float (rows,).

    Returns:
        {"rows", "pearson", "spearman", "r2", "mean_absolute_error", "root_mean_squared_error"}. The correlations are
        None where either side has one value only.
    """
    import numpy as np
    from scipy import stats
    from sklearn import metrics as sk

    varied = len(truth) > 1 and np.ptp(truth) > 0 and np.ptp(predicted) > 0
    return {
        "rows": len(truth),
        "pearson": float(stats.pearsonr(predicted, truth)[0]) if varied else None,
        "spearman": float(stats.spearmanr(predicted, truth)[0]) if varied else None,
        "r2": float(sk.r2_score(truth, predicted)) if varied else None,
        "mean_absolute_error": float(sk.mean_absolute_error(truth, predicted)),
        "root_mean_squared_error": float(sk.root_mean_squared_error(truth, predicted)),
    }


def multilabel_metrics(
    probabilities: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], thresholds: Sequence[float]
) -> dict[str, Any]:
    """Scores of any number of labels a row.

    Args:
        probabilities: float (rows, labels).
        targets: 0 or 1, (rows, labels + 1); the last column, which may be left out, is for labels that training rows
            lack. In what is not by label it counts as one more label, which is never given and is ranked last.
        labels: the labels' names.
        thresholds: a label is given where its probability is at least its threshold.

    Returns:
        {"rows", "unseen_label_rows": if there are any, "f1_micro", "f1_macro", "precision_micro", "recall_micro",
        "exact_match", "label_ranking_average_precision", "average_precision": mean over the labels that some row has,
        or None, "log_loss": mean binary cross-entropy over rows and labels, "per_class": {label: {precision, recall,
        f1, rows, predicted, threshold}}}.
    """
    import numpy as np
    from sklearn import metrics as sk

    count = len(labels)
    unseen = targets[:, count:].any(-1)
    # One more column, so that scikit-learn takes a single label for one of several, too.
    truth = np.column_stack([targets[:, :count], unseen]).astype(int)
    predicted = np.pad(probabilities >= np.array(thresholds), ((0, 0), (0, 1))).astype(int)
    ranked = np.pad(probabilities, ((0, 0), (0, 1)), constant_values=-1)
    each = sk.precision_recall_fscore_support(truth, predicted, average=None, zero_division=0)
    each = [column[:count] for column in each]
    micro = sk.precision_recall_fscore_support(truth, predicted, average="micro", zero_division=0)
    present = np.flatnonzero(truth[:, :count].any(0))
    per_class = _per_class(labels, each, predicted[:, :count].sum(0))
    return {
        "rows": len(truth),
        **_unseen_rows(unseen),
        "f1_micro": float(micro[2]),
        "f1_macro": float(np.mean(each[2])),
        "precision_micro": float(micro[0]),
        "recall_micro": float(micro[1]),
        "exact_match": float((truth == predicted).all(-1).mean()),
        "label_ranking_average_precision": float(sk.label_ranking_average_precision_score(truth, ranked)),
        "average_precision": (
            float(sk.average_precision_score(truth[:, present], probabilities[:, present])) if len(present) else None
        ),
        "log_loss": _binary_log_loss(truth[:, :count], probabilities),
        "per_class": {
            label: {**scores, "threshold": threshold}
            for (label, scores), threshold in zip(per_class.items(), thresholds, strict=True)
        },
    }


def _binary_log_loss(truth: "np.ndarray", probabilities: "np.ndarray") -> float:
    """The mean cross-entropy of labels that are there or not, both (rows, labels)."""
    import numpy as np

    clipped = probabilities.clip(1e-15, 1 - 1e-15)
    return float(-np.log(np.where(truth > 0, clipped, 1 - clipped)).mean())


def intent_metrics(
    probabilities: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], threshold: float
) -> dict[str, Any]:
    """Scores of a classifier that may reject a row as out of scope.

    Args:
        probabilities: float (rows, intents).
        targets: int (rows,), `OUT_OF_SCOPE` or, of an intent that training rows lack, `UNSEEN`.
        labels: the intents' names, and after them the out-of-scope label.
        threshold: a row is rejected when one minus its highest probability is above it.

    Returns:
        {"rows", "unseen_label_rows": if there are any, "out_of_scope_rows", "accuracy": of the in-scope rows if none
        were rejected, "in_scope_accuracy": with rejected rows counted as wrong, "out_of_scope_recall",
        "out_of_scope_precision", "out_of_scope_roc_auc", "f1_macro": over all labels, the out-of-scope one included,
        "log_loss": of the in-scope rows, "per_class", "confusion_matrix"}. What needs rows that are missing is None.
    """
    import numpy as np
    from sklearn import metrics as sk

    outside_score, likeliest = 1 - probabilities.max(-1), probabilities.argmax(-1)
    outside, rejected = targets == OUT_OF_SCOPE, outside_score > threshold
    inside, both = ~outside, outside.any() and not outside.all()
    truth = np.where(outside, len(labels) - 1, targets)
    predicted = np.where(rejected, len(labels) - 1, likeliest)
    classes = np.arange(len(labels))
    each = sk.precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0)
    present = each[3] > 0
    return {
        "rows": len(targets),
        **_unseen_rows(targets == UNSEEN),
        "out_of_scope_rows": int(outside.sum()),
        "accuracy": float((likeliest == targets)[inside].mean()) if inside.any() else None,
        "in_scope_accuracy": float((predicted == targets)[inside].mean()) if inside.any() else None,
        "out_of_scope_recall": float(rejected[outside].mean()) if outside.any() else None,
        "out_of_scope_precision": float(each[0][-1]) if outside.any() else None,
        "out_of_scope_roc_auc": float(sk.roc_auc_score(outside, outside_score)) if both else None,
        "f1_macro": float(each[2][present].mean()) if present.any() else 0.0,
        "log_loss": _log_loss(np.where(targets == UNSEEN, len(labels) - 1, targets)[inside], probabilities[inside])
        if inside.any()
        else None,
        "per_class": _per_class(labels, each, np.bincount(predicted, minlength=len(labels))),
        "confusion_matrix": _confusion_matrix(truth, predicted, len(labels)),
    }


def retrieval_metrics(
    prompts: "np.ndarray", replies: "np.ndarray", identities: "np.ndarray", *, candidates: int
) -> dict[str, Any]:
    """How well each prompt finds its reply among candidates, drawn from the other rows by a fixed seed.

    Args:
        prompts: float unit vectors (rows, hidden).
        replies: float unit vectors (rows, hidden), of each prompt's reply.
        identities: int (rows,), equal for equal replies, which are never candidates against each other.
        candidates: how many replies a prompt chooses from, its own included; fewer where there are fewer others.

    Returns:
        {"rows", "recall_at_1_of_N", "recall_at_3_of_N", "mean_reciprocal_rank_of_N"} with N candidates. Chance finds
        the reply first in 1 of N.

    Reference:
        Henderson et al. 2019, https://arxiv.org/abs/1904.06472
    """
    ranks = reply_ranks(prompts, replies, identities, candidates=candidates)
    values = retrieval_values(ranks, candidates)
    return {"rows": len(ranks), **{name: float(each.mean()) for name, each in values.items()}}


def retrieval_values(ranks: "np.ndarray", candidates: int) -> dict[str, "np.ndarray"]:
    """The values of each row that the scores of `retrieval_metrics` are means of, by name."""
    return {
        f"recall_at_1_of_{candidates}": ranks == 1,
        f"recall_at_3_of_{candidates}": ranks <= 3,
        f"mean_reciprocal_rank_of_{candidates}": 1 / ranks,
    }


def reply_ranks(
    prompts: "np.ndarray", replies: "np.ndarray", identities: "np.ndarray", *, candidates: int
) -> "np.ndarray":
    """The place of each prompt's own reply among its candidates, from 1, int (rows,); see `retrieval_metrics`."""
    import numpy as np

    random, ranks = np.random.default_rng(0), []
    for row, (prompt, identity) in enumerate(zip(prompts, identities, strict=True)):
        drawn = random.permutation(len(replies)) if len(replies) < 1000 else random.integers(0, len(replies), 100)
        _, firsts = np.unique(drawn, return_index=True)
        others = [i for i in drawn[np.sort(firsts)] if identities[i] != identity][: candidates - 1]
        # A candidate as close as the own reply counts as closer: a model that embeds all alike finds nothing.
        ranks.append(1 + int((replies[others] @ prompt >= replies[row] @ prompt).sum()))
    return np.array(ranks)


def entity_metrics(predicted: Sequence[Sequence[str]], truth: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Scores of BIO tags by whole entities: one counts where its kind and both its ends are right.

    Args:
        predicted: the tags of each row.
        truth: the true ones.

    Returns:
        {"rows", "entities", "precision", "recall", "f1": over all entities, "f1_macro": mean over the kinds,
        "tag_accuracy": share of words, "per_class": {kind: {precision, recall, f1, rows: true entities, predicted:
        predicted entities}}}.

    Reference:
        https://github.com/chakki-works/seqeval, its default mode, which agrees with conlleval
    """
    from seqeval import metrics as seqeval
    from seqeval.metrics.sequence_labeling import get_entities

    found = Counter(kind for tags in predicted for kind, _, _ in get_entities(tags))
    report = seqeval.classification_report(truth, predicted, output_dict=True, zero_division=0)
    means = {name: report.pop(name) for name in ("micro avg", "macro avg", "weighted avg")}
    pairs = [pair for rows in zip(truth, predicted, strict=True) for pair in zip(*rows, strict=True)]
    return {
        "rows": len(truth),
        "entities": int(means["micro avg"]["support"]),
        "precision": float(means["micro avg"]["precision"]),
        "recall": float(means["micro avg"]["recall"]),
        "f1": float(means["micro avg"]["f1-score"]),
        "f1_macro": float(means["macro avg"]["f1-score"]),
        "tag_accuracy": sum(one == other for one, other in pairs) / len(pairs),
        "per_class": {
            kind: {
                "precision": float(each["precision"]),
                "recall": float(each["recall"]),
                "f1": float(each["f1-score"]),
                "rows": int(each["support"]),
                "predicted": found[kind],
            }
            for kind, each in report.items()
        },
    }


def guess_metrics(sums: "np.ndarray") -> tuple[int, float, float]:
    """How well tokens were guessed.

    Args:
        sums: of cross-entropy, of right guesses and of guesses, float (rows, 3).

    Returns:
        The number of guesses, the share of right ones, and the perplexity; of no guess at all 0, 0 and 1.
    """
    import numpy as np

    loss, right, count = sums.astype("float64").sum(0).tolist()
    return int(count), right / max(count, 1), float(np.exp(loss / max(count, 1)))


def guess_scores(sums: "np.ndarray", *, count: str, accuracy: str, intervals: bool) -> dict[str, Any]:
    """Return the same by names, and with `intervals` the confidence intervals, as "intervals".

    Args:
        sums: as for `guess_metrics`.
        count: the name of the number of guesses.
        accuracy: the name of the share of right ones.
        intervals: whether intervals are computed.
    """
    from tfhub_ft.metrics.intervals import guess_intervals

    scores = dict(zip((count, accuracy, "perplexity"), guess_metrics(sums), strict=True))
    if intervals:
        scores["intervals"] = guess_intervals(sums, accuracy)
    return scores


def share_equal(found: Sequence[Any], expected: Sequence[Any]) -> float | None:
    """Return the share of equal predictions; None where predictions are numbers and nothing is right or wrong."""
    if not expected:
        return None
    if len(found) != len(expected):
        return 0.0
    return sum(one == other for one, other in zip(found, expected, strict=True)) / len(expected)
