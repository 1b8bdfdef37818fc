"""Decision thresholds, chosen on validation rows."""

import bisect
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

CONFIDENCE = 0.95
# The test sequence starts where up to so many false positives are allowed, if the model predicts enough positives.
MOST_ERRORS, SHARE_AT_START = 3, 0.6
# The share of trainings that get a threshold with as many validation rows as a warning asks for.
POWER = 0.8
# What such an estimate is at least and at most, as a multiple of the rows that were too few.
MORE_ROWS, MOST_ROWS = 1.2, 100


def threshold_for_precision(scores: "np.ndarray", truth: "np.ndarray", *, wanted: float) -> dict[str, Any]:
    """Choose the threshold with the highest recall whose precision on new rows is the wanted one, at 95% confidence.

    The confidence holds for the choice, not for each threshold by itself: thresholds are tested in a fixed sequence,
    from high to low, and the first one that fails an exact binomial test ends it. The sequence depends on the ranks of
    the scores alone. The threshold before the failure is chosen.

    Args:
        scores: probabilities of the positive class on validation rows, float (rows,).
        truth: 1 where a row is positive, int (rows,).
        wanted: the least precision.

    Returns:
        {"threshold", "wanted_precision", "confidence", "is_confident", "precision", "recall", "rows_needed"}. A row is
        positive where its score is at least the threshold; precision and recall are those of the rows given. Where the
        rows do not show the wanted precision for any threshold, "is_confident" is False, the threshold is the one with
        the highest lower bound on precision, and "rows_needed" estimates how many validation rows would do, or is None
        where the precision itself is too low.

    Example:
        threshold_for_precision(np.linspace(0, 1, 200), np.repeat([0, 1], 100), wanted=0.9)["threshold"]

    Reference:
        Angelopoulos et al. 2021 (learn then test), https://arxiv.org/abs/2110.01052; Wiens 2003 (fixed sequence)
    """
    import numpy as np
    from scipy.stats import binom

    order = np.argsort(-scores, kind="stable")
    ordered, right = scores[order], np.cumsum(truth[order])
    # A threshold flags the rows above a score: given that score, they are independent draws of all rows above it.
    flagged = np.append(np.flatnonzero(ordered[1:] < ordered[:-1]) + 1, len(ordered))
    right = right[flagged - 1]
    likely = SHARE_AT_START * (scores >= 0.5).sum()
    start = _first_rows(likely, wanted)
    sequence = np.flatnonzero(flagged >= start)
    passed = binom.sf(right[sequence] - 1, flagged[sequence], wanted) <= 1 - CONFIDENCE
    count = len(passed) if passed.all() else int(passed.argmin())
    place = sequence[count - 1] if count else _safest(flagged, right)
    rows, hits = int(flagged[place]), int(right[place])
    # Half-way to the next lower score, so that rounding cannot turn the row that set the threshold.
    threshold = (ordered[rows - 1] + ordered[rows]) / 2 if rows < len(ordered) else ordered[-1]
    needed = None
    if not count:
        tested = max(0, int(np.searchsorted(flagged, min(start, likely), "right")) - 1)
        tested = tested if right[tested] > wanted * flagged[tested] else place
        needed = _rows_needed(len(scores), int(flagged[tested]), int(right[tested]), wanted)
    return {
        "threshold": float(threshold),
        "wanted_precision": wanted,
        "confidence": CONFIDENCE,
        "is_confident": bool(count),
        "precision": hits / rows,
        "recall": hits / max(int(truth.sum()), 1),
        "rows_needed": needed,
    }


def _first_rows(likely: float, wanted: float) -> int:
    """The rows above the first threshold that is tested.

    Args:
        likely: so many rows are likely to be positive.
        wanted: the least precision.
    """
    starts = [least_rows(wanted, errors) for errors in range(MOST_ERRORS + 1)]
    return max([starts[0], *(start for start in starts if start <= likely)])


def _safest(flagged: "np.ndarray", right: "np.ndarray") -> int:
    """The place of the threshold whose precision has the highest lower bound."""
    import numpy as np
    from scipy.stats import beta

    return int(np.nan_to_num(beta.ppf(1 - CONFIDENCE, right, flagged - right + 1)).argmax())


def least_rows(wanted: float, errors: int) -> int:
    """The fewest flagged rows that show a precision although some of them are wrong, at the confidence of the choice.

    Args:
        wanted: the precision, below 1.
        errors: how many rows are wrong.
    """
    from scipy.special import bdtr

    most = errors + 1
    while bdtr(errors, most, 1 - wanted) > 1 - CONFIDENCE:
        most *= 2
    return bisect.bisect_left(range(most), CONFIDENCE - 1, errors + 1, key=lambda rows: -bdtr(errors, rows, 1 - wanted))


def _rows_needed(rows: int, flagged: int, right: int, wanted: float) -> int | None:
    """About how many validation rows would show the wanted precision, if the precision is what these rows say.

    Args:
        rows: the validation rows.
        flagged: those above a high threshold.
        right: those of them that are positive.
        wanted: the least precision.

    Returns:
        The number, rounded up to two digits; None where the precision is not clearly above the wanted one.
    """
    from scipy.special import bdtr

    precision, errors = right / flagged, 0
    if precision <= wanted:
        return None
    while bdtr(errors, least_rows(wanted, errors), 1 - precision) < POWER:
        errors += 1 + errors // 20
    estimate = max(least_rows(wanted, errors) * rows / flagged, MORE_ROWS * rows)
    if estimate > MOST_ROWS * rows:
        return None
    digits = 10 ** max(0, len(str(int(estimate))) - 2)
    return math.ceil(estimate / digits) * digits


def precision_warning(scores: Mapping[str, Mapping[str, Any]], decision: Mapping[str, Any]) -> list[str]:
    """A warning where validation rows do not show the wanted precision; none where they do, or none is wanted.

    Args:
        scores: of held-out splits.
        decision: what `threshold_for_precision` returned; empty where no precision is wanted.
    """
    if decision.get("is_confident", True):
        return []
    rows, needed = scores["validation"]["rows"], decision["rows_needed"]
    advice = f"about {needed:,} would do" if needed else "more rows would not help: the model's precision is too low"
    return [
        f"--wanted-precision {decision['wanted_precision']:g}: no threshold keeps it at"
        f" {decision['confidence']:.0%} confidence by the {rows:,} validation rows; {advice}; the threshold with the"
        " highest lower bound on precision is used"
    ]


def precision_summary(
    scores: Mapping[str, Mapping[str, Any]], labels: Sequence[str], decision: Mapping[str, Any]
) -> list[str]:
    """What the threshold for a wanted precision gives on each split, a sentence each; none where none is wanted.

    Args:
        scores: by split; those of training rows are left out.
        labels: the labels, of which the last one is the positive one.
        decision: what `threshold_for_precision` returned.
    """
    if "wanted_precision" not in decision:
        return []
    from tfhub_ft.metrics.intervals import proportion_interval

    confidence = f"{decision['confidence']:.0%} confidence" if decision.get("is_confident") else "not shown"
    summary = [
        f"Threshold {decision['threshold']:.4f} on the probability of {labels[-1]!r}, for a precision of at least"
        f" {decision['wanted_precision']:g} ({confidence})."
    ]
    for split, each in scores.items():
        if "per_class" not in each:
            continue
        positive = each["per_class"][labels[-1]]
        right = round(positive["precision"] * positive.get("predicted", 0))
        interval = ""
        if positive.get("predicted"):
            low, high = proportion_interval(right, positive["predicted"])
            interval = f", 95% interval {low:.4f} to {high:.4f}"
        summary.append(
            f"{split.capitalize()}: precision {positive['precision']:.4f} ({right:,} of"
            f" {positive.get('predicted', 0):,}{interval}), recall {positive['recall']:.4f}."
        )
    return summary


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
