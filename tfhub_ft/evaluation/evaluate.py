"""Scoring a finished run on other rows."""

from pathlib import Path
from typing import Any

from tfhub_ft.data.batches import truncation_warning
from tfhub_ft.data.scored_rows import read_scored_rows
from tfhub_ft.data.sequences import Mapped
from tfhub_ft.evaluation.scored import Scored, held_out_scores, scoring_precision
from tfhub_ft.run import Run, run_files
from tfhub_ft.tasks.base import load_plugin
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.console import log, recorded_warnings, warn
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import check_output, matching_files


def evaluate(
    run: str | Path | Run, *, data: str | Path, report: str | Path | None = None, **reading: Any
) -> dict[str, Any]:
    """Score a run on the rows of a file. What `tfhub-ft evaluate` does.

    Args:
        run: a run or its folder.
        data: a file with the columns that the run was trained on, or a pattern of files.
        report: an HTML file to write, with pictures and the rows that the run is wrong about.
        reading: how the file is read: `skip_bad_rows`, to count and skip bad rows where the first one is an error
            otherwise; `delimiter`, `encoding`, `header` and `label_separator`, as for `train`, where they are not
            detected and differ from those of the run.

    Returns:
        The same scores that metrics.json has of the test rows. Rows whose label the run does not know count as wrong.

    Raises:
        InputError: the run or the file is not as it must be.

    Example:
        tfhub_ft.evaluate("runs/reviews", data="more_reviews.csv")["accuracy"]
    """
    run = run if isinstance(run, Run) else Run(run)
    data = check_path("data", data)
    report = None if report is None else check_path("report", report)
    if report:
        if report.suffix != ".html":
            raise InputError(f"--report {report}: must name an .html file")
        check_output(report, "--report", inputs=[*matching_files(data), *run_files(run.path)])
    with recorded_warnings() as warnings:
        scored = _scored(run, data, reading)
    if report:
        from tfhub_ft.evaluation.report.html_report import write_report

        scores = {data.name: scored.scores}
        write_report(report, run, scored, of=f"rows of {data}", scores=scores, warnings=warnings)
    return dict(scored.scores)


def _scored(run: Run, data: Path, reading: dict[str, Any]) -> Scored:
    task, labels = run.recipe.task, run.labels
    rows = read_scored_rows(task, run.settings, labels, data, dropped=run.dropped_labels, **reading)
    targets = task.targets(rows, labels, str(data))

    log(f"Scoring {len(rows):,} rows by {run.path}")
    model = run.load_model()
    tokens = task.encode(model.get_layer("preprocessor"), Mapped(task.training_inputs, rows))
    if truncated := tokens.truncated_rows:
        warn(truncation_warning(f"{truncated:,} of {len(rows):,} rows", run.settings.seq_length))
    logits = task.make_score_fn(model, scoring_precision(task, run.settings.precision))(tokens)
    train = run.metrics.get("train") if run.finished else None
    scores, written = held_out_scores(task, logits, targets, labels, run.thresholds, train), []
    if plugin := load_plugin(task):
        evaluator = plugin.generation_evaluator(model, rows, run.settings)
        generated, replies = evaluator()
        scores, written = {**scores, **generated}, evaluator.reply_table(trained=replies)
    return Scored(task, rows, logits, targets, labels, run.thresholds, run.calibration, scores, written)
