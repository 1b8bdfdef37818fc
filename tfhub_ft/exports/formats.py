"""The formats of exports: a converter and a runtime each, by dotted names that are imported when they are used."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tfhub_ft.export_folder import next_version


@dataclass(frozen=True)
class Tolerance:
    """How much an artifact may differ from the Keras model.

    Args:
        outputs: the largest difference of logits, and of other numbers as a share of the largest of them, where that is
            above one; None where outputs may be any.
        texts: the smallest share of equal texts among the outputs.
        agreement: the smallest share of equal predictions; None where predictions are not compared.
        score: the most that the score may become worse; of a perplexity as a share.
    """

    outputs: float | None = None
    texts: float = 1.0
    agreement: float | None = None
    score: float = 0.0


@dataclass(frozen=True)
class Format:
    """A format that runs are exported to.

    Args:
        title: its name in the model card.
        converter: a function of an `ExportContext`, a quantization and a path that writes an artifact to the path and
            returns what else export.json keeps of it; it raises a RunError where the model cannot be converted.
        runtime: the `Runtime` that runs its artifacts.
        signatures: the signatures that are verified, those that the model has.
        quantizations: the quantizations that it takes, with their tolerances.
        by_default: those that are made by default.
        file: the path in the export folder, with {name}, {precision} and {suffix}; "" for a SavedModel's versions.
        check: a function of a run that raises an InputError where the run cannot be exported to this format.
        check_model: the same, a function of an `ExportContext` and the quantizations, once the model is loaded.
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
        """Return the path of the next artifact of an export folder, relative to it."""
        is_float32 = quantization == "none"
        if not self.file:
            inside = Path() if is_float32 else Path(quantization)
            return inside / str(next_version(folder / inside))
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
        title="TFLite, from tokens on",
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
        title="TFLite, from text on",
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
        title="ONNX, from tokens on",
        converter="tfhub_ft.exports.onnx.convert_to_onnx",
        runtime="tfhub_ft.inference.runtimes.onnx.ONNXRuntime",
        signatures=("tokens",),
        quantizations={"none": Tolerance(outputs=1e-4), "dynamic": _FILES["dynamic"]},
        file="onnx/{name}{suffix}.onnx",
        check="tfhub_ft.exports.onnx.check_onnx_is_installed",
    ),
}
