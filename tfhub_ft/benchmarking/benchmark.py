"""Every form of an export, measured: how large and fast it is, how good, and whether it answers as the original."""

import os
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.labels import DROPPED
from tfhub_ft.data.rows import Row
from tfhub_ft.data.scored_rows import read_scored_rows
from tfhub_ft.export_folder import EXPORTS, read_exports
from tfhub_ft.tasks.base import decisions as decisions_of
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.console import log
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import check_output, matching_files, write_json

if TYPE_CHECKING:
    from tfhub_ft.benchmarking.artifacts import Answers, Form
    from tfhub_ft.inference.runtimes.isolated import Feed
    from tfhub_ft.tasks.base import Task

BATCH, TIMED_ROWS = 32, 200
PICTURES = (".png", ".svg", ".pdf")


def benchmark(
    export_dir: str | Path, *, data: str | Path, picture: str | Path | None = None, **reading: Any
) -> list[dict[str, Any]]:
    """Measure every form of an export. What `tfhub-ft benchmark` does.

    Each form is loaded, called and timed in a process of its own, one after the other: its newest SavedModel from text
    and from tokens on, every TFLite file, the ONNX file. Timed are up to 200 of the rows, spread over all lengths; all
    rows are scored. The original, which the others are held against, stands first: the SavedModel, or else the least
    quantized form. What was measured is written into the export folder, as benchmark.json and benchmark.png.

    Forms that write replies, the newest SavedModel with weights of each precision, write up to 64 tokens to each of 16
    prompts, three of which are timed; the perplexity is that of all replies in the file, each to its own prompt alone.

    Args:
        export_dir: the export folder; its run may have gone.
        data: a file of rows with what is right, as for `evaluate`.
        picture: where the picture goes instead: a png, svg or pdf file.
        reading: how the file is read, as for `evaluate`.

    Returns:
        For each form {"form", "path", "quantization", "reads": "text" or "tokens", "bytes", "peak_memory_bytes": of
        the whole process, its runtime included, "load_seconds": up to the first answer, without the import of the
        runtime, "latency_ms": {"p50", "p95"} of one row, "rows_per_second": in batches of "batch_size" rows of similar
        length, "scores": {name: score}, the task's own score first, "agreement": share of the answers that are the
        original's}. Where a form reads tokens, tokenizing is not in the times. Where answers are numbers, the
        agreement is None; forms that do not tell logits have no scores. Where replies are written, a row is a reply,
        and there are "tokens_per_second", of one reply at a time, and "same_words", the share of the words of the
        original's replies up to the first that differs.

    Raises:
        InputError: the folder, a form of it or the file is not as it must be.
        RunError: a form cannot be run.

    Example:
        tfhub_ft.benchmark("saved_models/reviews", data="more_reviews.csv")[0]["latency_ms"]["p50"]
    """
    folder, data = check_path("export_dir", export_dir), check_path("data", data)
    picture = folder / "benchmark.png" if picture is None else check_path("picture", picture)
    if picture.suffix.lower() not in PICTURES:
        raise InputError(f"--picture {picture}: must end in {', '.join(PICTURES)}")

    from tfhub_ft.benchmarking.artifacts import find_forms
    from tfhub_ft.benchmarking.plot import draw_comparison
    from tfhub_ft.language_models.task import Dialogue

    forms = find_forms(folder)
    inputs = [*matching_files(data), folder / EXPORTS, *(form.path for form in forms)]
    for output, option in ((picture, "--picture"), (folder / "benchmark.json", "EXPORT_DIR")):
        check_output(output, option, inputs)
    task, rows, targets = _rows(folder, forms, data, reading)
    if isinstance(task, Dialogue):
        from tfhub_ft.language_models.benchmark import TIMED, measure_reply_forms

        measured, timed = measure_reply_forms(forms, rows, folder), TIMED
    else:
        measured, timed = _measure_forms(forms, task, rows, targets, folder), TIMED_ROWS
    write_json(
        folder / "benchmark.json",
        {
            "data": str(data),
            "rows": len(rows),
            "timed_rows": min(len(rows), timed),
            "cores": os.cpu_count(),
            "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "forms": measured,
        },
    )
    draw_comparison(measured, picture, title=f"{folder.resolve().name}, {len(rows):,} rows of {data.name}")
    return measured


def _measure_forms(
    forms: "Sequence[Form]", task: "Task", rows: Sequence[Row], targets: Any, folder: Path
) -> list[dict[str, Any]]:
    from tfhub_ft.benchmarking.artifacts import Answers
    from tfhub_ft.exports.tflite_verify import share_equal

    answers = Answers(forms, task, rows)
    measured = [_measured(form, answers, folder) for form in forms]
    scored = [_scores(form, answers, targets) for form in forms]
    original = scored[0][1]
    for each, (scores, decisions) in zip(measured, scored, strict=True):
        each["scores"] = scores
        each["agreement"] = None if decisions is None else share_equal(decisions, original)
    return measured


def _rows(
    folder: Path, forms: "Sequence[Form]", data: Path, reading: dict[str, Any]
) -> "tuple[Task, Sequence[Row], Any]":
    """The task, and the checked rows with their targets."""
    from tfhub_ft.benchmarking.artifacts import description_of, task_of

    if any(form.name == "onnx" for form in forms):
        from tfhub_ft.exports.onnx import check_onnx_is_installed

        check_onnx_is_installed()
    teller = next((form for form in forms if form.name != "onnx"), None)
    if teller is None:
        raise InputError(f"{folder} has ONNX alone, which reads tokens: export a SavedModel of the run into it too")
    task, labels = task_of(teller), description_of(teller)["labels"]
    exports = read_exports(folder)
    settings = _ColumnNames(**exports.get("columns", {}))
    rows = read_scored_rows(task, settings, labels, data, dropped=exports.get(DROPPED, ()), **reading)
    return task, rows, task.targets(rows, labels, str(data))


class _ColumnNames(SimpleNamespace):
    """The columns that a run's settings named, in place of the settings; what is not named is None."""

    header = True

    def __getattr__(self, name: str) -> None:
        return None

    def replaced(self, changes: dict[str, Any]) -> "_ColumnNames":
        """A copy with some values changed, as of settings."""
        return _ColumnNames(**vars(self) | changes)


def _measured(form: "Form", answers: "Answers", folder: Path) -> dict[str, Any]:
    from tfhub_ft.inference.runtimes.isolated import run_isolated

    log(f"Measuring {form.path}, from {form.reads} on, in a fresh process")
    batch_size = 1 if form.name == "tflite_text" else BATCH
    rows = _spread(answers.asked)
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    feed = _feeder(form, answers)
    singles = [feed([row]) for row in rows]
    found = run_isolated(form.kind, form.path, [feed(batch) for batch in batches], singles, timed=TIMED_ROWS)
    return {
        "form": form.name,
        "path": str(form.path.relative_to(folder)),
        "quantization": form.quantization,
        "reads": form.reads,
        "bytes": form.bytes,
        "peak_memory_bytes": found.peak_memory_bytes,
        "load_seconds": round(found.load_seconds, 3),
        "latency_ms": found.latency_ms,
        "rows_per_second": round(len(rows) / found.batch_seconds, 1),
        "batch_size": batch_size,
    }


def _spread(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Up to `TIMED_ROWS` rows from the shortest to the longest, at even steps."""
    ordered = sorted(rows, key=lambda row: sum(map(len, row)))
    count = min(len(ordered), TIMED_ROWS)
    return [ordered[i * (len(ordered) - 1) // max(count - 1, 1)] for i in range(count)]


def _feeder(form: "Form", answers: "Answers") -> "Callable[[Sequence[tuple[str, ...]]], Feed]":
    """A function from rows of segments to what a form takes."""
    import numpy as np

    from tfhub_ft.benchmarking.artifacts import description_of, text_feed
    from tfhub_ft.inference.runtimes.isolated import token_feed

    if form.reads == "tokens":
        return partial(token_feed, answers.preprocessor)
    if form.name == "tflite_text":
        return lambda rows: {"text": np.array([text.encode() for (text,) in rows])}
    return partial(text_feed, description_of(form)["inputs"])


def _scores(form: "Form", answers: "Answers", targets: Any) -> tuple[dict[str, float | None], list[Any] | None]:
    """The scores of a form, the task's own one first, and what of its answers is right or wrong."""
    from tfhub_ft.benchmarking.artifacts import description_of

    log(f"Scoring {form.path}, from {form.reads} on")
    task, described = answers.task, description_of(form)
    worded, logits = answers.of(form)
    decisions = None if worded is None else decisions_of(task, worded, described["labels"])
    if logits is None:
        return {}, decisions
    metrics = task.metrics(logits, targets, described["labels"], described["decision"])
    f1 = [name for name in ("f1", "f1_macro") if name in metrics and name != task.primary_metric]
    return {name: metrics[name] for name in (task.primary_metric, *f1[:1])}, decisions
