"""Exporting a run: forms of its model, each proven, or not there."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.labels import DROPPED
from tfhub_ft.export_folder import EXPORTS, digests, read_exports
from tfhub_ft.exports.serving.config import BATCHING_CONFIG, MODELS_CONFIG
from tfhub_ft.language_models.task import Dialogue
from tfhub_ft.run import Run
from tfhub_ft.utils.arguments import check_names, check_path, check_type
from tfhub_ft.utils.console import command_line, log, progress
from tfhub_ft.utils.devices import tensor_float_32
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import (
    check_folder,
    contents,
    locked,
    not_left_empty,
    remove,
    remove_remains,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from tfhub_ft.exports.context import ExportContext

# Of a model that writes replies: float32, or less.
WEIGHTS = ("none", "bfloat16", "int8")
# The quantizations that each format takes.
FORMATS = {
    "saved_model": ("none",),
    "tflite": ("none", "float16", "dynamic", "int8"),
    # Its calibration cannot run a tokenizer.
    "tflite_text": ("none", "float16", "dynamic"),
    "onnx": ("none", "dynamic"),
}
BY_DEFAULT = {"tflite": ("none", "dynamic"), "tflite_text": ("none", "dynamic")}


def export(
    run: str | Path | Run,
    *,
    output_dir: str | Path,
    formats: Sequence[str] = ("saved_model",),
    quantize: Sequence[str] | None = None,
    vocabulary: str = "all",
    warmup_rows: bool = False,
) -> Path:
    """Export a run and prove that each form answers as the run's model does. What `tfhub-ft export` does.

    The export folder is laid out as TF Serving wants it: a SavedModel in `1/`, the next one in `2/`, and so on. TFLite
    files stand in `tflite/`, an ONNX file in `onnx/`, SavedModels with smaller weights in `bfloat16/1/` and `int8/1/`;
    export.json tells what was proven of each form, README.md is the model card.

    Args:
        run: a finished run or its folder.
        output_dir: the export folder, such as saved_models/reviews; made where there is none.
        formats: "saved_model"; "tflite", from token ids on; "tflite_text", with the tokenizer in the file, for models
            that read one text; "onnx", from token ids on.
        quantize: the quantizations, each for the formats that take it: "none" (float32), which all formats take;
            "float16" (TFLite); "dynamic", weights in int8 (TFLite and ONNX); and "int8", activations too, calibrated
            with training rows (tflite). By default "none", and for TFLite "dynamic", too. For a run that writes
            replies, the weights of its SavedModel: "none", "bfloat16" and "int8"; by default "none".
        vocabulary: "all", or "domain": the words that the training rows need and some more, in every form of this
            export. Their answers must be the model's on 98% of the rows of the proof, and its score within a point.
        warmup_rows: warm a server up by rows of the run, which the export then holds, instead of made-up texts of the
            same lengths.

    Returns:
        The export folder.

    Raises:
        InputError: the run is not finished, the folder holds the exports of something else or another process exports
            into it, or the run cannot have one of the forms.
        RunError: a form answers differently from the model; of that one nothing is left behind.

    Example:
        tfhub_ft.export("runs/reviews", output_dir="saved_models/reviews", formats=["saved_model", "tflite"])
    """
    export_forms(
        run,
        output_dir=output_dir,
        formats=formats,
        quantize=quantize,
        vocabulary=vocabulary,
        warmup_rows=warmup_rows,
    )
    return Path(output_dir)


def export_forms(
    run: str | Path | Run,
    *,
    output_dir: str | Path,
    formats: Sequence[str],
    quantize: Sequence[str] | None,
    vocabulary: str,
    warmup_rows: bool,
    on_form: Callable[[dict[str, Any]], None] = lambda form: None,
) -> None:
    """The same as `export`; `on_form` takes what export.json says of each form as soon as it is written."""
    run = run if isinstance(run, Run) else Run(run)
    folder, formats = check_path("output_dir", output_dir), check_names("formats", formats)
    quantize = None if quantize is None else check_names("quantize", quantize)
    check_type("vocabulary", vocabulary, str, "all or domain")
    # Files and the served model are called by the name of the folder, which "." and ".." lack.
    folder = folder if folder.name not in ("", "..") else folder.resolve()
    _check_wanted(run, formats, quantize, vocabulary)
    check_folder(folder)
    with _exporting_into(folder):
        _export(run, folder, formats, quantize, vocabulary, warmup_rows, on_form)


@contextlib.contextmanager
def _exporting_into(folder: Path) -> Iterator[None]:
    """Within this context no other process exports into the folder, which is made, and removed if it stays empty.

    Raises:
        InputError: one does.
    """
    with not_left_empty(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, f"--output-dir {folder}: is in use, another process exports into it; do it again later"):
            for each in (folder, *folder.glob("*/")):
                remove_remains(each)
            yield


def _export(
    run: Run,
    folder: Path,
    formats: Sequence[str],
    quantize: Sequence[str] | None,
    vocabulary: str,
    warmup_rows: bool,
    on_form: Callable[[dict[str, Any]], None],
) -> None:
    exports = _existing_exports(folder, run)
    exports["columns"] = {
        name: column for name, column in run.settings.as_dict().items() if name.endswith("_column") and column
    }
    exports[DROPPED] = list(run.dropped_labels)
    # What is damaged is named before anything is converted.
    metrics, _ = run.metrics, run.warnings

    from tfhub_ft.exports.context import ExportContext
    from tfhub_ft.exports.model_card import model_card
    from tfhub_ft.language_models.export import DialogueExportContext
    from tfhub_ft.utils.memory import give_back_memory

    log(f"Loading {run.path}")
    kind = DialogueExportContext if isinstance(run.recipe.task, Dialogue) else ExportContext
    work = kind(run, run.load_model(), folder, warmup_rows=warmup_rows)
    words = _trim(work) if vocabulary == "domain" else {}
    written, faults, steps = False, [], _steps(work, formats, quantize)
    with progress("Making and proving each form", len(steps), "forms") as advance, tensor_float_32(allowed=False):
        for make in steps:
            try:
                form = make() | words
                form["written"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
                _record(folder, exports, form)
            except RunError as error:
                faults.append(str(error))
                continue
            finally:
                give_back_memory()
                advance(1)
            written = True
            on_form(form)
    if written:
        write_text(folder / "README.md", model_card(run, metrics, folder, exports["forms"], work.example_feeds))
    if faults:
        raise RunError("; ".join(faults))


def _record(folder: Path, exports: dict[str, Any], form: dict[str, Any]) -> None:
    """Name a form in export.json with its digests; one that cannot be named there is not left behind."""
    form["sha256"] = digests(folder / form["path"])
    others = [each for each in exports["forms"] if each["path"] != form["path"]]
    try:
        write_json(folder / EXPORTS, exports | {"forms": [*others, form]})
    except RunError:
        remove(folder / form["path"])
        raise
    exports["forms"] = [*others, form]


@tensor_float_32(allowed=False)
def _trim(work: "ExportContext") -> dict[str, Any]:
    """Leave out words that the training rows do not need; what export.json says of it."""
    from tfhub_ft.distillation.trimming import trimmed_model
    from tfhub_ft.exports.tflite_verify import KerasAnswers

    if not work.rows.learnt:
        raise InputError(f"--vocabulary domain needs all training rows; {work.rows.fault}; restore them")
    whole = KerasAnswers(work.run, work.model, work.rows)
    work.model = trimmed_model(work.run, work.model, work.rows.learnt)
    trimmed = KerasAnswers(work.run, work.model, work.rows)
    try:
        kept = whole.check("dynamic", trimmed.decisions, trimmed.score)
    except RunError as error:
        raise RunError(f"--vocabulary domain: {error}; export with the whole vocabulary") from None
    words = len(work.model.get_layer("preprocessor").vocabulary)
    return {"vocabulary": {"words": words, **kept}}


def _check_wanted(run: Run, formats: Sequence[str], quantize: Sequence[str] | None, vocabulary: str) -> None:
    from tfhub_ft.exports.tflite import QUANTIZATIONS
    from tfhub_ft.language_models.export import check_dialogue_forms
    from tfhub_ft.tasks.windowed import WindowedTask

    task = run.recipe.task
    quantizations = WEIGHTS if isinstance(task, Dialogue) else QUANTIZATIONS
    for option, wanted, known in (("--format", formats, FORMATS), ("--quantize", quantize, quantizations)):
        unknown = next((each for each in wanted or () if each not in known), None)
        if unknown is not None or (wanted is not None and not wanted):
            raise InputError(f"{option} {unknown or ''}: expected one or more of {', '.join(known)}")
    if isinstance(task, Dialogue):
        check_dialogue_forms(run, formats, vocabulary)
        return
    _check_quantizations(run, formats, quantize)
    if task.name == "masked_words" and any(each.startswith("tflite") for each in formats):
        raise InputError(
            f"--format tflite: {run.path} is an encoder; train a recipe with --encoder {command_line(run.path)} first"
        )
    if "tflite_text" in formats and (len(task.fields) > 1 or isinstance(task, WindowedTask)):
        what = "two texts" if len(task.fields) > 1 else "long texts in windows"
        raise InputError(f"--format tflite_text: the recipe {run.recipe.name} reads {what}; use tflite, from tokens on")
    if "onnx" in formats:
        from tfhub_ft.exports.onnx import check_onnx_is_installed

        check_onnx_is_installed()
    if vocabulary == "domain":
        from tfhub_ft.distillation.trimming import check_trimmable

        check_trimmable(run)
    elif vocabulary != "all":
        raise InputError(f"--vocabulary {vocabulary}: there are all, domain")


def _quantizations(run: Run, format: str, quantize: Sequence[str] | None) -> list[str]:
    """The quantizations that a format is made in."""
    takes = FORMATS[format]
    if format == "onnx" and not run.recipe.task.primary_metric:
        # Its file tells the best of many by number: there is nothing to hold int8 weights to.
        takes = ("none",)
    return [each for each in (BY_DEFAULT.get(format, ("none",)) if quantize is None else quantize) if each in takes]


def _check_quantizations(run: Run, formats: Sequence[str], quantize: Sequence[str] | None) -> None:
    """Raise an InputError where a format takes none of the quantizations, or none of the formats takes one."""
    if quantize is None:
        return
    made = {format: _quantizations(run, format, quantize) for format in formats}
    takes = {format: " or ".join(map(repr, _quantizations(run, format, FORMATS["tflite"]))) for format in formats}
    for format, quantizations in made.items():
        if not quantizations:
            raise InputError(
                f"--quantize {','.join(quantize)}: {format} takes {takes[format]}; add one, or leave {format} out"
            )
    for each in quantize:
        if not any(each in quantizations for quantizations in made.values()):
            known = ", ".join(f"{format} takes {takes[format]}" for format in formats)
            raise InputError(f"--quantize {each}: {known}; leave {each} out, or add a format that takes it")
    for format, quantizations in made.items():
        left_out = [each for each in quantize if each not in quantizations]
        # Whoever asks for quantized files beside a SavedModel knows that it is float32.
        if left_out and format != "saved_model":
            log(f"Not made: {' and '.join(left_out)} of {format}, which takes {takes[format]}")


def _steps(
    work: "ExportContext", formats: Sequence[str], quantize: Sequence[str] | None
) -> list[Callable[[], dict[str, Any]]]:
    """What makes and verifies each wanted form."""
    from tfhub_ft.exports.onnx import export_onnx
    from tfhub_ft.exports.saved_model import export_saved_model
    from tfhub_ft.exports.tflite_export import LiteExport
    from tfhub_ft.language_models.export import DialogueExportContext, export_dialogue

    if isinstance(work, DialogueExportContext):
        return [partial(export_dialogue, work, each) for each in WEIGHTS if each in (quantize or ("none",))]
    made = {each: _quantizations(work.run, each, quantize) for each in FORMATS if each in formats}
    steps = [partial(export_saved_model, work)] if "saved_model" in formats else []
    if lite := {form: quantizations for form, quantizations in made.items() if form.startswith("tflite")}:
        export_lite = LiteExport(work, lite)
        steps += [partial(export_lite, form, each) for form, quantizations in lite.items() for each in quantizations]
    return steps + [partial(export_onnx, work, each) for each in made.get("onnx", ())]


def _existing_exports(folder: Path, run: Run) -> dict[str, Any]:
    path, own = folder / EXPORTS, {"recipe": run.recipe.name, "labels": run.labels}
    check_folder(folder)
    if not path.is_file():
        # An export that failed may have left its configuration of TF Serving, which anybody may change.
        strangers = [name for name in contents(folder) if name not in (MODELS_CONFIG, BATCHING_CONFIG)]
        if strangers:
            raise InputError(f"--output-dir {folder} holds other things ({strangers[0]} ...) and no {EXPORTS}")
        return {**own, "forms": []}
    try:
        exports = read_exports(folder)
    except InputError as error:
        raise InputError(f"{error}; restore it, or name another folder") from None
    theirs = {"recipe": exports["recipe"], "labels": exports["labels"]}
    if theirs != own:
        labels = f" with the labels {', '.join(theirs['labels'][:5])}" if theirs["labels"] else ""
        raise InputError(
            f"--output-dir {folder} holds exports of the recipe {theirs['recipe']}{labels}: name another folder"
        )
    return exports
