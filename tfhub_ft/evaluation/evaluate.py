"""Scoring a finished run on other rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.arguments import check_path, check_type
from tfhub_ft.console import recorded_warnings, say, warn
from tfhub_ft.data.batches import truncation_warning
from tfhub_ft.data.columns import without_options
from tfhub_ft.data.labels import scored_rows
from tfhub_ft.data.rows import read_all
from tfhub_ft.data.sequences import Mapped
from tfhub_ft.errors import InputError
from tfhub_ft.files import check_output, matching_files
from tfhub_ft.run import Run, run_files

if TYPE_CHECKING:
    from tfhub_ft.evaluation.report import Scored


def evaluate(
    run: str | Path | Run, *, data: str | Path, skip_bad_rows: bool = False, report: str | Path | None = None
) -> dict[str, Any]:
    """The scores of a run on the rows of a file. What `tfhub-ft evaluate` does.

    Args:
        run: a run or its folder.
        data: a csv, tsv or jsonl file with the columns that the run was trained on.
        skip_bad_rows: count and skip bad rows, where the first one is an error otherwise.
        report: an HTML file to write, with pictures and the rows that the run is wrong about.

    Returns:
        The same scores that metrics.json has of the test rows.

    Raises:
        InputError: the run or the file is not as it must be.

    Example:
        tfhub_ft.evaluate("runs/reviews", data="more_reviews.csv")["accuracy"]
    """
    run = run if isinstance(run, Run) else Run(run)
    data = check_path("data", data)
    report = None if report is None else check_path("report", report)
    check_type("skip_bad_rows", skip_bad_rows, bool, "True or False")
    if report:
        if report.suffix != ".html":
            raise InputError(f"--report {report}: must name an .html file")
        check_output(report, "--report", inputs=[*matching_files(data), *run_files(run.path)])
    with recorded_warnings() as warnings:
        scored = _scored(run, data, skip_bad_rows)
    if report:
        from tfhub_ft.evaluation.report import write_report

        scores = {str(data): scored.scores}
        write_report(report, run, scored, of=f"rows of {data}", scores=scores, warnings=warnings)
    return dict(scored.scores)


def _scored(run: Run, data: Path, skip_bad_rows: bool) -> "Scored":
    from tfhub_ft.evaluation.report import Scored

    task, labels = run.recipe.task, run.labels
    columns = without_options(task.columns(run.settings))
    rows = read_all(data, columns, check=task.check_row, skip_bad_rows=skip_bad_rows)
    rows = scored_rows(task, rows, labels, str(data), dropped=run.dropped_labels)
    targets = task.targets(rows, labels, str(data))

    say(f"Scoring {len(rows):,} rows by {run.path}")
    model = run.load_model()
    tokens = task.encode(model.get_layer("preprocessor"), Mapped(task.inputs, rows))
    if truncated := tokens.truncated_rows:
        warn(truncation_warning(f"{truncated:,} of {len(rows):,} rows", run.settings.seq_length))
    logits = task.row_logits(model, tokens)
    train = run.metrics.get("train") if run.finished else None
    scores, written = task.held_out_scores(logits, targets, labels, run.decision, train), []
    if judge := task.judge(model, rows, run.settings.seed):
        own, replies = judge()
        scores, written = {**scores, **own}, judge.beside(trained=replies)
    return Scored(task, rows, logits, targets, labels, run.decision, run.calibration, scores, written)
