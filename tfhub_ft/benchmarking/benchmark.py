"""Measure the size, speed, scores and agreement of the artifacts of an export."""

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from tfhub_ft.data.formats.memory import Rows
from tfhub_ft.data.labels import DROPPED
from tfhub_ft.data.memory_rows import MemoryRows, check_rows
from tfhub_ft.data.rows import Row
from tfhub_ft.data.scored_rows import read_scored_rows
from tfhub_ft.export_folder import EXPORTS, read_exports
from tfhub_ft.inference.runtimes.isolated import IsolatedRuntime
from tfhub_ft.settings import column_changes
from tfhub_ft.tasks.base import decisions, load_plugin, share_equal
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.console import log
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import check_output, matching_files, write_json

if TYPE_CHECKING:
    from tfhub_ft.benchmarking.artifacts import Artifact, Examples
    from tfhub_ft.inference.runtimes.isolated import IsolatedResult
    from tfhub_ft.tasks.base import Task

Value = TypeVar("Value")
# The measurements of an artifact, by the names that `benchmark` returns.
Measurements = dict[str, Any]

BATCH, TIMED_ROWS = 32, 200
PICTURES = (".png", ".svg", ".pdf")


def benchmark(
    export_dir: str | Path, *, data: str | Path | Rows, picture: str | Path | None = None, **reading: Any
) -> list[Measurements]:
    """Measure every artifact of an export. What `tfhub-ft benchmark` does.

    Each artifact is loaded, called and timed in an isolated process, one after the other: the newest SavedModel for
    text and for tokens, every TFLite file and every ONNX file. All rows are scored; up to 200 of them, spread over all
    lengths, are timed. The first artifact, the SavedModel or else the least quantized one, is the original. The results
    are written into the export folder as benchmark.json and benchmark.png.

    SavedModels of language models write up to 64 tokens for each of 16 prompts, three of which are timed. Their
    perplexity is that of all replies in the file, each after its prompt only.

    Args:
        export_dir: The export folder; its run is not needed.
        data: Rows with labels, as for `evaluate`.
        picture: Another file for the picture: png, svg or pdf.
        reading: How to read a file, as for `evaluate`.

    Returns:
        For each artifact {"form", "path", "quantization", "reads": "text" or "tokens", "bytes", "peak_memory_bytes" of
        the process including the runtime, "load_seconds" until the first prediction without the import of the runtime,
        "latency_ms": {"p50", "p95"} of one row, "rows_per_second" in batches of "batch_size" rows of similar length,
        "scores": {name: score} with the task's primary metric first, "agreement": the share of predictions that equal
        the original's}. Times do not include tokenization for artifacts that read tokens. The agreement is None if
        predictions are numbers; the scores are empty for artifacts without logits. For language models a row is a
        reply, and there are "tokens_per_second" for single replies, and "same_words", the share of the words of the
        original's replies before the first different one.

    Raises:
        InputError: The folder, one of its artifacts or the file is missing or invalid.
        RunError: An artifact cannot be run.

    Example:
        tfhub_ft.benchmark("saved_models/reviews", data="more_reviews.csv")[0]["latency_ms"]["p50"]
    """
    folder, labeled = check_path("export_dir", export_dir), check_rows("data", data)
    picture = folder / "benchmark.png" if picture is None else check_path("picture", picture)
    if picture.suffix.lower() not in PICTURES:
        raise InputError(f"--picture {picture}: must end in {', '.join(PICTURES)}")

    from tfhub_ft.benchmarking.artifacts import find_artifacts
    from tfhub_ft.benchmarking.plot import draw_comparison

    artifacts = find_artifacts(folder)
    files = [] if isinstance(labeled, MemoryRows) else matching_files(labeled)
    inputs = [*files, folder / EXPORTS, *(artifact.path for artifact in artifacts)]
    for output, option in ((picture, "--picture"), (folder / "benchmark.json", "EXPORT_DIR")):
        check_output(output, option, inputs)
    task, rows, targets = _read_rows(folder, artifacts, labeled, reading)
    plugin = load_plugin(task)
    measurements, timed = (plugin.measure_artifacts if plugin else measure_artifacts)(artifacts, task, rows, targets)
    results = [
        {
            "form": artifact.format,
            "path": str(artifact.path.relative_to(folder)),
            "quantization": artifact.quantization,
            "reads": artifact.reads,
            "bytes": artifact.bytes,
            **measured,
        }
        for artifact, measured in zip(artifacts, measurements, strict=True)
    ]
    write_json(
        folder / "benchmark.json",
        {
            "data": labeled.recorded_name if isinstance(labeled, MemoryRows) else str(labeled),
            "rows": len(rows),
            "timed_rows": min(len(rows), timed),
            "cores": os.cpu_count(),
            "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "forms": results,
        },
    )
    draw_comparison(results, picture, title=f"{folder.resolve().name}, {len(rows):,} rows of {labeled.name}")
    return results


def measure_artifacts(
    artifacts: "Sequence[Artifact]", task: "Task", rows: Sequence[Row], targets: Any
) -> tuple[list[Measurements], int]:
    """Measure artifacts, the original first, on rows with targets; return also the maximum number of timed rows."""
    from tfhub_ft.benchmarking.artifacts import Examples

    examples, measurements, original = Examples(artifacts, task, rows), [], []
    for artifact in artifacts:
        log(f"Measuring {artifact.path} with {artifact.reads} in an isolated process")
        with IsolatedRuntime(artifact.runtime_class) as runtime:
            measurements.append(_measure(runtime.open(artifact.path), artifact, examples))
            scores, predicted = _score(runtime, artifact, examples, targets)
        if len(measurements) == 1:
            original = predicted or []
        agreement = None if predicted is None else share_equal(predicted, original)
        measurements[-1] |= {"scores": scores, "agreement": agreement}
    return measurements, TIMED_ROWS


def timing(result: "IsolatedResult", rows: int, batch_size: int) -> Measurements:
    """Return the measurements of memory and time, given the number of rows in all batches."""
    return {
        "peak_memory_bytes": result.peak_memory_bytes,
        "load_seconds": round(result.load_seconds, 3),
        "latency_ms": result.latency_ms,
        "rows_per_second": round(rows / result.batch_seconds, 2),
        "batch_size": batch_size,
    }


def _read_rows(
    folder: Path, artifacts: "Sequence[Artifact]", data: Path | MemoryRows, reading: dict[str, Any]
) -> "tuple[Task, Sequence[Row], Any]":
    """Return the task, and the rows with their targets."""
    from tfhub_ft.benchmarking.artifacts import task_of

    if any(artifact.format == "onnx" for artifact in artifacts):
        from tfhub_ft.exports.onnx import check_onnx_is_installed

        check_onnx_is_installed()
    # The description of an ONNX file lacks the fields.
    artifact = next((artifact for artifact in artifacts if artifact.format != "onnx"), None)
    if artifact is None:
        raise InputError(f"{folder}: has only ONNX files, which read tokens; export a SavedModel of the run, too")
    task, labels, exports = task_of(artifact), artifact.description["labels"], read_exports(folder)
    settings = _ColumnNames(**exports.get("columns", {}))
    rows = read_scored_rows(task, settings, labels, data, dropped=exports.get(DROPPED, ()), **reading)
    return task, rows, task.targets(rows, labels, str(data))


class _ColumnNames(SimpleNamespace):
    """The column names of a run in place of its settings; other settings are None."""

    header = True

    def __getattr__(self, name: str) -> None:
        return None

    def replaced(self, changes: dict[str, Any]) -> "_ColumnNames":
        return _ColumnNames(**vars(self) | changes)

    def with_columns(self, columns: dict[str, str]) -> "_ColumnNames":
        return self.replaced(column_changes(columns))


def _measure(runtime: "IsolatedRuntime", artifact: "Artifact", examples: "Examples") -> Measurements:
    batch_size = min(BATCH, runtime.max_batch_size)
    rows = spread(sorted(examples.segments, key=lambda row: sum(map(len, row))), TIMED_ROWS)
    batches = [examples.batch(artifact, rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]
    singles = [examples.batch(artifact, [row]) for row in rows]
    result = runtime.measure(batches, singles, signature=artifact.signature, timed=TIMED_ROWS)
    return timing(result, len(rows), batch_size)


def spread(values: Sequence[Value], count: int) -> list[Value]:
    """Return up to `count` values at even steps."""
    count = min(len(values), count)
    return [values[i * (len(values) - 1) // max(count - 1, 1)] for i in range(count)]


def _score(
    runtime: "IsolatedRuntime", artifact: "Artifact", examples: "Examples", targets: Any
) -> tuple[dict[str, float | None], list[object] | None]:
    """Return the scores of an artifact, the primary metric first, and the parts of predictions that can be right."""
    task, labels = examples.task, artifact.description["labels"]
    predictions, logits = examples.model(artifact, runtime).predict_and_score(examples.segments, examples.tokens)
    predicted = None if predictions is None else decisions(task, predictions, labels)
    if logits is None or task.primary_metric is None:
        return {}, predicted
    metrics = task.metrics(logits, targets, labels, artifact.description["decision"])
    f1 = [name for name in ("f1", "f1_macro") if name in metrics and name != task.primary_metric]
    return {name: metrics[name] for name in (task.primary_metric, *f1[:1])}, predicted
