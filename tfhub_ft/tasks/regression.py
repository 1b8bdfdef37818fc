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

    from tfhub_ft.evaluation.report.html_report import Scored
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

    def columns(self, settings: "Settings") -> list[Column]:
        score = Column("score", SCORE_ALIASES, check_number, settings.score_column, "--score-column")
        return [*self.text_columns(settings), score]

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

    def model_arguments(self, labels: Sequence[str]) -> dict[str, Any]:
        return {}

    def compile_arguments(self, settings: "Settings", targets: "np.ndarray") -> dict[str, Any]:
        import keras

        return {"loss": keras.losses.MeanSquaredError(), "metrics": []}

    def metrics(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]
    ) -> dict[str, Any]:
        from tfhub_ft.metrics.scores import regression_metrics

        return regression_metrics(_scaled(logits, labels)[:, 0], _scaled(targets, labels)[:, 0])

    def intervals(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]
    ) -> dict[str, tuple[float, float]]:
        from tfhub_ft.metrics.intervals import regression_intervals

        return regression_intervals(_scaled(logits, labels)[:, 0], _scaled(targets, labels)[:, 0])

    def report(self, scored: "Scored") -> list[Any]:
        from tfhub_ft.evaluation.report.span_report import of_numbers

        answered, truth = (_scaled(each, scored.labels)[:, 0] for each in (scored.logits, scored.targets))
        return of_numbers(scored, answered, truth)

    def answers(self, logits: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]) -> list[dict[str, Any]]:
        """{"score"} for each row."""
        return [{"score": float(score)} for score in _scaled(logits, labels)[:, 0]]

    def serving_outputs(self, logits: Any, labels: Sequence[str], decision: dict[str, Any]) -> dict[str, Any]:
        """`logits` and `score`."""
        return {"logits": logits, "score": _scaled(logits, labels)[:, 0]}


def _scaled(values: Any, labels: Sequence[str]) -> Any:
    low, high = map(float, labels)
    return values * (high - low) + low
