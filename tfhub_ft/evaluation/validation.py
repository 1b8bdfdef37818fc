"""Score validation rows, and choose the temperature and the thresholds on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.metrics.calibration import fit_calibration

if TYPE_CHECKING:
    from tfhub_ft.settings import TrainingSettings
    from tfhub_ft.tasks.base import Task


@dataclass(frozen=True)
class Validated:
    """Validation rows as the finished model scores them.

    Args:
        logits: the calibrated logits, as the task's `metrics` takes them.
        calibration: what `fit_calibration` returns; empty where nothing is calibrated.
        decision: the thresholds that turn logits into predictions.
        scores: what the task's `metrics` returns.
    """

    logits: Any
    calibration: dict[str, Any]
    decision: dict[str, Any]
    scores: dict[str, Any]


def validate(
    task: "Task",
    logits: Any,
    targets: Any,
    labels: Sequence[str],
    settings: "TrainingSettings",
    *,
    calibrated: bool,
) -> Validated:
    """Calibrate the logits of validation rows, choose the thresholds on them, and score them.

    Each epoch of a training run and its end use this function, so that a score has the same value in both.

    Args:
        task: what the rows mean.
        logits: what the task's scorer returned for the rows.
        targets: the rows' targets.
        labels: the labels, in the order of the logits.
        settings: the settings of the training run.
        calibrated: whether the model's head takes a temperature.

    Returns:
        The calibrated logits, and what was chosen and scored on them.
    """
    calibration = (
        calibrated and task.output_activation and fit_calibration(logits, targets, link=task.output_activation)
    ) or {}
    if calibration:
        logits = logits / calibration["temperature"]
    decision = task.fit_thresholds(logits, targets, labels, settings)
    return Validated(logits, calibration, decision, task.metrics(logits, targets, labels, decision))
