"""Calibrate, threshold and score validation rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.metrics import Scores
from tfhub_ft.metrics.calibration import fit_calibration
from tfhub_ft.tasks.base import Logits, Targets, Thresholds

if TYPE_CHECKING:
    from tfhub_ft.settings import TrainingSettings
    from tfhub_ft.tasks.base import Task


@dataclass(frozen=True)
class Validated:
    """Calibrated logits of validation rows, and the calibration, thresholds and scores chosen on them."""

    logits: Logits
    calibration: dict[str, Any]
    thresholds: Thresholds
    scores: Scores


def validate(
    task: "Task",
    logits: Logits,
    targets: Targets,
    labels: Sequence[str],
    settings: "TrainingSettings",
    *,
    calibrated: bool,
) -> Validated:
    """Calibrate the logits of validation rows if the head takes a temperature, choose thresholds, and score the rows.

    Each epoch of a training run and its end use this function, so that a score has the same value in both.
    """
    calibration = {}
    if calibrated and task.output_activation:
        calibration = fit_calibration(logits, targets, link=task.output_activation) or {}
    if calibration:
        logits = logits / calibration["temperature"]
    thresholds = task.fit_thresholds(logits, targets, labels, settings)
    return Validated(logits, calibration, thresholds, task.metrics(logits, targets, labels, thresholds))
