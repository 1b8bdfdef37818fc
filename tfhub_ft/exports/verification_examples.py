"""The rows that verify and calibrate exports, from the run's own splits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfhub_ft.data.kept_rows import LEAST_ROWS, KeptRows
from tfhub_ft.data.rows import Row
from tfhub_ft.data.sequences import Mapped
from tfhub_ft.run import KEPT_ROWS, SAMPLE, Run
from tfhub_ft.utils.console import log, warn
from tfhub_ft.utils.errors import InputError


@dataclass(frozen=True)
class VerificationExamples:
    """Rows whose predictions are compared, and some that calibrate.

    Args:
        segments: the segments that a prediction reads.
        inputs: what training reads of the same rows; empty where no labels are known.
        targets: what is right; empty likewise.
        calibration: segments of some training rows; empty likewise.
        learned: what training read of all its rows; empty where their file is not found.
        sources: the files that the rows come from.
        fault: why these are not the files that the run was trained on; empty where they are.
    """

    segments: Sequence[tuple[str, ...]]
    inputs: Sequence[tuple[str, ...]]
    targets: Any
    calibration: Sequence[tuple[str, ...]]
    learned: Sequence[tuple[str, ...]]
    sources: Sequence[str]
    fault: str = ""

    def described(self, rows: int, *, labels: bool) -> dict[str, Any]:
        """Return what export.json keeps as `verified_on`.

        Args:
            rows: how many were compared.
            labels: whether they were compared with what is right, too.
        """
        return {"files": [*self.sources], "kept_by_run": bool(self.fault), "rows": rows, "labels": labels}


def verification_examples(run: Run) -> VerificationExamples:
    """Return up to 1,000 validation rows of a run with their targets, and 100 training rows to calibrate with.

    Of fewer than 200 validation rows a single prediction would weigh too much: training rows follow them. Where the
    files of the run are not found, these are the rows that the run has kept; runs that kept none lack labels.
    """
    task, fault, learned = run.recipe.task, "", ()
    try:
        data = run.load_rows()
        rows, learned = KeptRows.drawn_from(data.splits, run.settings.seed), data.splits["train"].rows
        used = ["validation", "train"][: 1 + (len(data.splits["validation"].rows) < LEAST_ROWS)]
        sources = [*dict.fromkeys(str(data.splits[name].file) for name in used)]
    except InputError as error:
        rows, sources, fault = run.kept_rows, [str(run.path / KEPT_ROWS)], str(error)
    if rows is None:
        sample = [tuple(row) for row in run.sample]
        warn(f"{fault}; verifying on {len(sample):,} rows of {run.path / SAMPLE}, without labels")
        return VerificationExamples(sample, [], [], [], [], [str(run.path / SAMPLE)], fault)
    if fault:
        log(f"{fault}; verifying on rows that the run has kept")

    def segments(rows: Sequence[Row]) -> list[tuple[str, ...]]:
        return [task.prediction_inputs(row) for row in rows]

    return VerificationExamples(
        segments=segments(rows.verification),
        inputs=[task.training_inputs(row) for row in rows.verification],
        targets=task.targets(rows.verification, run.labels, sources[0]),
        calibration=segments(rows.calibration),
        learned=Mapped(task.training_inputs, learned),
        sources=sources,
        fault=fault,
    )
