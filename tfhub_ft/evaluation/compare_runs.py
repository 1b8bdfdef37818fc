"""Compare two runs: settings, scores on the same rows, and changed predictions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfhub_ft.data.fingerprints import fingerprints, fold_text
from tfhub_ft.data.formats.memory import Rows
from tfhub_ft.data.labels import group_key
from tfhub_ft.data.rows import Row
from tfhub_ft.data.scored_rows import read_scored_rows
from tfhub_ft.evaluation.console_tables import headlines
from tfhub_ft.evaluation.evaluate import score_rows
from tfhub_ft.evaluation.scored import Scored, correctness
from tfhub_ft.export_folder import EXPORTS
from tfhub_ft.metrics import Scores
from tfhub_ft.run import Run
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.console import log, progress, warn
from tfhub_ft.utils.errors import InputError

DRAWS, CONFIDENCE_PERCENT, CHANGED_SHOWN = 500, 95, 20


def compare(
    one: str | Path | Run,
    other: str | Path | Run | None = None,
    *,
    data: str | Path | Rows | None = None,
    **reading: Any,
) -> dict[str, Any]:
    """Compare two runs of the same task, as `tfhub-ft compare` does.

    Args:
        one: Finished run, or its folder.
        other: The other run.
        data: Rows to score both runs on: a file, a pattern of files or rows in memory. By default these are the test
            rows of `one`, or its validation rows without a test split; if their file is not found, up to 1,000 of them
            that the run has stored.
        **reading: How `data` is read, as for `evaluate`.

    Returns:
        A dictionary with "rows", their number; "settings", {name: [value of one, value of other]} of those that
        differ; and "scores", {name: {"one", "other", "difference", "interval"}} with 95% bootstrap intervals of the
        differences. If predictions are right or wrong, it also has "mcnemar", {"only_one_right", "only_other_right",
        "p_value"}; "changed", the number of rows with another prediction; and "changed_rows", some of them,
        {"text", "one", "other", "right": which of the two is right}.

    Raises:
        InputError: If one of them is an export, a run is not finished, tasks or labels differ, predictions are neither
            right nor wrong, or the rows cannot be read.

    Example:
        compare("runs/first", "runs/second")["mcnemar"]["p_value"]

    Reference:
        - [McNemar, 1947](https://doi.org/10.1007/BF02295996), the exact test
        - Efron and Tibshirani 1993, An Introduction to the Bootstrap
    """
    runs: list[Run] = []
    for run in (one, other):
        if run is None or (not isinstance(run, Run) and (check_path("run", run) / EXPORTS).is_file()):
            raise InputError(f"{one}: compare takes two runs; to measure an export, use tfhub-ft benchmark")
        runs.append(run if isinstance(run, Run) else Run(run))
    _check_runs(*runs)
    rows = _rows(runs[0], runs[1], data, reading)
    before, after = (_score(run, rows) for run in runs)
    settings = [run.settings.as_dict() | {"recipe": run.recipe_name} for run in runs]
    return {
        "rows": len(rows),
        "settings": {
            name: [value, settings[1].get(name)]
            for name, value in settings[0].items()
            if value != settings[1].get(name)
        },
        "scores": _compare_scores(before, after),
        **_changed(before, after),
    }


def _score(run: Run, rows: Sequence[Row]) -> Scored:
    task = run.recipe.task
    _, _, logits = score_rows(run, rows)
    targets = task.targets(rows, run.labels, "the rows")
    scores = task.metrics(logits, targets, run.labels, run.thresholds)
    return Scored(task, rows, logits, targets, run.labels, run.thresholds, {}, scores)


def _changed(one: Scored, other: Scored) -> dict[str, Any]:
    """Return McNemar's test and the rows whose predictions differ, if predictions are right or wrong."""
    one_result, other_result = (
        correctness(scored.task, scored.logits, scored.targets, scored.labels, scored.thresholds)
        for scored in (one, other)
    )
    if not one_result or not other_result:
        return {}
    (one_predicted, one_right), (other_predicted, other_right) = one_result, other_result
    changed = [i for i in range(len(one.rows)) if one_predicted[i] != other_predicted[i]]
    return {
        "mcnemar": mcnemar(one_right, other_right),
        "changed": len(changed),
        "changed_rows": [
            {
                "text": " | ".join(one.task.prediction_inputs(one.rows[i])),
                "one": one_predicted[i],
                "other": other_predicted[i],
                "right": [name for name, right in (("one", one_right), ("other", other_right)) if right[i]],
            }
            for i in changed[:CHANGED_SHOWN]
        ],
    }


def mcnemar(one: np.ndarray, other: np.ndarray) -> dict[str, int | float]:
    """Return McNemar's exact two-sided test of whether two models, bool (rows,), are right equally often."""
    from scipy.stats import binomtest

    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    p_value = float(binomtest(only_one, only_one + only_other).pvalue) if only_one + only_other else 1.0
    return {"only_one_right": only_one, "only_other_right": only_other, "p_value": p_value}


def _check_runs(one: Run, other: Run) -> None:
    for run in (one, other):
        if not run.finished:
            raise InputError(f"{run.path}: its training did not finish; continue with --resume")
    task, other_task = one.recipe.task, other.recipe.task
    if task.name != other_task.name:
        raise InputError(f"{other.path}: expected the task {task.name} of {one.path}, got {other_task.name}")
    if not task.primary_metric:
        raise InputError(
            f"{one.path}: runs of {one.recipe.name} cannot be compared; predictions are not right or wrong"
        )
    if one.labels != other.labels:
        raise InputError(f"{one.path} and {other.path} have different labels; compare runs with the same labels")


def _rows(one: Run, other: Run, data: str | Path | Rows | None, reading: Mapping[str, Any]) -> Sequence[Row]:
    """Return the rows to score both runs on."""
    task = one.recipe.task
    if data is not None:
        return read_scored_rows(task, one.settings, one.labels, data, dropped=one.dropped_labels, **reading)
    if any(value not in (None, False) for value in reading.values()):
        raise InputError("--data: required by the options for reading a file")
    split = list(one.splits)[-1]
    try:
        rows = one.load_rows().splits[split].rows
        log(f"Comparing on the {len(rows):,} {split} rows of {one.path}")
    except InputError as error:
        rows = getattr(one.kept_rows, split, ())
        if not rows:
            raise InputError(f"{error}; {one.restore_advice}, or name rows with --data") from None
        total = one.splits[split]["rows"]
        log(f"{error}; comparing on {len(rows):,} of its {total:,} {split} rows, which are stored in the run")
    try:
        train_rows = other.load_rows().splits["train"].rows
    except InputError as error:
        warn(f"{error}; cannot check whether it was trained on the rows of this comparison")
        return rows
    texts, train_texts = (fingerprints(fold_text(group_key(task, row)) for row in each) for each in (rows, train_rows))
    if leaked := int(np.isin(texts, train_texts).sum()):
        warn(f"{other.path} was trained on {leaked:,} of these rows, which raises its scores; pass others with --data")
    return rows


def _compare_scores(one: Scored, other: Scored) -> dict[str, dict[str, Any]]:
    """Return both runs' scores, their differences, and the bootstrap intervals of the differences."""
    names = [name for name in headlines({"one": one.scores, "other": other.scores}) if name != "rows"]
    rng, rows = np.random.default_rng(0), len(one.rows)
    differences: list[list[float]] = []
    with progress("Drawing rows for the intervals", DRAWS, "times") as advance:
        for _ in range(DRAWS):
            indices = rng.integers(0, rows, rows)
            one_scores, other_scores = (_scores_of(scored, indices) for scored in (one, other))
            differences.append([_difference(one_scores, other_scores, name) for name in names])
            advance(1)
    tail = (100 - CONFIDENCE_PERCENT) / 2
    ends = np.nanpercentile(np.array(differences, "float64"), [tail, 100 - tail], axis=0).T.tolist() if names else []
    return {
        name: {
            "one": one.scores.get(name),
            "other": other.scores.get(name),
            "difference": _difference(one.scores, other.scores, name),
            "interval": interval,
        }
        for name, interval in zip(names, ends, strict=True)
    }


def _scores_of(scored: Scored, indices: np.ndarray) -> Scores:
    """Return the scores on some of the rows."""
    logits, targets = (
        values[indices] if isinstance(values, np.ndarray) else [values[i] for i in indices]
        for values in (scored.logits, scored.targets)
    )
    return scored.task.metrics(logits, targets, scored.labels, scored.thresholds)


def _difference(one: Scores, other: Scores, name: str) -> float:
    before, after = one.get(name), other.get(name)
    return float("nan") if before is None or after is None else after - before
