"""95% confidence intervals of scores: exact for proportions, bootstrapped for others."""

from collections.abc import Mapping, Sequence

import numpy as np

from tfhub_ft.metrics.row_losses import binary_log_losses, log_losses

CONFIDENCE = 0.95
# Bootstrap draws, fewer for many rows and classes, so that at most this many numbers are computed.
MOST_DRAWS, LEAST_DRAWS, NUMBERS = 500, 100, 10**7
Interval = tuple[float, float]


def proportion_interval(successes: int, trials: int) -> Interval:
    """Return the exact confidence interval of a proportion (Clopper and Pearson 1934)."""
    from scipy.stats import binomtest

    low, high = binomtest(successes, trials).proportion_ci(CONFIDENCE, method="exact")
    return float(low), float(high)


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the confidence interval of the mean of at least two values by Student's t distribution.

    Reference:
        Student 1908, https://doi.org/10.2307/2331554
    """
    from scipy.special import stdtrit

    mean, error = np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))
    margin = stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2) * error
    return float(mean - margin), float(mean + margin)


class Bootstrap:
    """Percentile intervals from rows resampled with replacement (Efron and Tibshirani 1993, chapter 13)."""

    def __init__(self, rows: int, columns: int = 1):
        draws = min(MOST_DRAWS, max(LEAST_DRAWS, NUMBERS // max(rows * columns, 1)))
        rng = np.random.default_rng(0)
        # How often each draw contains each row, float32 (draws, rows).
        self.weights = np.stack(
            [np.bincount(rng.integers(0, rows, rows), minlength=rows).astype("float32") for _ in range(draws)]
        )

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sums of the rows' values, (rows, ...), in each draw, float64 (draws, ...)."""
        flat = values.reshape(len(values), -1).astype("float32")
        return (self.weights @ flat).astype("float64").reshape(-1, *values.shape[1:])

    def interval(self, scores: np.ndarray) -> Interval:
        """Return the interval of a score from its value in each draw, (draws,), which may be NaN."""
        tail = 100 * (1 - CONFIDENCE) / 2
        defined = scores[np.isfinite(scores)]
        if not len(defined):
            return float("nan"), float("nan")
        low, high = np.percentile(defined, [tail, 100 - tail])
        return float(low), float(high)

    def mean(self, values: np.ndarray) -> Interval:
        """Return the interval of the mean of the rows' values, (rows,)."""
        return self.interval(self.sums(values) / self.weights.sum(1))

    def ratio(self, parts: np.ndarray, wholes: np.ndarray) -> Interval:
        """Return the interval of one sum over another, both of the rows' values, (rows,)."""
        return self.interval(_divide(self.sums(parts), self.sums(wholes)))

    def f1(self, correct: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
        """Return F1 in each draw, (draws, ...), from counts of the rows, (rows, ...)."""
        hits, predicted, true = (self.sums(each) for each in (correct, predicted, true))
        return 2 * hits / np.maximum(predicted + true, 1e-9)

    def roc_auc(self, scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Return the area under the ROC curve in each draw, (draws,), for truth of 0 and 1, (rows,)."""
        positive, negative = self._weights_by_score(scores, truth, 1 - truth)
        below = np.cumsum(negative, 1) - negative
        return _divide((positive * (below + negative / 2)).sum(1), positive.sum(1) * negative.sum(1))

    def average_precision(self, scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Return the average precision in each draw, (draws,), for truth of 0 and 1, (rows,)."""
        positive, every = self._weights_by_score(-scores, truth, np.ones_like(truth))
        precision = np.cumsum(positive, 1) / np.maximum(np.cumsum(every, 1), 1e-9)
        return _divide((positive * precision).sum(1), positive.sum(1))

    def _weights_by_score(self, scores: np.ndarray, *selections: np.ndarray) -> list[np.ndarray]:
        """Return the weights of the selected rows in each draw, summed by distinct score in ascending order."""
        order = np.argsort(scores, kind="stable")
        ordered = scores[order]
        starts = np.append(0, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1)
        return [np.add.reduceat((self.weights * each)[:, order].astype("float64"), starts, 1) for each in selections]


def _divide(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """Return the quotients, NaN where the divisor is not positive."""
    return np.divide(parts, wholes, out=np.full(parts.shape, np.nan), where=wholes > 0)


def classification_intervals(
    probabilities: np.ndarray, targets: np.ndarray, predicted: np.ndarray
) -> dict[str, Interval]:
    """Return the intervals of the scores of `classification_metrics`."""
    rows, classes = probabilities.shape
    bootstrap = Bootstrap(rows, classes)
    truth, is_predicted = targets[:, None] == range(classes), predicted[:, None] == range(classes)
    intervals = {
        "accuracy": proportion_interval((targets == predicted).sum(), rows),
        "log_loss": bootstrap.mean(log_losses(probabilities, targets)),
        **_label_intervals(bootstrap, truth & is_predicted, is_predicted, truth),
    }
    scored = range(1, 2) if classes == 2 else range(classes)
    if truth.any(0).all():
        for name, compute in (("roc_auc", bootstrap.roc_auc), ("average_precision", bootstrap.average_precision)):
            drawn = [compute(probabilities[:, label], truth[:, label].astype("float32")) for label in scored]
            intervals[name] = bootstrap.interval(np.mean(drawn, 0))
    return intervals


def _label_intervals(
    bootstrap: Bootstrap, correct: np.ndarray, predicted: np.ndarray, truth: np.ndarray
) -> dict[str, Interval]:
    """Return the intervals of precision, recall and F1, from bool (rows, classes)."""
    hits, all_predicted, all_true = (bootstrap.sums(each) for each in (correct, predicted, truth))
    by_name = {
        "precision": np.nan_to_num(_divide(hits, all_predicted)),
        "recall": np.nan_to_num(_divide(hits, all_true)),
        "f1": 2 * hits / np.maximum(all_predicted + all_true, 1e-9),
    }
    macro = {name: bootstrap.interval(values.mean(1)) for name, values in by_name.items()}
    intervals = {f"{name}_macro": interval for name, interval in macro.items()}
    if correct.shape[1] != 2:
        return macro | intervals
    intervals["f1"] = bootstrap.interval(by_name["f1"][:, 1])
    for name, rows in (("precision", predicted), ("recall", truth)):
        if count := int(rows[:, 1].sum()):
            intervals[name] = proportion_interval(int(correct[:, 1].sum()), count)
    return intervals


def intent_intervals(
    probabilities: np.ndarray, targets: np.ndarray, labels: int, predicted: np.ndarray, outside: np.ndarray
) -> dict[str, Interval]:
    """Return the intervals of the scores of `intent_metrics`; `outside` marks rows that are out of scope."""
    rejected, inside = predicted == labels - 1, ~outside
    bootstrap = Bootstrap(len(targets), labels)
    truth = np.where(outside, labels - 1, targets)[:, None] == range(labels)
    is_predicted, present = predicted[:, None] == range(labels), truth.any(0)
    shares = {
        "accuracy": (inside, probabilities.argmax(-1) == targets),
        "in_scope_accuracy": (inside, predicted == targets),
        "out_of_scope_recall": (outside, rejected),
        "out_of_scope_precision": (rejected, outside),
    }
    intervals = {
        name: proportion_interval(int((correct & rows).sum()), int(rows.sum()))
        for name, (rows, correct) in shares.items()
        if rows.any() and (outside.any() or not name.startswith("out"))
    }
    if outside.any() and inside.any():
        score = 1 - probabilities.max(-1)
        intervals["out_of_scope_roc_auc"] = bootstrap.interval(bootstrap.roc_auc(score, outside.astype("float32")))
    if inside.any():
        intervals["log_loss"] = bootstrap.ratio(log_losses(probabilities, targets) * inside, inside)
    if present.any():
        f1 = bootstrap.f1(truth & is_predicted, is_predicted, truth)[:, present]
        intervals["f1_macro"] = bootstrap.interval(f1.mean(1))
    return intervals


def multilabel_intervals(
    probabilities: np.ndarray, targets: np.ndarray, thresholds: Sequence[float]
) -> dict[str, Interval]:
    """Return the intervals of the scores of `multilabel_metrics`."""
    rows, count = probabilities.shape
    bootstrap = Bootstrap(rows, count)
    truth = np.column_stack([targets[:, :count] > 0, targets[:, count:].any(-1)])
    predicted = np.pad(probabilities >= np.array(thresholds), ((0, 0), (0, 1)))
    correct = truth & predicted
    correct_count, predicted_count, true_count = (each.sum(-1) for each in (correct, predicted, truth))
    intervals = {
        "f1_micro": bootstrap.interval(bootstrap.f1(correct_count, predicted_count, true_count)),
        "f1_macro": bootstrap.interval(bootstrap.f1(correct, predicted, truth)[:, :count].mean(1)),
        "precision_micro": bootstrap.ratio(correct_count, predicted_count),
        "recall_micro": bootstrap.ratio(correct_count, true_count),
        "exact_match": proportion_interval(int((truth == predicted).all(-1).sum()), rows),
        "label_ranking_average_precision": bootstrap.mean(_ranking_precision(probabilities, truth)),
        "log_loss": bootstrap.mean(binary_log_losses(probabilities, truth[:, :count])),
    }
    if present := np.flatnonzero(truth[:, :count].any(0)).tolist():
        by_label = [
            bootstrap.average_precision(probabilities[:, label], truth[:, label].astype("float32")) for label in present
        ]
        intervals["average_precision"] = bootstrap.interval(np.nanmean(by_label, 0))
    return intervals


def _ranking_precision(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the label ranking average precision of each row; the last column of `truth` is ranked last."""
    from scipy.stats import rankdata

    scores = -np.pad(probabilities, ((0, 0), (0, 1)), constant_values=-1)
    ranks = rankdata(scores, "max", axis=1)
    true_ranks = rankdata(np.where(truth, scores, np.inf), "max", axis=1)
    count = truth.sum(-1)
    return np.where(count > 0, (truth * true_ranks / ranks).sum(-1) / np.maximum(count, 1), 1.0)


def regression_intervals(predicted: np.ndarray, truth: np.ndarray) -> dict[str, Interval]:
    """Return the intervals of the scores of `regression_metrics`."""
    from scipy.stats import rankdata

    bootstrap = Bootstrap(len(truth))
    count, errors = bootstrap.weights.sum(1), predicted - truth

    def moments(values: np.ndarray) -> np.ndarray:
        return bootstrap.sums(values) / count

    def covariance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        one, other = one - one.mean(), other - other.mean()
        return moments(one * other) - moments(one) * moments(other)

    def correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        variances = np.maximum(covariance(one, one) * covariance(other, other), 0)
        return _divide(covariance(one, other), np.sqrt(variances))

    squares = moments(errors**2)
    intervals = {
        "mean_absolute_error": bootstrap.mean(np.abs(errors)),
        "root_mean_squared_error": bootstrap.interval(np.sqrt(squares)),
    }
    if len(truth) > 1 and np.ptp(truth) > 0 and np.ptp(predicted) > 0:
        intervals |= {
            "pearson": bootstrap.interval(correlation(predicted, truth)),
            "spearman": bootstrap.interval(correlation(rankdata(predicted), rankdata(truth))),
            "r2": bootstrap.interval(1 - _divide(squares, covariance(truth, truth))),
        }
    return intervals


def mean_intervals(values: Mapping[str, np.ndarray]) -> dict[str, Interval]:
    """Return the intervals of means over rows, by name; they are exact for values of 0 and 1."""
    intervals = {}
    for name, each in values.items():
        if len(each) and np.isin(each, (0, 1)).all():
            intervals[name] = proportion_interval(int(each.sum()), len(each))
        elif len(each):
            intervals[name] = Bootstrap(len(each)).mean(np.asarray(each, "float64"))
    return intervals


def entity_intervals(
    predicted: Sequence[Sequence[str]], truth: Sequence[Sequence[str]], losses: Sequence[np.ndarray]
) -> dict[str, Interval]:
    """Return the intervals of the scores of `entity_metrics`, and of the log loss of each row's words."""
    from seqeval.metrics.sequence_labeling import get_entities

    predicted_entities, true_entities = ([set(get_entities(tags)) for tags in each] for each in (predicted, truth))
    labels = sorted({label for entities in (*predicted_entities, *true_entities) for label, _, _ in entities})

    def counts(rows: Sequence[set]) -> np.ndarray:
        return np.array([[sum(label == each for each, _, _ in row) for label in labels] for row in rows], "float32")

    correct = counts([one & other for one, other in zip(predicted_entities, true_entities, strict=True)])
    by_label = (correct, counts(predicted_entities), counts(true_entities))
    correct_count, predicted_count, true_count = (each.sum(-1) for each in by_label)
    known = by_label[2].any(0)
    bootstrap = Bootstrap(len(truth), max(len(labels), 1))
    words = np.array([len(tags) for tags in truth])
    equal = np.array([sum(one == other for one, other in zip(*rows)) for rows in zip(predicted, truth, strict=True)])
    sizes = np.array([len(each) for each in losses])
    intervals = {
        "tag_accuracy": bootstrap.ratio(equal, words),
        "log_loss": bootstrap.ratio(np.array([each.sum() for each in losses]), sizes),
        "f1": bootstrap.interval(bootstrap.f1(correct_count, predicted_count, true_count)),
        "precision": bootstrap.ratio(correct_count, predicted_count),
        "recall": bootstrap.ratio(correct_count, true_count),
    }
    if known.any():
        intervals["f1_macro"] = bootstrap.interval(bootstrap.f1(*by_label)[:, known].mean(1))
    return {name: interval for name, interval in intervals.items() if np.isfinite(interval).all()}


def guess_intervals(sums: np.ndarray, accuracy: str) -> dict[str, Interval]:
    """Return the intervals of the scores of `guess_metrics`; `accuracy` is the name of the first."""
    bootstrap = Bootstrap(len(sums))
    loss, correct, count = sums.astype("float64").T
    if not count.sum():
        return {}
    low, high = np.exp(bootstrap.ratio(loss, count))
    return {accuracy: bootstrap.ratio(correct, count), "perplexity": (float(low), float(high))}
