"""Two runs side by side: what was set otherwise, what they score on the same rows, and where their answers differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.data.fingerprints import fingerprints, fold_text
from tfhub_ft.data.labels import group_key
from tfhub_ft.data.scored_rows import read_scored_rows
from tfhub_ft.data.sequences import Mapped
from tfhub_ft.evaluation.console_tables import headlines
from tfhub_ft.evaluation.scored import correctness, scoring_precision
from tfhub_ft.export_folder import EXPORTS
from tfhub_ft.run import Run
from tfhub_ft.tasks.base import Task
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.console import log, progress, warn
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    from tfhub_ft.data.rows import Row

RESAMPLED, INTERVAL, CHANGED_SHOWN = 500, 95, 20


def compare(
    one: str | Path | Run, other: str | Path | Run | None = None, *, data: str | Path | None = None, **reading: Any
) -> dict[str, Any]:
    """Compare two runs of the same task. What `tfhub-ft compare` does.

    Args:
        one: a finished run, or its folder.
        other: another one.
        data: a file of rows that both are scored on; by default the test rows of `one`, or its validation rows where it
            has no test rows. Where their file is not found, those that the run has kept, up to 1,000.
        reading: how `data` is read, as for `evaluate`.

    Returns:
        {"rows", "settings": {name: [one's, other's]} where they differ, "scores": {name: {"one", "other", "difference",
        "interval": of the difference, 95%, by resampling rows}}, "mcnemar": {"only_one_right", "only_other_right",
        "p_value"}, "changed": how many rows have another answer, "changed_rows": some of them, {"text", "one", "other":
        their answers, "right": which of them is}}. Of answers that are numbers the last three are left out.

    Raises:
        InputError: one of them is an export, a run is not finished, they answer by different tasks or labels, their
            answers have no truth, or the rows cannot be read.

    Example:
        compare("runs/first", "runs/second")["mcnemar"]["p_value"]

    Reference:
        McNemar 1947, https://doi.org/10.1007/BF02295996 (the exact test); Efron and Tibshirani 1993 (the bootstrap)
    """
    for each in (one, other):
        if each is None or (not isinstance(each, Run) and (check_path("run", each) / EXPORTS).is_file()):
            raise InputError(f"{one}: compare takes two runs; to measure an export, use tfhub-ft benchmark")
    runs = [each if isinstance(each, Run) else Run(each) for each in (one, other)]
    _check(*runs)
    rows = _rows(runs, data, reading)
    sides = [_Side(run, rows) for run in runs]
    names = headlines({str(i): side.scores for i, side in enumerate(sides)})
    settings = [run.settings.as_dict() | {"recipe": run.recipe_name} for run in runs]
    return {
        "rows": len(rows),
        "settings": {
            name: [each.get(name) for each in settings]
            for name in settings[0]
            if settings[0][name] != settings[1].get(name)
        },
        "scores": _compared(sides, [name for name in names if name != "rows"]),
        **(_changed(sides) if sides[0].correctness else {}),
    }


def _changed(sides: "Sequence[_Side]") -> dict[str, Any]:
    """Which of two runs is right where they differ, and the rows."""
    (one_said, one_right), (other_said, other_right) = (side.correctness for side in sides)
    changed = [i for i in range(len(one_said)) if one_said[i] != other_said[i]]
    return {
        "mcnemar": mcnemar(one_right, other_right),
        "changed": len(changed),
        "changed_rows": [
            {
                "text": " | ".join(sides[0].task.prediction_inputs(sides[0].rows[i])),
                "one": one_said[i],
                "other": other_said[i],
                "right": [name for name, right in (("one", one_right), ("other", other_right)) if right[i]],
            }
            for i in changed[:CHANGED_SHOWN]
        ],
    }


def mcnemar(one: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """Whether two models are right equally often, by the rows that only one of them is right about.

    Args:
        one: bool (rows,), whether the first model is right.
        other: the same of the second.

    Returns:
        {"only_one_right", "only_other_right", "p_value": of the exact test, two-sided}.
    """
    from scipy.stats import binomtest

    first, second = int((one & ~other).sum()), int((other & ~one).sum())
    p_value = float(binomtest(first, first + second).pvalue) if first + second else 1.0
    return {"only_one_right": first, "only_other_right": second, "p_value": p_value}


def _check(one: Run, other: Run) -> None:
    for run in (one, other):
        if not run.finished:
            raise InputError(f"{run.path}: its training did not finish; continue with --resume")
    if one.recipe.task.name != other.recipe.task.name:
        names = f"{one.recipe.task.name} and {other.recipe.task.name}"
        raise InputError(f"{one.path} and {other.path} answer by different tasks, {names}: they cannot be compared")
    if not one.recipe.task.primary_metric:
        raise InputError(f"{one.path}: answers of the recipe {one.recipe.name} are neither right nor wrong")
    if one.labels != other.labels:
        raise InputError(f"{one.path} and {other.path} have different labels: they cannot be compared")


def _rows(runs: Sequence[Run], data: Any, reading: dict[str, Any]) -> "Sequence[Row]":
    """The rows that both runs are scored on."""
    one, other = runs
    task = one.recipe.task
    if data is None and any(value not in (None, False) for value in reading.values()):
        raise InputError("options that say how a file is read need --data")
    if data is not None:
        return read_scored_rows(task, one.settings, one.labels, data, dropped=one.dropped_labels, **reading)
    split = list(one.splits)[-1]
    try:
        rows = one.load_rows().splits[split].rows
        log(f"Comparing on the {len(rows):,} {split} rows of {one.path}")
    except InputError as error:
        kept = one.kept_rows
        if not (rows := getattr(kept, split, ())):
            raise InputError(f"{error}; restore them, or name rows with --data") from None
        log(f"{error}; comparing on {len(rows):,} of its {one.splits[split]['rows']:,} {split} rows, which it has kept")
    try:
        seen = other.load_rows().splits["train"].rows
    except InputError as error:
        warn(f"{error}; whether it was trained on rows that are compared on is not known")
        return rows
    texts = [fingerprints(fold_text(group_key(task, row)) for row in each) for each in (rows, seen)]
    if leaked := int(np.isin(*texts).sum()):
        warn(f"{other.path} was trained on {leaked:,} of these rows, which raises its scores; pass others with --data")
    return rows


@dataclass(frozen=True)
class _Side:
    """A run, and the rows that it answers."""

    run: Run
    rows: "Sequence[Row]"

    @property
    def task(self) -> Task:
        return self.run.recipe.task

    @cached_property
    def targets(self) -> Any:
        return self.task.targets(self.rows, self.run.labels, "the rows")

    @cached_property
    def logits(self) -> Any:
        log(f"Scoring {len(self.rows):,} rows by {self.run.path}")
        model = self.run.load_model()
        tokens = self.task.encode(model.get_layer("preprocessor"), Mapped(self.task.training_inputs, self.rows))
        return self.task.make_score_fn(model, scoring_precision(self.task, self.run.settings.precision))(tokens)

    @cached_property
    def scores(self) -> dict[str, Any]:
        return self.scores_of(np.arange(len(self.rows)))

    def scores_of(self, chosen: np.ndarray) -> dict[str, Any]:
        """The scores on some of the rows."""
        logits, targets = (_picked(each, chosen) for each in (self.logits, self.targets))
        return self.task.metrics(logits, targets, self.run.labels, self.run.thresholds)

    @cached_property
    def correctness(self) -> tuple[list[str], np.ndarray] | None:
        """The predictions and whether they are correct; None where they are numbers."""
        return correctness(self.task, self.logits, self.targets, self.run.labels, self.run.thresholds)


def _picked(values: Any, chosen: np.ndarray) -> Any:
    return values[chosen] if isinstance(values, np.ndarray) else [values[i] for i in chosen]


def _compared(sides: Sequence[_Side], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Each score of both, its difference, and the interval of that over rows drawn with replacement."""
    random, rows = np.random.default_rng(0), len(sides[0].rows)
    drawn: list[list[float]] = []
    with progress("Drawing rows for the intervals", RESAMPLED, "times") as advance:
        for _ in range(RESAMPLED):
            chosen = random.integers(0, rows, rows)
            one, other = (side.scores_of(chosen) for side in sides)
            drawn.append([_minus(other.get(name), one.get(name)) for name in names])
            advance(1)
    tail = (100 - INTERVAL) / 2
    ends = np.nanpercentile(np.array(drawn, "float64"), [tail, 100 - tail], axis=0).T.tolist() if names else []
    compared = {}
    for name, interval in zip(names, ends, strict=True):
        one, other = (side.scores.get(name) for side in sides)
        difference = _minus(other, one)
        compared[name] = {"one": one, "other": other, "difference": difference, "interval": interval}
    return compared


def _minus(one: float | None, other: float | None) -> float:
    return float("nan") if one is None or other is None else one - other
