"""Export a run: convert its model, verify each artifact, and keep those that reproduce its predictions."""

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tfhub_ft.data.labels import DROPPED
from tfhub_ft.export_folder import EXPORTS, Entry, digests, read_exports
from tfhub_ft.exports.context import ExportContext, ReferencePredictions
from tfhub_ft.exports.formats import FORMATS
from tfhub_ft.exports.serving.config import BATCHING_CONFIG, MODELS_CONFIG, write_serving_files
from tfhub_ft.exports.upload import export_and_upload
from tfhub_ft.exports.verify import TRIMMED_VOCABULARY, compare_predictions, verify
from tfhub_ft.inference.runtimes.isolated import IsolatedRuntime
from tfhub_ft.recipe import recipe_name
from tfhub_ft.run import Run
from tfhub_ft.tasks.base import Task, load_plugin, share_equal
from tfhub_ft.utils.arguments import check_names, check_path, check_type
from tfhub_ft.utils.console import log, progress
from tfhub_ft.utils.devices import tensor_float_32
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import (
    atomic_write,
    check_folder,
    contents,
    folder_bytes,
    locked,
    remove,
    remove_if_empty,
    remove_stale_scratch,
    write_json,
    write_text,
)
from tfhub_ft.utils.imports import imported
from tfhub_ft.utils.remote import as_path, is_remote


def export(
    run: str | Path | Run,
    *,
    output_dir: str | Path,
    formats: Sequence[str] = ("saved_model",),
    quantize: Sequence[str] | None = None,
    vocabulary: str = "all",
    warmup_rows: bool = False,
) -> Path:
    """Export a run, and verify that each artifact reproduces its predictions. What `tfhub-ft export` does.

    The export folder has the layout of TF Serving: SavedModels are in `1/`, `2/` and so on, with quantized weights in
    `bfloat16/1/` and `int8/1/`. TFLite files are in `tflite/`, ONNX files in `onnx/`. export.json contains the parity
    report of each artifact; README.md is the model card.

    Args:
        run: A finished run or its folder.
        output_dir: The export folder, such as saved_models/reviews; created if it does not exist. A folder of an object
            store, such as s3://bucket/reviews, is uploaded after all artifacts are verified.
        formats: "saved_model"; "tflite", which reads token ids; "tflite_text", which contains the tokenizer, for models
            that read one text; "onnx", which reads token ids.
        quantize: Quantizations, applied to the formats that have them: "none" (float32, all formats), "float16"
            (TFLite), "dynamic" (int8 weights; TFLite and ONNX) and "int8" (int8 weights and activations, calibrated
            with training rows; "tflite" only). For SavedModels of language models: "none", "bfloat16" and "int8"
            weights. Defaults to "none", and for TFLite to "none" and "dynamic".
        vocabulary: "all", or "domain" to keep only the tokens that the training rows need, and a few more. The
            predictions must then equal the model's on 98% of the verification rows, with a score within 0.01.
        warmup_rows: Warm up servers with rows of the run, which the export then contains, instead of placeholder texts
            of the same lengths.

    Returns:
        The export folder.

    Raises:
        InputError: The run is not finished or cannot be exported to one of the formats, or the folder contains exports
            of another run or is in use by another export.
        RunError: An artifact does not reproduce the model's predictions; it is removed, and the others are kept. Or the
            export cannot be uploaded; it is kept in a temporary folder.

    Example:
        tfhub_ft.export("runs/reviews", output_dir="saved_models/reviews", formats=["saved_model", "tflite"])
    """
    export_artifacts(run, output_dir, formats, quantize, vocabulary, warmup_rows)
    return as_path(output_dir)


def export_artifacts(
    run: str | Path | Run,
    output_dir: str | Path,
    formats: Sequence[str],
    quantize: Sequence[str] | None,
    vocabulary: str,
    warmup_rows: bool,
    on_artifact: Callable[[Entry], None] = lambda entry: None,
) -> None:
    """Export as `export` does, and call `on_artifact` with each entry of export.json after it is written."""
    run = run if isinstance(run, Run) else Run(run)
    output, formats = check_path("output_dir", output_dir), check_names("formats", formats)
    quantize = None if quantize is None else check_names("quantize", quantize)
    check_type("vocabulary", vocabulary, str, "all or domain")
    quantizations = _check_options(run, formats, quantize, vocabulary)
    if is_remote(output):
        entries: list[Entry] = []
        export_and_upload(
            str(output),
            lambda folder: _write_artifacts(run, folder, quantizations, vocabulary, warmup_rows, entries.append),
        )
        for entry in entries:
            on_artifact(entry)
        return
    # The folder's name becomes the name of files and of the served model; "." and ".." have none.
    folder = output if output.name not in ("", "..") else output.resolve()
    check_folder(folder)
    with remove_if_empty(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, f"--output-dir {folder}: in use by another export; try again later"):
            for subfolder in (folder, *folder.glob("*/")):
                remove_stale_scratch(subfolder)
            _write_artifacts(run, folder, quantizations, vocabulary, warmup_rows, on_artifact)


def _write_artifacts(
    run: Run,
    folder: Path,
    quantizations: dict[str, list[str]],
    vocabulary: str,
    warmup_rows: bool,
    on_artifact: Callable[[Entry], None],
) -> None:
    exports = _existing_exports(folder, run)
    exports["columns"] = run.settings.columns()
    exports[DROPPED] = list(run.dropped_labels)
    # Damaged files of the run are reported before the conversion.
    metrics, _ = run.metrics, run.warnings

    from tfhub_ft.exports.model_card import model_card
    from tfhub_ft.utils.memory import release_memory

    log(f"Loading {run.path}")
    context = _context_class(run.recipe.task)(run, run.load_model(), folder, warmup_rows=warmup_rows)
    trimmed = _trim_vocabulary(context) if vocabulary == "domain" else {}
    for name, names in quantizations.items():
        if check := context.formats[name].check_model:
            imported(check)(context, names)
    steps = [(name, quantization) for name, names in quantizations.items() for quantization in names]
    has_artifacts, faults = False, []
    with progress("Converting and verifying", len(steps), "artifacts") as advance, tensor_float_32(allowed=False):
        for name, quantization in steps:
            try:
                entry = export_artifact(context, name, quantization) | trimmed
                entry["written"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
                _record(folder, exports, entry)
            except RunError as error:
                faults.append(str(error))
                continue
            finally:
                release_memory()
                advance(1)
            has_artifacts = True
            on_artifact(entry)
    if has_artifacts:
        write_text(folder / "README.md", model_card(context, metrics, exports["forms"]))
    if faults:
        raise RunError("; ".join(faults))


def export_artifact(context: ExportContext, name: str, quantization: str) -> Entry:
    """Write one artifact, verify it, and return its entry in export.json; it is removed if a RunError is raised."""
    format = context.formats[name]
    path = format.path(context.folder, quantization)
    # The isolated process imports its runtime while the artifact is written.
    with IsolatedRuntime(imported(format.runtime)) as runtime, atomic_write(context.folder / path) as aside:
        # Computed before the conversion, which could change the model.
        context.expected(name, quantization, runtime)
        log(f"Writing {path}")
        entry = {"form": name, "quantization": quantization, "path": path.as_posix()}
        entry |= imported(format.converter)(context, quantization, aside)
        log(f"Comparing the predictions of {path} with the model's, in an isolated process")
        try:
            report = verify(runtime.open(aside), context, name, quantization)
        except RunError as error:
            raise RunError(f"{path} was not kept: {error}") from None
        if not format.file:
            entry["version"] = int(path.name)
            subfolder = path.parent.as_posix().removeprefix(".")
            write_serving_files(context.folder, subfolder, max_batch_size=context.max_batch_size)
        return {**entry, "bytes": folder_bytes(aside), **report}


def _record(folder: Path, exports: dict[str, Any], entry: Entry) -> None:
    """Add an artifact with its digests to export.json, or remove the artifact."""
    entry["sha256"] = digests(folder / entry["path"])
    entries = [*(other for other in exports["forms"] if other["path"] != entry["path"]), entry]
    try:
        write_json(folder / EXPORTS, exports | {"forms": entries})
    except RunError:
        remove(folder / entry["path"])
        raise
    exports["forms"] = entries


@tensor_float_32(allowed=False)
def _trim_vocabulary(context: ExportContext) -> Entry:
    """Remove the tokens that the training rows do not need; return a field of the entries in export.json."""
    from tfhub_ft.distillation.trimming import trimmed_model

    rows, reference = context.rows, context.reference
    if not rows.train_inputs:
        raise InputError(f"--vocabulary domain: needs all training rows, but {rows.fault}; restore them")
    context.model = trimmed_model(context.run, context.model, rows.train_inputs)
    context.reference = trimmed = ReferencePredictions(context.run, context.model, rows)
    agreement, metric = share_equal(trimmed.predictions, reference.predictions), reference.score_name
    try:
        report = compare_predictions(
            metric, reference.score, agreement, trimmed.score, TRIMMED_VOCABULARY, len(rows.segments)
        )
    except RunError as error:
        raise RunError(f"--vocabulary domain: {error}; export with the whole vocabulary") from None
    return {"vocabulary": {"words": len(context.model.get_layer("preprocessor").vocabulary), **report}}


def _check_options(
    run: Run, formats: Sequence[str], quantize: Sequence[str] | None, vocabulary: str
) -> dict[str, list[str]]:
    """Return the quantizations of each format, or raise an InputError."""
    context_class = _context_class(run.recipe.task)
    known_formats = context_class.formats
    known_quantizations = dict.fromkeys(name for format in known_formats.values() for name in format.quantizations)
    for option, values, known in (("--format", formats, FORMATS), ("--quantize", quantize, known_quantizations)):
        unknown = next((value for value in values or () if value not in known), None)
        if unknown is not None or (values is not None and not values):
            raise InputError(f"{option} {unknown or ''}: expected one or more of {', '.join(known)}")
    for name in formats:
        if name not in known_formats:
            raise InputError(
                f"--format {name}: the recipe {run.recipe.name} is exported as {', '.join(known_formats)} only"
            )
    _check_quantizations(run, context_class, formats, quantize)
    for name in formats:
        if check := known_formats[name].check:
            imported(check)(run)
    context_class.check(run, vocabulary)
    return {name: _quantizations(run, context_class, name, quantize) for name in known_formats if name in formats}


def _context_class(task: Task) -> type[ExportContext]:
    plugin = load_plugin(task)
    return plugin.export_context() if plugin else ExportContext


def _quantizations(
    run: Run, context_class: type[ExportContext], name: str, quantize: Sequence[str] | None
) -> list[str]:
    """Return the quantizations in which a format is exported."""
    wanted = context_class.formats[name].by_default if quantize is None else quantize
    return [quantization for quantization in context_class.quantizations(run, name) if quantization in wanted]


def _check_quantizations(
    run: Run, context_class: type[ExportContext], formats: Sequence[str], quantize: Sequence[str] | None
) -> None:
    """Raise an InputError if a format has none of the quantizations, or no format has one of them."""
    if quantize is None:
        return
    exported = {name: _quantizations(run, context_class, name, quantize) for name in formats}
    takes = {name: " or ".join(map(repr, context_class.quantizations(run, name))) for name in formats}
    for name, quantizations in exported.items():
        if not quantizations:
            raise InputError(
                f"--quantize {','.join(quantize)}: {name} takes {takes[name]}; add it, or leave {name} out"
            )
    for quantization in quantize:
        if not any(quantization in quantizations for quantizations in exported.values()):
            known = ", ".join(f"{name} takes {takes[name]}" for name in formats)
            raise InputError(
                f"--quantize {quantization}: {known}; leave {quantization} out, or add a format that takes it"
            )
    for name, quantizations in exported.items():
        skipped = [quantization for quantization in quantize if quantization not in quantizations]
        # That a SavedModel is float32 needs no message.
        if skipped and name != "saved_model":
            log(f"Skipping {' and '.join(skipped)} for {name}, which takes {takes[name]}")


def _existing_exports(folder: Path, run: Run) -> dict[str, Any]:
    path, current = folder / EXPORTS, {"recipe": run.recipe.name, "labels": run.labels}
    check_folder(folder)
    if not path.is_file():
        # A failed export may have left the configuration of TF Serving, which the user may change.
        others = [name for name in contents(folder) if name not in (MODELS_CONFIG, BATCHING_CONFIG)]
        if others:
            raise InputError(
                f"--output-dir {folder}: not an export folder (it has {others[0]}, but no {EXPORTS});"
                " choose another folder"
            )
        return {**current, "forms": []}
    try:
        exports = read_exports(folder)
    except InputError as error:
        raise InputError(f"{error}; restore it, or choose another folder") from None
    existing = {"recipe": recipe_name(exports["recipe"]), "labels": exports["labels"]}
    if existing != current:
        labels = f" with the labels {', '.join(existing['labels'][:5])}" if existing["labels"] else ""
        raise InputError(
            f"--output-dir {folder}: has exports of the recipe {existing['recipe']}{labels}; choose another folder"
        )
    return exports
