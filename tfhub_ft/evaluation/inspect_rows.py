"""Find the rows of a data set that deserve a look: labels that look wrong, and uncertain predictions."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np

from tfhub_ft.data.fingerprints import fold_text, number_texts
from tfhub_ft.data.formats.memory import Rows
from tfhub_ft.data.memory_rows import MemoryRows, check_rows
from tfhub_ft.data.row_writers import check_suffix, write_rows
from tfhub_ft.data.rows import Row
from tfhub_ft.data.scored_rows import has_labels, read_scored_rows
from tfhub_ft.evaluation.evaluate import score_rows
from tfhub_ft.metrics import OUT_OF_SCOPE, UNSEEN
from tfhub_ft.metrics.label_errors import LOOKS_WRONG, fit_of_other_label, normalized_margin
from tfhub_ft.run import Run, run_files
from tfhub_ft.tasks.base import Logits, Task
from tfhub_ft.tasks.classification import Classification
from tfhub_ft.tasks.intent import Intent
from tfhub_ft.tasks.multilabel import Multilabel
from tfhub_ft.tasks.prediction_columns import free_names
from tfhub_ft.tasks.regression import Regression, on_scale
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.console import log, warn
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import check_output, matching_files

WRONG, UNKNOWN, UNCERTAIN, FAR = "label looks wrong", "label unknown to the run", "uncertain", "far from the prediction"
DUPLICATE = "same text with another label in "
# Difference of the two highest probabilities, or twice the distance of a probability from its threshold, below which a
# prediction is uncertain.
UNCERTAIN_MARGIN = 0.2
# Errors above this number of standard deviations, estimated from the median, are outliers.
OUTLIER = 3.0
MEDIAN_TO_DEVIATION = 1.4826
# Share of the known training rows from which rows count as those of the training.
TRAINED_SHARE = 0.05


@dataclass
class Findings:
    """What is known of each row.

    Args:
        labels: The label as the rows have it; None without labels.
        predictions: The prediction.
        scores: How much the row deserves a look, from 0 to 1.
        reasons: Why it does.
        label_probabilities: The probability of the label; None without.
        prediction_probabilities: The probability of the prediction; None without.
    """

    labels: Sequence[Any]
    predictions: Sequence[Any]
    scores: np.ndarray
    reasons: list[list[str]]
    label_probabilities: np.ndarray | None = None
    prediction_probabilities: np.ndarray | None = None


def inspect(
    run: str | Path | Run, *, data: str | Path | Rows, output: str | Path | None = None, **reading: Any
) -> list[dict[str, Any]]:
    """Find the rows that deserve a look, as `tfhub-ft inspect` does.

    A label looks wrong if the model is as confident in another label as for half of that label's rows (confident
    learning). Rows with the same text, apart from case, have labels that differ. A prediction is uncertain if two
    labels are about as likely: such rows help most when they are labeled next. A number is far from its prediction if
    its error is above three standard deviations.

    Args:
        run: Run, or its folder. It should not be trained on these rows, because it memorizes their labels.
        data: Rows with the columns that the run was trained on, as for `evaluate`. Without the column of the labels,
            only uncertain predictions are found.
        output: File to write: csv, tsv, jsonl or parquet.
        **reading: How a file is read, as for `evaluate`.

    Returns:
        All rows, the most important first: {"line", the texts, "label", "prediction", "label_probability",
        "prediction_probability", "reasons", "score"} and the other columns of the input, such as an id, as input_NAME
        if NAME is taken; "file" precedes "line" if there are several files. The score is
        one half minus half of the margin, the probability of the label minus the highest one of the others: 1 if the
        model is certain of another label, 0 if it is certain of this one. For numbers, it is the error as a share of
        the range of the rows' numbers.

    Raises:
        InputError: If the run is not finished or predicts neither labels nor a number of a row, the file cannot be
            read, or `output` has another ending.

    Example:
        rows = tfhub_ft.inspect("runs/reviews", data="more_reviews.csv", output="rows.csv")
        [row for row in rows if "label looks wrong" in row["reasons"]]

    Reference:
        Northcutt et al. 2021, https://jair.org/index.php/jair/article/view/12125; margin sampling: Settles 2009,
        https://burrsettles.com/pub/settles.activelearning.pdf
    """
    run = run if isinstance(run, Run) else Run(run)
    source = check_rows("data", data)
    files: list[Path | MemoryRows] = [source] if isinstance(source, MemoryRows) else [*matching_files(source)]
    task = run.recipe.task
    _check_task(task, run)
    if output is not None:
        output = check_path("output", output)
        check_suffix(output)
        inputs = [file for file in files if isinstance(file, Path)]
        check_output(output, "--output", inputs=[*inputs, *run_files(run.path)])
    labeled = has_labels(task, run.settings, files[0], **reading)
    if not labeled:
        if isinstance(task, Regression):
            raise InputError(f"{source}: column of the numbers not found; rows without numbers cannot be inspected")
        log(f"{source}: without labels; only uncertain predictions are found")
    rows_of_file = [
        read_scored_rows(
            *(task, run.settings, run.labels, file),
            dropped=run.dropped_labels,
            labeled=labeled,
            with_others=True,
            **reading,
        )
        for file in files
    ]
    rows = [row for file_rows in rows_of_file for row in file_rows]
    unit = "row" if isinstance(source, MemoryRows) else "line"
    places = [
        f"{file}, line {row.line}" if len(files) > 1 else f"{unit} {row.line}"
        for file, some in zip(files, rows_of_file, strict=True)
        for row in some
    ]
    _warn_of_training_rows(run, rows, str(source))
    _, _, logits = score_rows(run, rows)
    found = findings(task, logits, rows if labeled else None, run)
    if labeled:
        _mark_duplicates(found, [_text_key(task, row) for row in rows], places)
    names = [str(file) for file, some in zip(files, rows_of_file, strict=True) for _ in some]
    inspected = list(_inspected(task, rows, found, names if len(files) > 1 else None))
    if output:
        write_rows(inspected, output)
    return inspected


def _check_task(task: Task, run: Run) -> None:
    if not isinstance(task, Classification | Multilabel | Regression):
        raise InputError(
            f"{run.path}: predicts neither labels nor a number of a row, which inspect needs; evaluate --report lists"
            " its rows with most mistakes"
        )


@singledispatch
def findings(task: Task, logits: Logits, rows: Sequence[Row] | None, run: Run) -> Findings:
    """Return what is known of rows from their logits; `rows` is None if they lack labels."""
    raise NotImplementedError


@findings.register
def _(task: Classification, logits: np.ndarray, rows: Sequence[Row] | None, run: Run) -> Findings:
    labels, thresholds = run.labels, run.thresholds
    probabilities = task.probabilities(logits)
    predicted = task.predicted(probabilities, labels, thresholds)
    if "threshold" in thresholds and not isinstance(task, Intent):
        margin = 2 * np.abs(probabilities[:, 1] - thresholds["threshold"])
    else:
        margin = normalized_margin(probabilities, probabilities.argmax(-1))
    if isinstance(task, Intent):
        outside = 1 - probabilities.max(-1)
        margin = np.minimum(margin, 2 * np.abs(outside - thresholds["threshold"]))
        probabilities = np.column_stack([probabilities, outside])
    of_prediction = probabilities[np.arange(len(predicted)), predicted]
    names = [labels[int(index)] for index in predicted]
    found = Findings([None] * len(names), names, (1 - np.minimum(margin, 1)) / 2, [[] for _ in names])
    found.prediction_probabilities = of_prediction
    if rows is not None:
        targets = task.targets(rows, labels, str(run.path))
        known = targets != UNSEEN
        index = np.where(targets == OUT_OF_SCOPE, len(labels) - 1, np.maximum(targets, 0))
        found.labels = [row.values["label"] for row in rows]
        found.scores = np.where(known, (1 - normalized_margin(probabilities, index)) / 2, 1.0)
        found.label_probabilities = np.where(known, probabilities[np.arange(len(rows)), index], np.nan)
        looks_wrong = np.asarray(fit_of_other_label(probabilities, np.where(known, index, -1)) > LOOKS_WRONG)
        _add_reason(found, looks_wrong, WRONG)
        _add_reason(found, ~known, UNKNOWN)
    _add_reason(found, margin < UNCERTAIN_MARGIN, UNCERTAIN)
    return found


@findings.register
def _(task: Multilabel, logits: np.ndarray, rows: Sequence[Row] | None, run: Run) -> Findings:
    labels, thresholds = run.labels, np.array(run.thresholds["thresholds"])
    probabilities = task.probabilities(logits)
    margin = 2 * np.abs(probabilities - thresholds).min(-1)
    predicted = probabilities >= thresholds
    names = [[label for label, is_predicted in zip(labels, row, strict=True) if is_predicted] for row in predicted]
    found = Findings([None] * len(names), names, (1 - np.minimum(margin, 1)) / 2, [[] for _ in names])
    if rows is not None:
        targets = task.targets(rows, labels, str(run.path))
        has_label, unknown = targets[:, : len(labels)] > 0, targets[:, len(labels) :].any(-1)
        found.labels = [[*row.values["labels"]] for row in rows]
        of_given = np.where(has_label, probabilities, 1 - probabilities)
        found.scores = np.where(unknown, 1.0, 1 - of_given.min(-1))
        found.label_probabilities = of_given.min(-1)
        for number, label in enumerate(labels):
            of_states = np.column_stack([1 - probabilities[:, number], probabilities[:, number]])
            looks_wrong = np.asarray(fit_of_other_label(of_states, has_label[:, number].astype(int)) > LOOKS_WRONG)
            _add_reason(found, looks_wrong & has_label[:, number], f"label {label!r} looks wrong")
            _add_reason(found, looks_wrong & ~has_label[:, number], f"label {label!r} looks missing")
        _add_reason(found, unknown, UNKNOWN)
    _add_reason(found, margin < UNCERTAIN_MARGIN, UNCERTAIN)
    return found


@findings.register
def _(task: Regression, logits: np.ndarray, rows: Sequence[Row] | None, run: Run) -> Findings:
    assert rows is not None
    predicted, truth = on_scale(logits, run.labels)[:, 0], np.array([row.values["score"] for row in rows])
    errors = np.abs(predicted - truth)
    scores = np.minimum(errors / (np.ptp(truth) or errors.max() or 1.0), 1)
    numbers = truth.tolist()
    found = Findings(numbers, predicted.round(6).tolist(), scores, [[] for _ in numbers])
    _add_reason(found, errors > OUTLIER * MEDIAN_TO_DEVIATION * np.median(errors), FAR)
    return found


def _add_reason(found: Findings, where: Any, reason: str) -> None:
    """Add a reason to some rows, bool (rows,)."""
    for row in np.flatnonzero(where):
        found.reasons[row].append(reason)


def _text_key(task: Task, row: Row) -> str:
    return "\n".join(map(fold_text, task.prediction_inputs(row)))


def _mark_duplicates(found: Findings, keys: Sequence[str], places: Sequence[str]) -> None:
    """Add the reason and the highest score of their group to rows with the same text and different labels."""
    groups: dict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(number_texts(keys).tolist()):
        groups[number].append(row)

    def label(row: int) -> Any:
        value = found.labels[row]
        return tuple(sorted(value)) if isinstance(value, list) else value

    for group in groups.values():
        if len({label(row) for row in group}) > 1:
            score = max(0.5, *(found.scores[row] for row in group))
            for row in group:
                other = next(each for each in group if label(each) != label(row))
                found.reasons[row].append(f"{DUPLICATE}{places[other]}")
                found.scores[row] = score


def _inspected(
    task: Task, rows: Sequence[Row], found: Findings, files: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    """Yield the rows of the result, the highest score first."""
    for number in np.argsort(-found.scores, kind="stable").tolist():
        row = rows[number]
        values: dict[str, Any] = {"file": files[number]} if files else {}
        values["line"] = row.line
        values |= dict(zip(task.fields, task.prediction_inputs(row), strict=True))
        values |= {"label": found.labels[number], "prediction": found.predictions[number]}
        for name, column in (
            ("label_probability", found.label_probabilities),
            ("prediction_probability", found.prediction_probabilities),
        ):
            if column is not None:
                values[name] = None if np.isnan(column[number]) else round(float(column[number]), 6)
        values |= {"reasons": found.reasons[number], "score": round(float(found.scores[number]), 6)}
        names = free_names(row.values[""], values)
        yield values | {names[name]: value for name, value in row.values[""].items()}


def _warn_of_training_rows(run: Run, rows: Sequence[Row], source: str) -> None:
    """Warn if rows that the run was trained on, of which it kept some, are among others."""
    kept, task = run.kept_rows, run.recipe.task
    trained = {_text_key(task, row) for row in (*kept.train, *kept.calibration)} if kept else set()
    if not trained:
        return
    share = len(trained & {_text_key(task, row) for row in rows}) / len(trained)
    if share >= TRAINED_SHARE:
        warn(
            f"{source}: contains about {share:.0%} of the rows that {run.path} was trained on; it has memorized their"
            " labels, so that wrong ones look right; inspect rows that it was not trained on"
        )
