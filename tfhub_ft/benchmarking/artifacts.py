"""The artifacts of an export folder, and the runtimes and models that run them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tfhub_ft.data.rows import Row
from tfhub_ft.export_folder import check_artifact, read_description, read_exports, read_tokenizer_vocabulary
from tfhub_ft.exports.formats import FORMATS
from tfhub_ft.inference.runtimes.base import Batch, Runtime, text_batch, token_batch
from tfhub_ft.inference.runtimes.model import RuntimeModel
from tfhub_ft.inference.runtimes.preprocessor import saved_preprocessor, tflite_preprocessor
from tfhub_ft.tasks.base import Task, described_task
from tfhub_ft.utils.console import command_line
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import folder_bytes
from tfhub_ft.utils.imports import imported

# From the least quantized on.
QUANTIZATIONS = ("none", "bfloat16", "float16", "dynamic", "int8")


@dataclass(frozen=True)
class Artifact:
    """An artifact of an export, called in one way.

    Args:
        format: "saved_model", "tflite", "tflite_text" or "onnx".
        path: its file, or the SavedModel's folder.
        quantization: "none", "bfloat16", "float16", "dynamic" or "int8".
        reads: "text", or "tokens" that are made elsewhere.
    """

    format: str
    path: Path
    quantization: str
    reads: str

    @property
    def runtime(self) -> type[Runtime]:
        """The class of its runtime."""
        return imported(FORMATS[self.format].runtime)

    @property
    def signature(self) -> str:
        """The signature that is called."""
        return "tokens" if self.reads == "tokens" else "serving_default"

    @property
    def bytes(self) -> int:
        """Its size on disk."""
        return folder_bytes(self.path)

    @cached_property
    def description(self) -> dict[str, Any]:
        """What it says of itself."""
        return read_description(self.path)


def find_artifacts(folder: Path) -> list[Artifact]:
    """Return the artifacts of an export folder, the least quantized first.

    Of SavedModels it is the newest of each quantization; from text, and from tokens on where it takes these.

    Raises:
        InputError: the folder is not an export, or an artifact is missing or was changed.
    """
    try:
        entries = read_exports(folder)["forms"]
    except InputError as error:
        raise InputError(f"{error}; tfhub-ft export RUN --output-dir DIR makes an export folder") from None
    # Of files there is one a quantization, of SavedModels one a version, the newest last.
    newest = {(QUANTIZATIONS.index(each.get("quantization", "none")), each["form"]): each for each in entries}
    artifacts = []
    order = [*FORMATS].index
    for quantization, format in sorted(newest, key=lambda key: (key[0], order(key[1]))):
        entry = newest[quantization, format]
        path, reads = folder / entry["path"], {"tflite_text": ("text",)}.get(format, ("tokens",))
        if format == "saved_model":
            reads = ("text", "tokens") if "tokens" in entry.get("outputs", ["tokens"]) else ("text",)
        if not path.exists():
            raise InputError(f"{path}: not found, but {folder}/export.json names it; export its run again")
        check_artifact(path)
        artifacts += [Artifact(format, path, QUANTIZATIONS[quantization], each) for each in reads]
    if not artifacts:
        export = command_line("tfhub-ft", "export", "RUN", "--output-dir", folder)
        raise InputError(f"{folder}/export.json names no artifact: {export} makes some")
    return artifacts


def task_of(artifact: Artifact) -> Task:
    """Return the task of a SavedModel or a TFLite file, with the fields that its rows are read by.

    Raises:
        InputError: it is a custom task, or none.
    """
    task = described_task(artifact.description, artifact.path)
    # Whatever the recipe calls its inputs, rows are read by the task's own names.
    object.__setattr__(task, "fields", tuple(column.name for column in task.columns(labeled=False)))
    return task


class Examples:
    """Rows as the artifacts of an export read them.

    Args:
        artifacts: the artifacts.
        task: their task.
        rows: the rows.
    """

    def __init__(self, artifacts: Sequence[Artifact], task: Task, rows: Sequence[Row]):
        self.artifacts, self.task, self.rows = artifacts, task, rows
        self.segments = [task.prediction_inputs(row) for row in rows]

    @cached_property
    def preprocessor(self) -> Any:
        """The layer that makes the tokens for the artifacts that read these.

        Raises:
            InputError: no artifact contains it.
        """
        for each in self.artifacts:
            if each.format == "saved_model" and "preprocessor" in each.description:
                return saved_preprocessor(each.path)
            if each.path.suffix == ".tflite" and read_tokenizer_vocabulary(each.path) is not None:
                return tflite_preprocessor(each.path)
        raise InputError(
            f"{self.artifacts[0].path}: no artifact beside it contains the tokenizer; export a SavedModel of the run"
            " into the same folder"
        )

    @cached_property
    def tokens(self) -> Any:
        """The rows as the task's scores take them; None where the task lacks a score."""
        if not self.task.primary_metric:
            return None
        return self.task.encode(self.preprocessor, [self.task.training_inputs(row) for row in self.rows])

    def batch(self, artifact: Artifact, rows: Sequence[tuple[str, ...]]) -> Batch:
        """Return rows of segments as an artifact reads them."""
        if artifact.reads == "tokens":
            return token_batch(self.preprocessor, rows)
        return text_batch(artifact.description["inputs"], rows)

    def model(self, artifact: Artifact, runtime: Runtime) -> RuntimeModel:
        """Return an artifact with the interface of a trained model."""
        reads_texts = artifact.reads == "text"
        return RuntimeModel(
            runtime, self.task, artifact.description, lambda: self.preprocessor, reads_texts=reads_texts
        )
