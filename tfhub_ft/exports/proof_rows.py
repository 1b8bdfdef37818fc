"""The rows that an export is proven on and calibrated with: of the run's own splits."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfhub_ft.data.datasets import load_dataset
from tfhub_ft.data.sequences import Mapped
from tfhub_ft.errors import InputError
from tfhub_ft.run import Run

LEAST_ROWS, MOST_ROWS, CALIBRATION_ROWS = 200, 1000, 100


@dataclass(frozen=True)
class ProofRows:
    """Rows whose answers are compared, and some that calibrate.

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
    """Up to 1,000 validation rows of a run with what is right, and 100 training rows to calibrate with.

    Of fewer than 200 validation rows a single answer would weigh too much: training rows are put behind them. Where the
    files of the run have gone or changed, the rows that the run has kept, without what is right.
    """
    task = run.recipe.task
    try:
        data = load_dataset(task, run.settings, run.recipe.demo, labels=run.labels, splits=run.splits)
    except InputError:
        data = None
    if data is None or not data.is_of(run.splits):
        return ProofRows([tuple(row) for row in run.sample], [], [], [], [])
    chance = random.Random(run.settings.seed)
    validation, training = data.splits["validation"].rows, data.splits["train"].rows
    chosen = {"validation": sorted(chance.sample(range(len(validation)), min(MOST_ROWS, len(validation))))}
    calibration = [task.asked(row) for row in chance.sample(training, min(CALIBRATION_ROWS, len(training)))]
    more = min(LEAST_ROWS - len(validation), len(training))
    if more > 0:
        chosen["train"] = sorted(chance.sample(range(len(training)), more))
    rows = [data.splits[split].rows[i] for split, numbers in chosen.items() for i in numbers]
    return ProofRows(
        asked=[task.asked(row) for row in rows],
        inputs=[task.inputs(row) for row in rows],
        targets=_joined([_picked(data.targets[split], numbers) for split, numbers in chosen.items()]),
        calibration=calibration,
        learnt=Mapped(task.inputs, training),
    )


def _picked(targets: Any, numbers: list[int]) -> Any:
    return [targets[i] for i in numbers] if isinstance(targets, list) else targets[numbers]


def _joined(parts: list[Any]) -> Any:
    return list(itertools.chain(*parts)) if isinstance(parts[0], list) else np.concatenate(parts)
