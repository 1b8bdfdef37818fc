"""Choose the rows that verify and calibrate exports from the splits of the run."""

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
    """Rows that verify and calibrate an export.

    Attributes:
        segments: The segments that predictions read.
        inputs: The training inputs of the same rows; empty without labels.
        targets: The targets of the same rows; empty without labels.
        calibration: The segments of some training rows; empty without labels.
        train_inputs: The inputs of all training rows; empty if their file is not found.
        sources: The files that the rows are from.
        fault: Why the rows are not from the run's own files; "" if they are.
    """

    segments: Sequence[tuple[str, ...]]
    inputs: Sequence[tuple[str, ...]]
    targets: Any
    calibration: Sequence[tuple[str, ...]]
    train_inputs: Sequence[tuple[str, ...]]
    sources: Sequence[str]
    fault: str = ""

    def verified_on(self, rows: int, *, labels: bool) -> dict[str, object]:
        """Return the field `verified_on` of export.json, given how many rows, with or without labels, were compared."""
        return {"files": [*self.sources], "kept_by_run": bool(self.fault), "rows": rows, "labels": labels}


def verification_examples(run: Run) -> VerificationExamples:
    """Return up to 1,000 validation rows with targets, and 100 training rows for calibration.

    With fewer than 200 validation rows a single prediction would count too much, so training rows are added. If the
    run's files are not found, the rows come from its kept_rows.jsonl, or without labels from its sample.
    """
    task, fault, train_rows = run.recipe.task, "", ()
    try:
        data = run.load_rows()
        rows, train_rows = KeptRows.drawn_from(data.splits, run.settings.seed), data.splits["train"].rows
        names = ["validation", "train"][: 1 + (len(data.splits["validation"].rows) < LEAST_ROWS)]
        sources = [*dict.fromkeys(str(data.splits[name].file) for name in names)]
    except InputError as error:
        rows, sources, fault = run.kept_rows, [str(run.path / KEPT_ROWS)], str(error)
    if rows is None:
        sample = [tuple(row) for row in run.sample]
        warn(f"{fault}; verifying on {len(sample):,} rows of {run.path / SAMPLE}, without labels")
        return VerificationExamples(sample, [], [], [], [], [str(run.path / SAMPLE)], fault)
    if fault:
        log(f"{fault}; verifying on the rows in {run.path / KEPT_ROWS}")

    def segments(rows: Sequence[Row]) -> list[tuple[str, ...]]:
        return [task.prediction_inputs(row) for row in rows]

    return VerificationExamples(
        segments=segments(rows.verification),
        inputs=[task.training_inputs(row) for row in rows.verification],
        targets=task.targets(rows.verification, run.labels, sources[0]),
        calibration=segments(rows.calibration),
        train_inputs=Mapped(task.training_inputs, train_rows),
        sources=sources,
        fault=fault,
    )
