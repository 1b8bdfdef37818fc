"""Export a run: convert its model to artifacts, verify each, and keep those that reproduce its predictions."""

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tfhub_ft.data.labels import DROPPED
from tfhub_ft.export_folder import EXPORTS, digests, read_exports
from tfhub_ft.exports.context import ExportContext, ReferencePredictions
from tfhub_ft.exports.formats import FORMATS
from tfhub_ft.exports.serving.config import BATCHING_CONFIG, MODELS_CONFIG, write_serving_files
from tfhub_ft.exports.verify import TRIMMED_VOCABULARY, compare_predictions, verify
from tfhub_ft.inference.runtimes.isolated import IsolatedRuntime
from tfhub_ft.metrics.scores import share_equal
from tfhub_ft.recipe import recipe_name
from tfhub_ft.run import Run
from tfhub_ft.tasks.base import Task, load_plugin
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


def export(
    run: str | Path | Run,
    *,
    output_dir: str | Path,
    formats: Sequence[str] = ("saved_model",),
    quantize: Sequence[str] | None = None,
    vocabulary: str = "all",
    warmup_rows: bool = False,
) -> Path:
    """Export a run and verify that each artifact reproduces its model's predictions. What `tfhub-ft export` does.

    The export folder has the layout of TF Serving: a SavedModel in `1/`, the next one in `2/`, and so on. TFLite files
    are in `tflite/`, ONNX files in `onnx/`, SavedModels with smaller weights in `bfloat16/1/` and `int8/1/`;
    export.json has the parity report of each artifact, README.md is the model card.

    Args:
        run: a finished run or its folder.
        output_dir: the export folder, such as saved_models/reviews; made where there is none.
        formats: "saved_model"; "tflite", from token ids on; "tflite_text", with the tokenizer in the file, for models
            that read one text; "onnx", from token ids on.
        quantize: the quantizations, each for the formats that take it: "none" (float32), which all formats take;
            "float16" (TFLite); "dynamic", weights in int8 (TFLite and ONNX); and "int8", activations too, calibrated
            with training rows (tflite). By default "none", and for TFLite "dynamic", too. For a run that writes
            replies, the weights of its SavedModel: "none", "bfloat16" and "int8"; by default "none".
        vocabulary: "all", or "domain": the words that the training rows need and some more, in every artifact of this
            export. Predictions must be the model's on 98% of the verification rows, and its score within a point.
        warmup_rows: warm a server up by rows of the run, which the export then holds, instead of made-up texts of the
            same lengths.

    Returns:
        The export folder.

    Raises:
        InputError: the run is not finished, the folder holds the exports of something else or another process exports
            into it, or the run cannot be exported to one of the formats.
        RunError: an artifact differs from the model; it is removed, and the others stay.

    Example:
        tfhub_ft.export("runs/reviews", output_dir="saved_models/reviews", formats=["saved_model", "tflite"])
    """
    export_artifacts(
        run,
        output_dir=output_dir,
        formats=formats,
        quantize=quantize,
        vocabulary=vocabulary,
        warmup_rows=warmup_rows,
    )
    return Path(output_dir)


def export_artifacts(
    run: str | Path | Run,
    *,
    output_dir: str | Path,
    formats: Sequence[str],
    quantize: Sequence[str] | None,
    vocabulary: str,
    warmup_rows: bool,
    on_artifact: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> None:
    """Export as `export` does, and call `on_artifact` with each entry of export.json as soon as it is written."""
    run = run if isinstance(run, Run) else Run(run)
    folder, formats = check_path("output_dir", output_dir), check_names("formats", formats)
    quantize = None if quantize is None else check_names("quantize", quantize)
    check_type("vocabulary", vocabulary, str, "all or domain")
    # Files and the served model are called by the name of the folder, which "." and ".." lack.
    folder = folder if folder.name not in ("", "..") else folder.resolve()
    wanted = _check_options(run, formats, quantize, vocabulary)
    check_folder(folder)
    in_use = f"--output-dir {folder}: is in use, another process exports into it; do it again later"
    with remove_if_empty(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, in_use):
            for each in (folder, *folder.glob("*/")):
                remove_stale_scratch(each)
            _export(run, folder, wanted, vocabulary, warmup_rows, on_artifact)


def _export(
    run: Run,
    folder: Path,
    wanted: dict[str, list[str]],
    vocabulary: str,
    warmup_rows: bool,
    on_artifact: Callable[[dict[str, Any]], None],
) -> None:
    exports = _existing_exports(folder, run)
    exports["columns"] = {
        name: column for name, column in run.settings.as_dict().items() if name.endswith("_column") and column
    }
    exports[DROPPED] = list(run.dropped_labels)
    # What is damaged is named before anything is converted.
    metrics, _ = run.metrics, run.warnings

    from tfhub_ft.exports.model_card import model_card
    from tfhub_ft.utils.memory import release_memory

    log(f"Loading {run.path}")
    context = _context_class(run.recipe.task)(run, run.load_model(), folder, warmup_rows=warmup_rows)
    trimmed = _trim(context) if vocabulary == "domain" else {}
    for name, quantizations in wanted.items():
        if check := context.formats[name].check_model:
            imported(check)(context, quantizations)
    steps = [(name, each) for name, quantizations in wanted.items() for each in quantizations]
    written, faults = False, []
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
            written = True
            on_artifact(entry)
    if written:
        write_text(folder / "README.md", model_card(context, metrics, exports["forms"]))
    if faults:
        raise RunError("; ".join(faults))


def export_artifact(context: ExportContext, name: str, quantization: str) -> dict[str, Any]:
    """Convert a model to one artifact and verify it.

    Args:
        context: the export.
        name: the format, one of `context.formats`.
        quantization: one of its quantizations.

    Returns:
        The artifact's entry in export.json.

    Raises:
        RunError: the model cannot be converted, or the artifact differs from it; nothing is kept.
    """
    format = context.formats[name]
    path = format.path(context.folder, quantization)
    # The process imports its runtime while the artifact is written.
    with IsolatedRuntime(imported(format.runtime)) as runtime, atomic_write(context.folder / path) as aside:
        # Converters cannot change what is expected, which is kept.
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
            inside = path.parent.as_posix().removeprefix(".")
            write_serving_files(context.folder, inside, most_rows=context.max_batch_size)
        return {**entry, "bytes": folder_bytes(aside), **report}


def _record(folder: Path, exports: dict[str, Any], entry: dict[str, Any]) -> None:
    """Add an artifact to export.json with its digests; one that cannot be added is removed."""
    entry["sha256"] = digests(folder / entry["path"])
    others = [each for each in exports["forms"] if each["path"] != entry["path"]]
    try:
        write_json(folder / EXPORTS, exports | {"forms": [*others, entry]})
    except RunError:
        remove(folder / entry["path"])
        raise
    exports["forms"] = [*others, entry]


@tensor_float_32(allowed=False)
def _trim(context: ExportContext) -> dict[str, Any]:
    """Omit words that the training rows do not need; return what export.json keeps of it."""
    from tfhub_ft.distillation.trimming import trimmed_model

    rows = context.rows
    if not rows.learned:
        raise InputError(f"--vocabulary domain needs all training rows; {rows.fault}; restore them")
    whole = context.reference
    context.model = trimmed_model(context.run, context.model, rows.learned)
    context.reference = trimmed = ReferencePredictions(context.run, context.model, rows)
    try:
        agreement = share_equal(trimmed.predictions, whole.predictions)
        report = compare_predictions(whole, agreement, trimmed.score, TRIMMED_VOCABULARY, len(rows.segments))
    except RunError as error:
        raise RunError(f"--vocabulary domain: {error}; export with the whole vocabulary") from None
    return {"vocabulary": {"words": len(context.model.get_layer("preprocessor").vocabulary), **report}}


def _check_options(
    run: Run, formats: Sequence[str], quantize: Sequence[str] | None, vocabulary: str
) -> dict[str, list[str]]:
    """Return the quantizations to make of each format.

    Raises:
        InputError: the run cannot be exported so.
    """
    kind = _context_class(run.recipe.task)
    quantizations = dict.fromkeys(each for format in kind.formats.values() for each in format.quantizations)
    for option, values, known in (("--format", formats, FORMATS), ("--quantize", quantize, quantizations)):
        unknown = next((each for each in values or () if each not in known), None)
        if unknown is not None or (values is not None and not values):
            raise InputError(f"{option} {unknown or ''}: expected one or more of {', '.join(known)}")
    for name in formats:
        if name not in kind.formats:
            raise InputError(
                f"--format {name}: the recipe {run.recipe.name} is exported as {', '.join(kind.formats)} only"
            )
    _check_quantizations(run, kind, formats, quantize)
    for name in formats:
        if check := kind.formats[name].check:
            imported(check)(run)
    kind.check(run, vocabulary)
    return {name: _quantizations(run, kind, name, quantize) for name in kind.formats if name in formats}


def _context_class(task: Task) -> type[ExportContext]:
    plugin = load_plugin(task)
    return plugin.export_context() if plugin else ExportContext


def _quantizations(run: Run, kind: type[ExportContext], name: str, quantize: Sequence[str] | None) -> list[str]:
    """Return the quantizations that a format is made in."""
    wanted = kind.formats[name].by_default if quantize is None else quantize
    return [each for each in kind.quantizations(run, name) if each in wanted]


def _check_quantizations(
    run: Run, kind: type[ExportContext], formats: Sequence[str], quantize: Sequence[str] | None
) -> None:
    """Raise an InputError where a format takes none of the quantizations, or none of the formats takes one."""
    if quantize is None:
        return
    made = {name: _quantizations(run, kind, name, quantize) for name in formats}
    takes = {name: " or ".join(map(repr, kind.quantizations(run, name))) for name in formats}
    for name, quantizations in made.items():
        if not quantizations:
            raise InputError(
                f"--quantize {','.join(quantize)}: {name} takes {takes[name]}; add one, or leave {name} out"
            )
    for each in quantize:
        if not any(each in quantizations for quantizations in made.values()):
            known = ", ".join(f"{name} takes {takes[name]}" for name in formats)
            raise InputError(f"--quantize {each}: {known}; leave {each} out, or add a format that takes it")
    for name, quantizations in made.items():
        skipped = [each for each in quantize if each not in quantizations]
        # Whoever asks for quantized files beside a SavedModel knows that it is float32.
        if skipped and name != "saved_model":
            log(f"Not made: {' and '.join(skipped)} of {name}, which takes {takes[name]}")


def _existing_exports(folder: Path, run: Run) -> dict[str, Any]:
    path, current = folder / EXPORTS, {"recipe": run.recipe.name, "labels": run.labels}
    check_folder(folder)
    if not path.is_file():
        # An export that failed may have left its configuration of TF Serving, which anybody may change.
        strangers = [name for name in contents(folder) if name not in (MODELS_CONFIG, BATCHING_CONFIG)]
        if strangers:
            raise InputError(f"--output-dir {folder} holds other things ({strangers[0]} ...) and no {EXPORTS}")
        return {**current, "forms": []}
    try:
        exports = read_exports(folder)
    except InputError as error:
        raise InputError(f"{error}; restore it, or name another folder") from None
    theirs = {"recipe": recipe_name(exports["recipe"]), "labels": exports["labels"]}
    if theirs != current:
        labels = f" with the labels {', '.join(theirs['labels'][:5])}" if theirs["labels"] else ""
        raise InputError(
            f"--output-dir {folder} holds exports of the recipe {theirs['recipe']}{labels}: name another folder"
        )
    return exports
