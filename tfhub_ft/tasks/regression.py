"""Regression of a number for each row, such as the stars of a review."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tfhub_ft.data.columns import Column, check_number
from tfhub_ft.data.rows import Row
from tfhub_ft.metrics import Scores
from tfhub_ft.tasks.base import Array, Arrays, Prediction, Segments, Task, Tensors, Thresholds
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

SCORE_ALIASES = ("similarity", "rating", "stars", "value", "target", "label", "y")
Values = TypeVar("Values", "np.ndarray", "tf.Tensor")


@dataclass(frozen=True)
class Regression(Task):
    """Regression of a score for each row.

    The model learns the score on a linear scale: from 0 to 1 between the lowest and the highest score of the training
    rows, or in standard deviations from their mean. The scores at 0 and 1 are the labels.

    Args:
        fields: Text segments of a row.
        monitor: Validation score that selects the best epoch.
        name: Name of the task in exports.
        standardized: Whether the scale is that of standard deviations, which suits scores without fixed ends.

    Example:
        Regression(fields=("text",), standardized=True)
    """

    fields: tuple[str, ...] = ("sentence1", "sentence2")
    monitor: str = "r2"
    name: str = "regression"
    standardized: bool = False
    epoch_scores = ("r2", "pearson", "root_mean_squared_error")
    monitors = ("pearson", "spearman", "r2", "mean_absolute_error", "root_mean_squared_error")
    primary_metric = "pearson"

    def columns(self, settings: Any = None, *, labeled: bool = True) -> list[Column]:
        if not labeled:
            return super().columns(settings)
        score = Column("score", SCORE_ALIASES, check_number, settings.score_column, "--score-column")
        return [*super().columns(settings), score]

    def labels(self, rows: Sequence[Row], source: str, settings: Any) -> list[str]:
        import numpy as np

        scores = np.fromiter((row.values["score"] for row in rows), "float64")
        low, high = scores.min(), scores.max()
        if low == high:
            raise InputError(f"{source}: every row has the score {low:g}; regression needs at least two scores")
        with np.errstate(over="ignore", invalid="ignore"):
            if self.standardized:
                low, high = scores.mean(), scores.mean() + scores.std()
            usable = low < high and np.isfinite(high - low)
        if not usable:
            raise InputError(
                f"{source}: scores from {scores.min():g} to {scores.max():g} span too wide a range; rescale them"
            )
        return [repr(float(low)), repr(float(high))]

    def continued_labels(self, earlier: Sequence[str], labels: Sequence[str], source: str, settings: Any) -> list[str]:
        """Return the earlier scale, on which the head predicts."""
        return [*earlier]

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> Array:
        """Return the scores on the scale of the model, float32 (rows, 1)."""
        import numpy as np

        low, high = map(float, labels)
        scores = np.fromiter((row.values["score"] for row in rows), "float64")
        return ((scores[:, None] - low) / (high - low)).astype("float32")

    def metrics(
        self, logits: Array, targets: Array, labels: Sequence[str], thresholds: Thresholds, *, intervals: bool = False
    ) -> Scores:
        from tfhub_ft.metrics.intervals import regression_intervals
        from tfhub_ft.metrics.scores import regression_metrics

        predicted, truth = (on_scale(values, labels)[:, 0] for values in (logits, targets))
        scores = regression_metrics(predicted, truth)
        if intervals:
            scores["intervals"] = regression_intervals(predicted, truth)
        return scores

    def decode_serving_outputs(
        self, outputs: Arrays, rows: Sequence[Segments], labels: Sequence[str], thresholds: Thresholds
    ) -> list[Prediction]:
        """Return {"score"} for each row."""
        return [{"score": float(score)} for score in on_scale(outputs["logits"], labels)[:, 0]]

    def serving_outputs(self, logits: "tf.Tensor", labels: Sequence[str], thresholds: Thresholds) -> Tensors:
        """Return `logits` and `score`."""
        return {"logits": logits, "score": on_scale(logits, labels)[:, 0]}


def on_scale(values: Values, labels: Sequence[str]) -> Values:
    """Return values on the scale of the model, 0 and 1 at the labels, on that of the scores."""
    low, high = map(float, labels)
    return values * (high - low) + low
