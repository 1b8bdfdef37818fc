"""Decision thresholds, chosen on validation rows."""

import bisect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfhub_ft.metrics import Scores
from tfhub_ft.metrics.intervals import CONFIDENCE, proportion_interval

# The first threshold tested allows up to this many false positives, if enough rows are likely to be positive.
MOST_ERRORS, SHARE_AT_START = 3, 0.6
# Probability of finding a threshold with the number of validation rows that the warning names.
POWER = 0.8
# Limits of that number, as a multiple of the validation rows.
MORE_ROWS, MOST_ROWS = 1.2, 100


def threshold_for_precision(scores: np.ndarray, truth: np.ndarray, *, wanted: float) -> dict[str, Any]:
    """Return the threshold with the highest recall whose precision on new rows is the wanted one, at 95% confidence.

    Thresholds are tested from high to low by an exact binomial test, up to the first that fails (learn then test,
    Angelopoulos et al. 2021; fixed sequences, Wiens 2003). Which are tested depends on the ranks of the scores only, so
    the confidence holds for the choice. If none passes, "is_confident" is False, the threshold is the one with the
    highest lower bound on precision, and "rows_needed" estimates how many validation rows are needed.
    """
    from scipy.stats import beta, binom

    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(truth[order])
    # Given the highest score below a threshold, the rows above it are independent draws of all rows above that score.
    flagged = np.append(np.flatnonzero(ordered[1:] < ordered[:-1]) + 1, len(ordered))
    hits = hits[flagged - 1]
    likely = SHARE_AT_START * (scores >= 0.5).sum()
    least = [least_rows(wanted, errors) for errors in range(MOST_ERRORS + 1)]
    start = max([least[0], *(rows for rows in least if rows <= likely)])
    sequence = np.flatnonzero(flagged >= start)
    passed = binom.sf(hits[sequence] - 1, flagged[sequence], wanted) <= 1 - CONFIDENCE
    count = len(passed) if passed.all() else int(passed.argmin())
    chosen = sequence[count - 1] if count else np.nan_to_num(beta.isf(CONFIDENCE, hits, flagged - hits + 1)).argmax()
    rows = int(flagged[chosen])
    # Halfway to the next lower score, or to 0, so that rounding does not exclude the row at the threshold.
    threshold = (ordered[rows - 1] + (ordered[rows] if rows < len(ordered) else 0)) / 2
    needed = None
    if not count:
        tested = max(0, int(np.searchsorted(flagged, min(start, likely), "right")) - 1)
        tested = tested if hits[tested] > wanted * flagged[tested] else chosen
        needed = _rows_needed(len(scores), int(flagged[tested]), int(hits[tested]), wanted)
    return {
        "threshold": float(threshold),
        "wanted_precision": wanted,
        "confidence": CONFIDENCE,
        "is_confident": bool(count),
        "precision": int(hits[chosen]) / rows,
        "recall": int(hits[chosen]) / max(int(truth.sum()), 1),
        "rows_needed": needed,
    }


def least_rows(wanted: float, errors: int) -> int:
    """Return the fewest flagged rows that show a precision below 1 although so many of them are wrong."""
    from scipy.special import bdtr

    most = errors + 1
    while bdtr(errors, most, 1 - wanted) > 1 - CONFIDENCE:
        most *= 2
    return bisect.bisect_left(range(most), CONFIDENCE - 1, errors + 1, key=lambda rows: -bdtr(errors, rows, 1 - wanted))


def _rows_needed(rows: int, flagged: int, hits: int, wanted: float) -> int | None:
    """Return how many validation rows would show the wanted precision, to two digits; None if it is too low.

    The estimate assumes the precision of these validation rows, of which `flagged` are above a high threshold.
    """
    from scipy.special import bdtr

    precision, errors = hits / flagged, 0
    if precision <= wanted:
        return None
    while bdtr(errors, least_rows(wanted, errors), 1 - precision) < POWER:
        errors += 1 + errors // 20
    estimate = max(least_rows(wanted, errors) * rows / flagged, MORE_ROWS * rows)
    if estimate > MOST_ROWS * rows:
        return None
    digits = 10 ** max(0, len(str(int(estimate))) - 2)
    return math.ceil(estimate / digits) * digits


def precision_warning(scores: Mapping[str, Scores], thresholds: Mapping[str, Any]) -> list[str]:
    """Return a warning if validation rows do not show the wanted precision."""
    if thresholds.get("is_confident", True):
        return []
    rows, needed = scores["validation"]["rows"], thresholds["rows_needed"]
    advice = f"about {needed:,} are needed" if needed else "more would not help: the model's precision is too low"
    return [
        f"--wanted-precision {thresholds['wanted_precision']:g}: no threshold reaches it at"
        f" {thresholds['confidence']:.0%} confidence on the {rows:,} validation rows; {advice}; the threshold with the"
        " highest lower bound on precision is used"
    ]


def precision_summary(scores: Mapping[str, Scores], labels: Sequence[str], thresholds: Mapping[str, Any]) -> list[str]:
    """Return sentences on the threshold for a wanted precision and its precision on each split."""
    if "wanted_precision" not in thresholds:
        return []
    is_confident = thresholds.get("is_confident")
    confidence = f"{thresholds['confidence']:.0%} confidence" if is_confident else "not shown by the validation rows"
    summary = [
        f"Threshold {thresholds['threshold']:.4f} on the probability of {labels[-1]!r}, for a precision of at least"
        f" {thresholds['wanted_precision']:g} ({confidence})."
    ]
    for split, split_scores in scores.items():
        if "per_class" not in split_scores:
            continue
        positive = split_scores["per_class"][labels[-1]]
        predicted = positive.get("predicted", 0)
        hits, interval = round(positive["precision"] * predicted), ""
        if predicted:
            low, high = proportion_interval(hits, predicted)
            interval = f", 95% interval {low:.4f} to {high:.4f}"
        summary.append(
            f"{split.capitalize()}: precision {positive['precision']:.4f} ({hits:,} of {predicted:,}{interval}), recall"
            f" {positive['recall']:.4f}."
        )
    return summary


def thresholds_for_f1(scores: np.ndarray, truth: np.ndarray) -> list[float]:
    """Return the threshold with the highest F1 for each label, 0.5 for labels without a row; both (rows, labels)."""
    from sklearn.metrics import precision_recall_curve

    thresholds = []
    for label in range(scores.shape[1]):
        if not truth[:, label].any():
            thresholds.append(0.5)
            continue
        precision, recall, steps = precision_recall_curve(truth[:, label], scores[:, label])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = int(f1[:-1].argmax())
        thresholds.append(float((steps[best] + steps[best - 1]) / 2 if best else steps[best]))
    return thresholds


def threshold_for_rejection(scores: np.ndarray, correct: np.ndarray, *, wanted: float) -> float:
    """Return the lowest out-of-scope score above which rows can be rejected for the wanted in-scope accuracy.

    The scores are those of in-scope rows. Nothing is rejected if the accuracy is below the wanted one anyway.
    """
    if not len(scores) or correct.mean() < wanted:
        return float(scores.max()) + 1e-6 if len(scores) else math.inf
    needed = int(np.ceil(wanted * len(scores) - 1e-9))
    return float(np.sort(scores[correct])[needed - 1]) + 1e-6
