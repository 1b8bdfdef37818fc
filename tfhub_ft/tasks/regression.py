"""A number for each row, such as how similar two sentences are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column, check_number
from tfhub_ft.data.rows import Row
from tfhub_ft.tasks.base import Task
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from tfhub_ft.settings import Settings

SCORE_ALIASES = ("similarity", "rating", "value", "target", "label", "y")


@dataclass(frozen=True)
class Regression(Task):
    """Each row has a score. The model learns it on a scale from 0 to 1, between the training rows' least and greatest.

    Its "labels" are these two ends of the scale.

    Args:
        fields: the segments of a row.
    """

    fields: tuple[str, ...] = ("sentence1", "sentence2")
    monitor: str = "r2"
    name: str = "regression"
    epoch_scores = ("r2", "pearson", "root_mean_squared_error")
    primary_metric = "pearson"

    def columns(self, settings: Any = None, *, labeled: bool = True) -> list[Column]:
        if not labeled:
            return super().columns(settings)
        score = Column("score", SCORE_ALIASES, check_number, settings.score_column, "--score-column")
        return [*super().columns(settings), score]

    def labels(self, rows: Sequence[Row], source: str, settings: "Settings") -> list[str]:
        """The least and the greatest score, as texts."""
        least, greatest = (end(row.values["score"] for row in rows) for end in (min, max))
        if least == greatest:
            raise InputError(f"{source}: every row has the score {least:g}; there is nothing to learn")
        return [repr(least), repr(greatest)]

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> "np.ndarray":
        """The scores on the scale from 0 to 1, float32 (rows, 1)."""
        import numpy as np

        low, high = map(float, labels)
        scores = np.fromiter((row.values["score"] for row in rows), "float64")
        return ((scores[:, None] - low) / (high - low)).astype("float32")

    def metrics(
        self,
        logits: "np.ndarray",
        targets: "np.ndarray",
        labels: Sequence[str],
        thresholds: dict[str, Any],
        *,
        intervals: bool = False,
    ) -> dict[str, Any]:
        from tfhub_ft.metrics.intervals import regression_intervals
        from tfhub_ft.metrics.scores import regression_metrics

        predicted, true = (on_scale(each, labels)[:, 0] for each in (logits, targets))
        scores = regression_metrics(predicted, true)
        if intervals:
            scores["intervals"] = regression_intervals(predicted, true)
        return scores

    def decode_serving_outputs(
        self,
        outputs: dict[str, "np.ndarray"],
        rows: Sequence[tuple[str, ...]],
        labels: Sequence[str],
        thresholds: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """{"score"} for each row."""
        return [{"score": float(score)} for score in on_scale(outputs["logits"], labels)[:, 0]]

    def serving_outputs(self, logits: Any, labels: Sequence[str], thresholds: dict[str, Any]) -> dict[str, Any]:
        """`logits` and `score`."""
        return {"logits": logits, "score": on_scale(logits, labels)[:, 0]}


def on_scale(values: Any, labels: Sequence[str]) -> Any:
    """Return values between 0 and 1 on the scale of the scores, whose ends are the labels."""
    low, high = map(float, labels)
    return values * (high - low) + low
