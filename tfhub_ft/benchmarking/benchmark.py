"""Measure the size, speed, scores and agreement of the artifacts of an export."""

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.labels import DROPPED
from tfhub_ft.data.rows import Row
from tfhub_ft.data.scored_rows import read_scored_rows
from tfhub_ft.export_folder import EXPORTS, read_exports
from tfhub_ft.inference.runtimes.isolated import IsolatedRuntime
from tfhub_ft.metrics.scores import share_equal
from tfhub_ft.tasks.base import decisions as decisions_of
from tfhub_ft.tasks.base import load_plugin
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.console import log
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import check_output, matching_files, write_json

if TYPE_CHECKING:
    from tfhub_ft.benchmarking.artifacts import Artifact, Examples
    from tfhub_ft.inference.runtimes.isolated import IsolatedResult
    from tfhub_ft.tasks.base import Task

BATCH, TIMED_ROWS = 32, 200
PICTURES = (".png", ".svg", ".pdf")


def benchmark(
    export_dir: str | Path, *, data: str | Path, picture: str | Path | None = None, **reading: Any
) -> list[dict[str, Any]]:
    """Measure every artifact of an export. What `tfhub-ft benchmark` does.

    Each artifact is loaded, called and timed in a process of its own, one after the other: the newest SavedModel from
    text and from tokens on, every TFLite file, the ONNX files. Timed are up to 200 of the rows, spread over all
    lengths; all rows are scored. The first one is the original, with which the others are compared: the SavedModel,
    otherwise the least quantized artifact. The figures are written into the export folder, as benchmark.json and
    benchmark.png.

    SavedModels that write replies, the newest with weights of each precision, write up to 64 tokens to each of 16
    prompts, three of which are timed; the perplexity is that of all replies in the file, each to its own prompt alone.

    Args:
        export_dir: the export folder; its run need not exist.
        data: a file of rows with labels, as for `evaluate`.
        picture: another file for the picture: png, svg or pdf.
        reading: how the file is read, as for `evaluate`.

    Returns:
        For each artifact {"form", "path", "quantization", "reads": "text" or "tokens", "bytes", "peak_memory_bytes": of
        the whole process, its runtime included, "load_seconds": up to the first prediction, without the import of the
        runtime, "latency_ms": {"p50", "p95"} of one row, "rows_per_second": in batches of "batch_size" rows of similar
        length, "scores": {name: score}, the task's own score first, "agreement": share of the predictions that are the
        original's}. Where an artifact reads tokens, the times are without the tokenizer. Where predictions are numbers,
        the agreement is None; artifacts that do not output logits lack scores. Where replies are written, a row is a
        reply, and there are "tokens_per_second", of one reply at a time, and "same_words", the share of the words of
        the original's replies up to the first that differs.

    Raises:
        InputError: the folder, an artifact of it or the file is missing or invalid.
        RunError: an artifact cannot be run.

    Example:
        tfhub_ft.benchmark("saved_models/reviews", data="more_reviews.csv")[0]["latency_ms"]["p50"]
    """
    folder, data = check_path("export_dir", export_dir), check_path("data", data)
    picture = folder / "benchmark.png" if picture is None else check_path("picture", picture)
    if picture.suffix.lower() not in PICTURES:
        raise InputError(f"--picture {picture}: must end in {', '.join(PICTURES)}")

    from tfhub_ft.benchmarking.artifacts import find_artifacts
    from tfhub_ft.benchmarking.plot import draw_comparison

    artifacts = find_artifacts(folder)
    inputs = [*matching_files(data), folder / EXPORTS, *(each.path for each in artifacts)]
    for output, option in ((picture, "--picture"), (folder / "benchmark.json", "EXPORT_DIR")):
        check_output(output, option, inputs)
    task, rows, targets = _rows(folder, artifacts, data, reading)
    plugin = load_plugin(task)
    figures, timed = (plugin.measure_artifacts if plugin else measure_artifacts)(artifacts, task, rows, targets)
    measured = [
        {
            "form": artifact.format,
            "path": str(artifact.path.relative_to(folder)),
            "quantization": artifact.quantization,
            "reads": artifact.reads,
            "bytes": artifact.bytes,
            **each,
        }
        for artifact, each in zip(artifacts, figures, strict=True)
    ]
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


def measure_artifacts(
    artifacts: "Sequence[Artifact]", task: "Task", rows: Sequence[Row], targets: Any
) -> tuple[list[dict[str, Any]], int]:
    """Measure and score each artifact in a process of its own.

    Args:
        artifacts: the artifacts, the original first.
        task: their task.
        rows: rows to score, some of which are timed.
        targets: their targets.

    Returns:
        What `benchmark` returns of each artifact, and how many rows are timed at most.
    """
    from tfhub_ft.benchmarking.artifacts import Examples

    examples, figures, original = Examples(artifacts, task, rows), [], None
    for artifact in artifacts:
        log(f"Measuring and scoring {artifact.path}, from {artifact.reads} on, in an isolated process")
        with IsolatedRuntime(artifact.runtime) as runtime:
            figures.append(_measured(runtime.open(artifact.path), artifact, examples))
            scores, decisions = _scores(runtime, artifact, examples, targets)
        if len(figures) == 1:
            original = decisions
        agreement = None if decisions is None else share_equal(decisions, original or ())
        figures[-1] |= {"scores": scores, "agreement": agreement}
    return figures, TIMED_ROWS


def timing(measured: "IsolatedResult", rows: int, batch_size: int) -> dict[str, Any]:
    """Return what `benchmark` returns of a measurement of a number of rows in batches."""
    return {
        "peak_memory_bytes": measured.peak_memory_bytes,
        "load_seconds": round(measured.load_seconds, 3),
        "latency_ms": measured.latency_ms,
        "rows_per_second": round(rows / measured.batch_seconds, 2),
        "batch_size": batch_size,
    }


def _rows(
    folder: Path, artifacts: "Sequence[Artifact]", data: Path, reading: dict[str, Any]
) -> "tuple[Task, Sequence[Row], Any]":
    """Return the task, and the checked rows with their targets."""
    from tfhub_ft.benchmarking.artifacts import task_of

    if any(each.format == "onnx" for each in artifacts):
        from tfhub_ft.exports.onnx import check_onnx_is_installed

        check_onnx_is_installed()
    described = next((each for each in artifacts if each.format != "onnx"), None)
    if described is None:
        raise InputError(f"{folder} has ONNX alone, which reads tokens: export a SavedModel of the run into it too")
    task, labels = task_of(described), described.description["labels"]
    exports = read_exports(folder)
    settings = _ColumnNames(**exports.get("columns", {}))
    rows = read_scored_rows(task, settings, labels, data, dropped=exports.get(DROPPED, ()), **reading)
    return task, rows, task.targets(rows, labels, str(data))


class _ColumnNames(SimpleNamespace):
    """The columns that a run's settings named, in place of the settings; other settings are None."""

    header = True

    def __getattr__(self, name: str) -> None:
        return None

    def replaced(self, changes: dict[str, Any]) -> "_ColumnNames":
        """Return a copy with some values changed, as of settings."""
        return _ColumnNames(**vars(self) | changes)


def _measured(runtime: "IsolatedRuntime", artifact: "Artifact", examples: "Examples") -> dict[str, Any]:
    batch_size = min(BATCH, runtime.max_batch_size)
    rows = spread(sorted(examples.segments, key=lambda row: sum(map(len, row))), TIMED_ROWS)
    batches = [examples.batch(artifact, rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]
    singles = [examples.batch(artifact, [row]) for row in rows]
    measured = runtime.measure(batches, singles, signature=artifact.signature, timed=TIMED_ROWS)
    return timing(measured, len(rows), batch_size)


def spread(ordered: Sequence[Any], most: int) -> list[Any]:
    """Return some of the values, at even steps."""
    count = min(len(ordered), most)
    return [ordered[i * (len(ordered) - 1) // max(count - 1, 1)] for i in range(count)]


def _scores(
    runtime: "IsolatedRuntime", artifact: "Artifact", examples: "Examples", targets: Any
) -> tuple[dict[str, float | None], list[Any] | None]:
    """Return the scores of an artifact, the task's own first, and what of its predictions is right or wrong."""
    task, description = examples.task, artifact.description
    predictions, logits = examples.model(artifact, runtime).predict_and_score(examples.segments, examples.tokens)
    decisions = None if predictions is None else decisions_of(task, predictions, description["labels"])
    if logits is None:
        return {}, decisions
    metrics = task.metrics(logits, targets, description["labels"], description["decision"])
    f1 = [name for name in ("f1", "f1_macro") if name in metrics and name != task.primary_metric]
    return {name: metrics[name] for name in (task.primary_metric, *f1[:1])}, decisions
