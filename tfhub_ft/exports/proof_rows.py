"""The rows that an export is proven on and calibrated with: of the run's own splits."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfhub_ft.data.datasets import load_dataset
from tfhub_ft.data.sequences import Mapped
from tfhub_ft.errors import InputError
from tfhub_ft.run import Run

MOST_ROWS, CALIBRATION_ROWS = 1000, 100


@dataclass(frozen=True)
class ProofRows:
    """Validation rows, and some of the training rows.

    Args:
        asked: the segments that a prediction reads.
        inputs: what training reads of the same rows; empty where their file has gone.
        targets: what is right; empty likewise.
        calibration: segments of some training rows; empty likewise.
        learnt: what training read of all its rows; empty likewise.
    """

    asked: Sequence[tuple[str, ...]]
    inputs: Sequence[tuple[str, ...]]
    targets: Any
    calibration: Sequence[tuple[str, ...]]
    learnt: Sequence[tuple[str, ...]]


def proof_rows(run: Run) -> ProofRows:
    """Up to 1,000 validation rows of a run with what is right, and 100 training rows.

    Where the files of the run have gone or changed, the rows that the run has kept, without what is right.
    """
    task = run.recipe.task
    try:
        data = load_dataset(task, run.settings, run.recipe.demo, labels=run.labels)
    except InputError:
        data = None
    if data is None or not data.is_of(run.splits):
        return ProofRows([tuple(row) for row in run.sample], [], [], [], [])
    chance = random.Random(run.settings.seed)
    validation, training = data.splits["validation"].rows, data.splits["train"].rows
    chosen = sorted(chance.sample(range(len(validation)), min(MOST_ROWS, len(validation))))
    targets = data.targets["validation"]
    return ProofRows(
        asked=[task.asked(validation[i]) for i in chosen],
        inputs=[task.inputs(validation[i]) for i in chosen],
        targets=[targets[i] for i in chosen] if isinstance(targets, list) else targets[chosen],
        calibration=[task.asked(row) for row in chance.sample(training, min(CALIBRATION_ROWS, len(training)))],
        learnt=Mapped(task.inputs, training),
    )
