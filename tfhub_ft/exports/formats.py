"""The export formats, with their converters, runtimes and tolerances."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from tfhub_ft.export_folder import next_version


class ParityReport(TypedDict, total=False):
    """What export.json contains of a verification.

    `max_logit_difference` is a number, or one per signature. `agreement` is the share of equal predictions, None if
    predictions are numbers. `score` is {"name", "model", "form"}, None without a metric or labels. `latency_ms` is
    {"p50", "p95"} of one row without padding.
    """

    rows: int
    verified_on: dict[str, object]
    tolerance: float
    max_logit_difference: float | dict[str, float]
    labels_equal: bool
    agreement: float | None
    score: dict[str, str | float] | None
    latency_ms: dict[str, float]
    same_words: float


@dataclass(frozen=True)
class Tolerance:
    """How much an artifact may differ from the Keras model.

    Attributes:
        outputs: Maximum difference of logits; of other numbers, relative to the largest one if that is above 1. None
            to compare no outputs.
        texts: Minimum share of equal texts among the outputs.
        agreement: Minimum share of equal predictions. None to compare no predictions.
        score: Maximum loss of score; relative for a perplexity.
    """

    outputs: float | None = None
    texts: float = 1.0
    agreement: float | None = None
    score: float = 0.0


@dataclass(frozen=True)
class Format:
    """A format that runs are exported to. Functions and classes are dotted names, imported when they are used.

    Attributes:
        title: The name in the model card.
        converter: A function of an `ExportContext`, a quantization and a path. It writes an artifact to the path and
            returns further fields of its entry in export.json, or raises a RunError.
        runtime: The `Runtime` that runs the artifacts.
        signatures: The signatures to verify, if the model has them.
        quantizations: The available quantizations and their tolerances.
        by_default: The default quantizations.
        file: The path in the export folder, with {name}, {precision} and {suffix}; "" for SavedModels.
        check: A function of a run that raises an InputError if the run cannot be exported to this format.
        check_model: The same for an `ExportContext` and the quantizations, after the model is loaded.
    """

    title: str
    converter: str
    runtime: str
    signatures: tuple[str, ...]
    quantizations: Mapping[str, Tolerance]
    by_default: tuple[str, ...] = ("none",)
    file: str = ""
    check: str = ""
    check_model: str = ""

    def path(self, folder: Path, quantization: str) -> Path:
        """Return the path of the next artifact, relative to the export folder."""
        is_float32 = quantization == "none"
        if not self.file:
            subfolder = Path() if is_float32 else Path(quantization)
            return subfolder / str(next_version(folder / subfolder))
        precision, suffix = ("fp32", "") if is_float32 else (quantization, f"_{quantization}")
        return Path(self.file.format(name=folder.name, precision=precision, suffix=suffix))


_FILES = {
    "none": Tolerance(outputs=1e-4, agreement=0.99, score=0.005),
    "float16": Tolerance(agreement=0.99, score=0.005),
    "dynamic": Tolerance(agreement=0.98, score=0.01),
}

FORMATS = {
    "saved_model": Format(
        title="SavedModel",
        converter="tfhub_ft.exports.saved_model.convert_to_saved_model",
        runtime="tfhub_ft.inference.runtimes.saved_model.SavedModelRuntime",
        signatures=("serving_default", "tokens", "embed"),
        quantizations={"none": Tolerance(outputs=1e-4)},
    ),
    "tflite": Format(
        title="TFLite (reads tokens)",
        converter="tfhub_ft.exports.tflite.convert_to_tflite",
        runtime="tfhub_ft.inference.runtimes.tflite.TFLiteRuntime",
        signatures=("tokens",),
        quantizations={**_FILES, "int8": Tolerance(agreement=0.95, score=0.02)},
        by_default=("none", "dynamic"),
        file="tflite/{name}_{precision}.tflite",
        check="tfhub_ft.exports.tflite.check_tflite",
        check_model="tfhub_ft.exports.tflite.check_calibration",
    ),
    "tflite_text": Format(
        title="TFLite (reads text)",
        converter="tfhub_ft.exports.tflite.convert_to_tflite_text",
        runtime="tfhub_ft.inference.runtimes.tflite.TFLiteTextRuntime",
        signatures=("serving_default",),
        # Calibration cannot run a tokenizer.
        quantizations=_FILES,
        by_default=("none", "dynamic"),
        file="tflite/{name}_text_{precision}.tflite",
        check="tfhub_ft.exports.tflite.check_tflite_text",
        check_model="tfhub_ft.exports.tflite.check_vocabulary",
    ),
    "onnx": Format(
        title="ONNX (reads tokens)",
        converter="tfhub_ft.exports.onnx.convert_to_onnx",
        runtime="tfhub_ft.inference.runtimes.onnx.ONNXRuntime",
        signatures=("tokens",),
        quantizations={"none": Tolerance(outputs=1e-4), "dynamic": _FILES["dynamic"]},
        file="onnx/{name}{suffix}.onnx",
        check="tfhub_ft.exports.onnx.check_onnx_is_installed",
    ),
}
