"""Decision thresholds, chosen on validation rows."""

from typing import TYPE_CHECKING, Any

from tfhub_ft.console import say

if TYPE_CHECKING:
    import numpy as np

CONFIDENCE = 0.8


def threshold_for_precision(scores: "np.ndarray", truth: "np.ndarray", *, wanted: float) -> dict[str, Any]:
    """The threshold that finds the most positives at a precision that new rows will have too, four times in five.

    The share of right ones among the few rows at a threshold is an estimate, and the best of many estimates flatters:
    what must reach `wanted` is therefore the lower end of its one-sided 80% Jeffreys interval.

    Args:
        scores: float (rows,), the positive class's probabilities.
        truth: int (rows,), 1 where a row is positive.
        wanted: the least precision. Where no threshold promises it, the one that promises most is taken, and a warning
            says so.

    Returns:
        {"threshold", "wanted_precision", "precision", "recall"}: a row is positive when its score is at least the
        threshold; precision and recall are those of the rows given.

    Example:
        threshold_for_precision(np.array([0.2, 0.6, 0.9]), np.array([0, 1, 1]), wanted=0.5)["threshold"]

    Reference:
        Brown, Cai and DasGupta 2001, section 4.1.2, https://doi.org/10.1214/ss/1009213286
    """
    import numpy as np
    from scipy.stats import beta

    order = np.argsort(-scores, kind="stable")
    ordered, right = scores[order], np.cumsum(truth[order])
    ends = np.flatnonzero(np.append(ordered[1:] < ordered[:-1], True))
    right, flagged = right[ends], ends + 1
    promised = beta.ppf(1 - CONFIDENCE, right + 0.5, flagged - right + 0.5) * (right > 0)
    good = np.flatnonzero(promised >= wanted)
    place = good[np.argmax(right[good])] if len(good) else int(promised.argmax())
    if not len(good):
        say(
            f"Warning: the {len(scores):,} validation rows promise no precision of {wanted:g}, only"
            f" {promised[place]:.3f}: the threshold with that one is taken"
        )
    end = ends[place]
    # Half-way to the next lower score, so that rounding cannot turn the row that set the threshold.
    threshold = (ordered[end] + ordered[end + 1]) / 2 if end + 1 < len(ordered) else ordered[end]
    return {
        "threshold": float(threshold),
        "wanted_precision": wanted,
        "precision": float(right[place] / flagged[place]),
        "recall": float(right[place] / max(truth.sum(), 1)),
    }


def thresholds_for_f1(scores: "np.ndarray", truth: "np.ndarray") -> list[float]:
    """For each label the threshold with the highest F1.

    Args:
        scores: float (rows, labels).
        truth: int (rows, labels), 0 or 1. A label without a positive row gets 0.5.
    """
    import numpy as np
    from sklearn.metrics import precision_recall_curve

    thresholds = []
    for label in range(scores.shape[1]):
        if not truth[:, label].any():
            thresholds.append(0.5)
            continue
        precision, recall, at = precision_recall_curve(truth[:, label], scores[:, label])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = int(f1[:-1].argmax())
        thresholds.append(float((at[best] + at[best - 1]) / 2 if best else at[best]))
    return thresholds


def threshold_for_rejection(scores: "np.ndarray", correct: "np.ndarray", *, wanted: float) -> float:
    """The threshold above which a row is rejected, as low as a wanted share of right answers allows.

    Args:
        scores: float (rows,), how likely each row is out of scope; all rows here are in scope.
        correct: bool (rows,), whether the row's answer is right when it is not rejected.
        wanted: the share of rows that must be answered, and right. Where fewer are right, nothing is rejected.
    """
    import numpy as np

    if not len(scores) or correct.mean() < wanted:
        return float("inf") if not len(scores) else float(scores.max()) + 1e-6
    needed = int(np.ceil(wanted * len(scores) - 1e-9))
    return float(np.sort(scores[correct])[needed - 1]) + 1e-6
