"""Score a finished run on rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.batches import TokenRows
from tfhub_ft.data.formats.memory import Rows
from tfhub_ft.data.memory_rows import MemoryRows, check_rows
from tfhub_ft.data.rows import Row
from tfhub_ft.data.scored_rows import read_scored_rows
from tfhub_ft.data.sequences import Mapped
from tfhub_ft.evaluation.scored import Scored, held_out_scores, scoring_precision
from tfhub_ft.metrics import Scores
from tfhub_ft.run import Run, run_files
from tfhub_ft.tasks.base import Logits, load_plugin
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.console import log, recorded_warnings, warn
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import check_output, matching_files

if TYPE_CHECKING:
    import keras


def evaluate(
    run: str | Path | Run, *, data: str | Path | Rows, report: str | Path | None = None, **reading: Any
) -> Scores:
    """Score a run on labeled rows, as `tfhub-ft evaluate` does.

    Args:
        run: Run, or its folder.
        data: Rows with the columns that the run was trained on: a file, a pattern of files, or rows in memory such as
            a DataFrame.
        report: HTML report to write, with plots and the rows that the run predicts wrongly.
        **reading: How the file is read: `skip_bad_rows` counts and skips bad rows instead of raising an error;
            `delimiter`, `encoding`, `header` and `label_separator` are as for `train`, and so are names of columns,
            such as `text_column` and `label_column`, and templates, such as `text`.

    Returns:
        The scores that metrics.json has for test rows. Rows with a label that the run does not know count as wrong.

    Raises:
        InputError: If the run is not finished, or the file cannot be read.

    Example:
        tfhub_ft.evaluate("runs/reviews", data="more_reviews.csv")["accuracy"]
        tfhub_ft.evaluate("runs/reviews", data=[{"text": "a warm film", "label": "positive"}])["accuracy"]
    """
    run = run if isinstance(run, Run) else Run(run)
    rows = check_rows("data", data)
    if report is not None:
        report = check_path("report", report)
        if report.suffix != ".html":
            raise InputError(f"--report {report}: must name an .html file")
        files = [] if isinstance(rows, MemoryRows) else matching_files(rows)
        check_output(report, "--report", inputs=[*files, *run_files(run.path)])
    with recorded_warnings() as warnings:
        model, scored = _evaluate(run, rows, reading)
    if report:
        from tfhub_ft.evaluation.report.html_report import write_report

        scores = {rows.name: scored.scores}
        write_report(report, run, scored, of=f"rows of {rows}", scores=scores, warnings=warnings, model=model)
    return dict(scored.scores)


def _evaluate(run: Run, data: Path | MemoryRows, reading: dict[str, Any]) -> "tuple[keras.Model, Scored]":
    task, labels = run.recipe.task, run.labels
    rows = read_scored_rows(task, run.settings, labels, data, dropped=run.dropped_labels, **reading)
    targets = task.targets(rows, labels, str(data))
    model, tokens, logits = score_rows(run, rows)
    if truncated := tokens.truncated_rows:
        warn(f"{truncated:,} of {len(rows):,} rows are {model.get_layer('preprocessor').truncation}")
    train = run.metrics.get("train") if run.finished else None
    scores, written = held_out_scores(task, logits, targets, labels, run.thresholds, train), []
    if plugin := load_plugin(task):
        evaluator = plugin.generation_evaluator(model, rows, run.settings)
        generated, replies = evaluator()
        scores, written = {**scores, **generated}, evaluator.reply_table(trained=replies)
    return model, Scored(task, rows, logits, targets, labels, run.thresholds, run.calibration, scores, written)


def score_rows(run: Run, rows: Sequence[Row]) -> "tuple[keras.Model, TokenRows, Logits]":
    """Return the model of a run, the tokens of rows and the model's logits for them."""
    log(f"Scoring {len(rows):,} rows with {run.path}")
    task, model = run.recipe.task, run.load_model()
    tokens = task.encode(model.get_layer("preprocessor"), Mapped(task.training_inputs, rows))
    precision = scoring_precision(task, run.settings.precision)
    return model, tokens, task.make_score_fn(model, precision)(tokens)
