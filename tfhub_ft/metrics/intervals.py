"""95% confidence intervals of scores: exact for proportions, by the bootstrap for all others."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CONFIDENCE = 0.95
# Draws of the bootstrap, fewer where rows and classes are many: so many numbers are computed in all.
MOST_DRAWS, LEAST_DRAWS, NUMBERS = 500, 100, 10**7
Interval = tuple[float, float]


def proportion_interval(successes: float, trials: float, confidence: float = CONFIDENCE) -> Interval:
    """Return the exact confidence interval of a proportion.

    Args:
        successes: how many trials were successes.
        trials: how many there were, at least one.
        confidence: of the interval.

    Example:
        proportion_interval(45, 50)  # (0.7819, 0.9667)

    Reference:
        Clopper and Pearson 1934, https://doi.org/10.1093/biomet/26.4.404
    """
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = beta.ppf(tail, successes, trials - successes + 1) if successes > 0 else 0.0
    high = beta.ppf(1 - tail, successes + 1, trials - successes) if successes < trials else 1.0
    return float(low), float(high)


class Bootstrap:
    """Rows that are drawn again and again with replacement.

    Args:
        rows: how many rows there are.
        columns: numbers that are computed of each row, by which the draws are limited.

    Example:
        Bootstrap(len(errors)).mean(errors)

    Reference:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile intervals)
    """

    def __init__(self, rows: int, columns: int = 1):
        import numpy as np

        draws = min(MOST_DRAWS, max(LEAST_DRAWS, NUMBERS // max(rows * columns, 1)))
        rng = np.random.default_rng(0)
        # How often each draw has each row, float32 (draws, rows).
        self.weights = np.stack(
            [np.bincount(rng.integers(0, rows, rows), minlength=rows).astype("float32") for _ in range(draws)]
        )

    def sums(self, values: "np.ndarray") -> "np.ndarray":
        """The sums of values of the rows, (rows, ...), in each draw: float64 (draws, ...)."""
        flat = values.reshape(len(values), -1).astype("float32")
        return (self.weights @ flat).astype("float64").reshape(-1, *values.shape[1:])

    def interval(self, scores: "np.ndarray") -> Interval:
        """The interval of a score, of its value in each draw, (draws,); NaN where a draw leaves it undefined."""
        import numpy as np

        tail = 100 * (1 - CONFIDENCE) / 2
        defined = scores[np.isfinite(scores)]
        if not len(defined):
            return float("nan"), float("nan")
        low, high = np.percentile(defined, [tail, 100 - tail])
        return float(low), float(high)

    def mean(self, values: "np.ndarray") -> Interval:
        """The interval of the mean of values of the rows, (rows,)."""
        return self.interval(self.sums(values) / self.weights.sum(1))

    def ratio(self, parts: "np.ndarray", wholes: "np.ndarray") -> Interval:
        """The interval of a sum over another sum, both of values of the rows, (rows,)."""
        return self.interval(_divided(self.sums(parts), self.sums(wholes)))

    def f1(self, right: "np.ndarray", predicted: "np.ndarray", true: "np.ndarray") -> "np.ndarray":
        """F1 in each draw, (draws, ...), of counts of the rows, (rows, ...); 0 where there is nothing to find."""
        import numpy as np

        hits, found, there = (self.sums(each) for each in (right, predicted, true))
        return 2 * hits / np.maximum(found + there, 1e-9)

    def roc_auc(self, scores: "np.ndarray", truth: "np.ndarray") -> "np.ndarray":
        """The area under the ROC curve in each draw, (draws,), of scores and 0 or 1 of the rows, (rows,)."""
        import numpy as np

        order, starts = _groups(scores)
        positive, negative = (
            np.add.reduceat((self.weights * each)[:, order].astype("float64"), starts, axis=1)
            for each in (truth, 1 - truth)
        )
        below = np.cumsum(negative, 1) - negative
        return _divided((positive * (below + negative / 2)).sum(1), positive.sum(1) * negative.sum(1))

    def average_precision(self, scores: "np.ndarray", truth: "np.ndarray") -> "np.ndarray":
        """The average precision in each draw, (draws,), of scores and 0 or 1 of the rows, (rows,)."""
        import numpy as np

        order, starts = _groups(-scores)
        positive, every = (
            np.add.reduceat((self.weights * each)[:, order].astype("float64"), starts, axis=1)
            for each in (truth, np.ones_like(truth))
        )
        precision = np.cumsum(positive, 1) / np.maximum(np.cumsum(every, 1), 1e-9)
        return _divided((positive * precision).sum(1), positive.sum(1))


def _groups(scores: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """The order of scores, ascending, and the places in it at which another score begins."""
    import numpy as np

    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    return order, np.append(0, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1)


def _divided(parts: "np.ndarray", wholes: "np.ndarray") -> "np.ndarray":
    import numpy as np

    return np.divide(parts, wholes, out=np.full(parts.shape, np.nan), where=wholes > 0)


def classification_intervals(
    probabilities: "np.ndarray", targets: "np.ndarray", predicted: "np.ndarray"
) -> dict[str, Interval]:
    """Intervals of the scores of `classification_metrics`, by name; the arguments are the same."""
    import numpy as np

    rows, classes = probabilities.shape
    bootstrap = Bootstrap(rows, classes)
    truth, found = targets[:, None] == range(classes), predicted[:, None] == range(classes)
    right = truth & found
    known = np.where(targets >= 0, probabilities[np.arange(rows), np.maximum(targets, 0)], 0.0)
    intervals = {
        "accuracy": proportion_interval((targets == predicted).sum(), rows),
        "log_loss": bootstrap.mean(-np.log(known.clip(np.finfo("float64").eps, 1))),
        **_label_intervals(bootstrap, right, found, truth),
    }
    scored = range(1, 2) if classes == 2 else range(classes)
    if truth.any(0).all():
        for name, compute in (("roc_auc", bootstrap.roc_auc), ("average_precision", bootstrap.average_precision)):
            drawn = [compute(probabilities[:, label], truth[:, label].astype("float32")) for label in scored]
            intervals[name] = bootstrap.interval(np.mean(drawn, 0))
    return intervals


def _label_intervals(
    bootstrap: Bootstrap, right: "np.ndarray", found: "np.ndarray", truth: "np.ndarray"
) -> dict[str, Interval]:
    """Intervals of precision, recall and F1, of bool (rows, classes)."""
    import numpy as np

    hits, flagged, there = (bootstrap.sums(each) for each in (right, found, truth))
    precision, recall = (np.nan_to_num(_divided(hits, whole)) for whole in (flagged, there))
    f1 = 2 * hits / np.maximum(flagged + there, 1e-9)
    macro = {
        f"{name}_macro": bootstrap.interval(each.mean(1))
        for name, each in (("precision", precision), ("recall", recall), ("f1", f1))
    }
    if right.shape[1] != 2:
        return {**{name.removesuffix("_macro"): interval for name, interval in macro.items()}, **macro}
    headline = {"f1": bootstrap.interval(f1[:, 1])}
    for name, whole in (("precision", found), ("recall", truth)):
        if count := int(whole[:, 1].sum()):
            headline[name] = proportion_interval(int(right[:, 1].sum()), count)
    return {**headline, **macro}


def intent_intervals(
    probabilities: "np.ndarray", targets: "np.ndarray", labels: int, predicted: "np.ndarray", outside: "np.ndarray"
) -> dict[str, Interval]:
    """Intervals of the scores of `intent_metrics`, by name.

    Args:
        probabilities: float (rows, intents).
        targets: int (rows,), indices of intents.
        labels: how many labels there are, the out-of-scope one included.
        predicted: int (rows,), indices of labels, the last one for rejected rows.
        outside: bool (rows,), whether a row is out of scope.
    """
    import numpy as np

    rejected, inside = predicted == labels - 1, ~outside
    bootstrap = Bootstrap(len(targets), labels)
    truth = np.where(outside, labels - 1, targets)[:, None] == range(labels)
    found = predicted[:, None] == range(labels)
    present = truth.any(0)
    f1 = bootstrap.f1(truth & found, found, truth)[:, present]
    known = np.where(targets >= 0, probabilities[np.arange(len(targets)), np.maximum(targets, 0)], 0.0)
    losses = -np.log(known.clip(np.finfo("float64").eps, 1))
    shares = {
        "accuracy": (inside, probabilities.argmax(-1) == targets),
        "in_scope_accuracy": (inside, predicted == targets),
        "out_of_scope_recall": (outside, rejected),
        "out_of_scope_precision": (rejected, outside),
    }
    intervals = {
        name: proportion_interval(int((right & among).sum()), int(among.sum()))
        for name, (among, right) in shares.items()
        if among.any() and (outside.any() or not name.startswith("out"))
    }
    if outside.any() and inside.any():
        score = 1 - probabilities.max(-1)
        intervals["out_of_scope_roc_auc"] = bootstrap.interval(bootstrap.roc_auc(score, outside.astype("float32")))
    if inside.any():
        intervals["log_loss"] = bootstrap.ratio(losses * inside, inside)
    return {**intervals, "f1_macro": bootstrap.interval(f1.mean(1))} if present.any() else intervals


def multilabel_intervals(
    probabilities: "np.ndarray", targets: "np.ndarray", thresholds: Sequence[float]
) -> dict[str, Interval]:
    """Intervals of the scores of `multilabel_metrics`, by name; the arguments are the same."""
    import numpy as np

    rows, count = probabilities.shape
    bootstrap = Bootstrap(rows, count)
    truth = np.column_stack([targets[:, :count] > 0, targets[:, count:].any(-1)])
    found = np.pad(probabilities >= np.array(thresholds), ((0, 0), (0, 1)))
    right = truth & found
    clipped = probabilities.clip(1e-15, 1 - 1e-15)
    losses = -np.log(np.where(truth[:, :count], clipped, 1 - clipped)).mean(-1)
    sums = [each.sum(-1) for each in (right, found, truth)]
    ranked = [
        bootstrap.average_precision(probabilities[:, label], truth[:, label].astype("float32"))
        for label in np.flatnonzero(truth[:, :count].any(0))
    ]
    return {
        "f1_micro": bootstrap.interval(bootstrap.f1(*sums)),
        "f1_macro": bootstrap.interval(bootstrap.f1(right, found, truth)[:, :count].mean(1)),
        "precision_micro": bootstrap.ratio(sums[0], sums[1]),
        "recall_micro": bootstrap.ratio(sums[0], sums[2]),
        "exact_match": proportion_interval(int((truth == found).all(-1).sum()), rows),
        "label_ranking_average_precision": bootstrap.mean(_ranking_precision(probabilities, truth)),
        "log_loss": bootstrap.mean(losses),
        **({"average_precision": bootstrap.interval(np.nanmean(ranked, 0))} if ranked else {}),
    }


def _ranking_precision(probabilities: "np.ndarray", truth: "np.ndarray") -> "np.ndarray":
    """The label ranking average precision of each row, float (rows,); the last column of `truth` is ranked last."""
    import numpy as np

    ranked = np.pad(probabilities, ((0, 0), (0, 1)), constant_values=-1)
    scores = np.ones(len(truth))
    for row, (own, there) in enumerate(zip(ranked, truth)):
        if there.any() and not there.all():
            above = own[:, None] <= own[None, :]
            scores[row] = (above[there][:, there].sum(-1) / above[there].sum(-1)).mean()
    return scores


def regression_intervals(predicted: "np.ndarray", truth: "np.ndarray") -> dict[str, Interval]:
    """Intervals of the scores of `regression_metrics`, by name; the arguments are the same."""
    import numpy as np
    from scipy.stats import rankdata

    bootstrap = Bootstrap(len(truth))
    count, errors = bootstrap.weights.sum(1), predicted - truth

    def moments(values: "np.ndarray") -> "np.ndarray":
        return bootstrap.sums(values) / count

    def correlation(one: "np.ndarray", other: "np.ndarray") -> "np.ndarray":
        one, other = one - one.mean(), other - other.mean()
        covariance = moments(one * other) - moments(one) * moments(other)
        variances = [moments(each**2) - moments(each) ** 2 for each in (one, other)]
        return _divided(covariance, np.sqrt(np.maximum(variances[0] * variances[1], 0)))

    centered = truth - truth.mean()
    spread = moments(centered**2) - moments(centered) ** 2
    squares = moments(errors**2)
    intervals = {
        "mean_absolute_error": bootstrap.mean(np.abs(errors)),
        "root_mean_squared_error": bootstrap.interval(np.sqrt(squares)),
    }
    if len(truth) > 1 and np.ptp(truth) > 0 and np.ptp(predicted) > 0:
        intervals |= {
            "pearson": bootstrap.interval(correlation(predicted, truth)),
            "spearman": bootstrap.interval(correlation(rankdata(predicted), rankdata(truth))),
            "r2": bootstrap.interval(1 - _divided(squares, spread)),
        }
    return intervals


def mean_intervals(values: Mapping[str, "np.ndarray"]) -> dict[str, Interval]:
    """Intervals of means over rows, by name: exact ones of values that are 0 or 1.

    Args:
        values: float (rows,) for each score; rows that a score leaves out are not in it.
    """
    import numpy as np

    intervals = {}
    for name, each in values.items():
        if len(each) and np.isin(each, (0, 1)).all():
            intervals[name] = proportion_interval(int(each.sum()), len(each))
        elif len(each):
            intervals[name] = Bootstrap(len(each)).mean(np.asarray(each, "float64"))
    return intervals


def entity_intervals(
    predicted: Sequence[Sequence[str]], truth: Sequence[Sequence[str]], losses: Sequence["np.ndarray"]
) -> dict[str, Interval]:
    """Intervals of the scores of entities, by name.

    Args:
        predicted: the tags of each row.
        truth: the true ones.
        losses: the cross-entropy of each word's tag, of words whose tag the model has, an array for each row.
    """
    import numpy as np
    from seqeval.metrics.sequence_labeling import get_entities

    found, there = ([set(get_entities(tags)) for tags in each] for each in (predicted, truth))
    kinds = sorted({kind for row in (*found, *there) for kind, _, _ in row})

    def counts(rows: Sequence[set]) -> "np.ndarray":
        return np.array([[sum(kind == each for each, _, _ in row) for kind in kinds] for row in rows], "float32")

    right = counts([one & other for one, other in zip(found, there, strict=True)])
    found, there = counts(found), counts(there)
    known = there.any(0)
    bootstrap = Bootstrap(len(truth), max(len(kinds), 1))
    words = np.array([len(tags) for tags in truth])
    equal = np.array([sum(one == other for one, other in zip(*rows)) for rows in zip(predicted, truth, strict=True)])
    sums = [each.sum(-1) for each in (right, found, there)]
    sizes = np.array([len(each) for each in losses])
    intervals = {
        "tag_accuracy": bootstrap.ratio(equal, words),
        "log_loss": bootstrap.ratio(np.array([each.sum() for each in losses]), sizes),
        "f1": bootstrap.interval(bootstrap.f1(*sums)),
        "precision": bootstrap.ratio(sums[0], sums[1]),
        "recall": bootstrap.ratio(sums[0], sums[2]),
    }
    if known.any():
        intervals["f1_macro"] = bootstrap.interval(bootstrap.f1(right, found, there)[:, known].mean(1))
    return {name: interval for name, interval in intervals.items() if np.isfinite(interval).all()}


def guess_intervals(sums: "np.ndarray", accuracy: str) -> dict[str, Interval]:
    """Intervals of the share of right guesses, under the name of `accuracy`, and of the perplexity.

    Args:
        sums: of cross-entropy, of right guesses and of guesses, float (rows, 3).
        accuracy: what the share is called.
    """
    import numpy as np

    bootstrap = Bootstrap(len(sums))
    loss, right, count = sums.astype("float64").T
    if not count.sum():
        return {}
    low, high = np.exp(bootstrap.ratio(loss, count))
    return {accuracy: bootstrap.ratio(right, count), "perplexity": (float(low), float(high))}
