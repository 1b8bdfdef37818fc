"""Find the artifacts of an export folder, and prepare rows for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.data.rows import Row
from tfhub_ft.export_folder import (
    Description,
    check_artifact,
    read_description,
    read_exports,
    read_tokenizer_vocabulary,
)
from tfhub_ft.exports.formats import FORMATS
from tfhub_ft.inference.batching import Segments
from tfhub_ft.inference.runtimes.base import Batch, Runtime, text_batch, token_batch
from tfhub_ft.inference.runtimes.model import RuntimeModel
from tfhub_ft.inference.runtimes.preprocessor import saved_preprocessor, tflite_preprocessor
from tfhub_ft.tasks.base import Task, described_task
from tfhub_ft.utils.console import command_line
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import folder_bytes
from tfhub_ft.utils.imports import imported

if TYPE_CHECKING:
    from tfhub_ft.data.batches import TokenRows
    from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor

# From the least to the most quantized.
QUANTIZATIONS = ("none", "bfloat16", "float16", "dynamic", "int8")


@dataclass(frozen=True)
class Artifact:
    """An artifact of an export, called with "text" or with "tokens"."""

    format: str
    path: Path
    quantization: str
    reads: str

    @property
    def runtime_class(self) -> type[Runtime]:
        """The class of its runtime."""
        return imported(FORMATS[self.format].runtime)

    @property
    def signature(self) -> str:
        """The signature to call."""
        return "tokens" if self.reads == "tokens" else "serving_default"

    @property
    def bytes(self) -> int:
        """Its size on disk."""
        return folder_bytes(self.path)

    @cached_property
    def description(self) -> Description:
        """The description that it contains."""
        return read_description(self.path)


def find_artifacts(folder: Path) -> list[Artifact]:
    """Return the artifacts of an export folder, the least quantized first; of SavedModels only the newest.

    Raises:
        InputError: The folder is not an export, or an artifact is missing or was changed.
    """
    try:
        entries = read_exports(folder)["forms"]
    except InputError as error:
        raise InputError(f"{error}; tfhub-ft export RUN --output-dir DIR writes an export folder") from None
    # The last entry of a SavedModel is the newest.
    newest = {(QUANTIZATIONS.index(each.get("quantization", "none")), each["form"]): each for each in entries}
    artifacts = []
    order = [*FORMATS].index
    for quantization, format in sorted(newest, key=lambda key: (key[0], order(key[1]))):
        entry = newest[quantization, format]
        path, reads = folder / entry["path"], ("text",) if format == "tflite_text" else ("tokens",)
        if format == "saved_model":
            reads = ("text", "tokens") if "tokens" in entry.get("outputs", ["tokens"]) else ("text",)
        if not path.exists():
            raise InputError(f"{path}: not found, but {folder}/export.json names it; export its run again")
        check_artifact(path)
        artifacts += [Artifact(format, path, QUANTIZATIONS[quantization], each) for each in reads]
    if not artifacts:
        export = command_line("tfhub-ft", "export", "RUN", "--output-dir", folder)
        raise InputError(f"{folder}/export.json: names no artifacts; write some with {export}")
    return artifacts


def task_of(artifact: Artifact) -> Task:
    """Return the task of a SavedModel or a TFLite file, which reads rows by the task's own column names."""
    task = described_task(artifact.description, artifact.path)
    object.__setattr__(task, "fields", tuple(column.name for column in task.columns(labeled=False)))
    return task


class Examples:
    """Rows for the artifacts of an export."""

    def __init__(self, artifacts: Sequence[Artifact], task: Task, rows: Sequence[Row]):
        self.artifacts, self.task, self.rows = artifacts, task, rows
        self.segments = [task.prediction_inputs(row) for row in rows]

    @cached_property
    def preprocessor(self) -> "HubPreprocessor":
        """The layer that tokenizes texts for artifacts that read tokens."""
        for artifact in self.artifacts:
            if artifact.format == "saved_model" and "preprocessor" in artifact.description:
                return saved_preprocessor(artifact.path)
            if artifact.path.suffix == ".tflite" and read_tokenizer_vocabulary(artifact.path) is not None:
                return tflite_preprocessor(artifact.path)
        raise InputError(
            f"{self.artifacts[0].path}: no artifact of this export contains a tokenizer; export a SavedModel of the run"
            " into the same folder"
        )

    @cached_property
    def tokens(self) -> "TokenRows | None":
        """The rows as `Task.encode` returns them; None without a primary metric."""
        if not self.task.primary_metric:
            return None
        return self.task.encode(self.preprocessor, [self.task.training_inputs(row) for row in self.rows])

    def batch(self, artifact: Artifact, rows: Sequence[Segments]) -> Batch:
        """Return rows of segments as an artifact reads them."""
        if artifact.reads == "tokens":
            return token_batch(self.preprocessor, rows)
        return text_batch(artifact.description["inputs"], rows)

    def model(self, artifact: Artifact, runtime: Runtime) -> RuntimeModel:
        """Return an artifact with the interface of a Keras model."""
        reads_texts = artifact.reads == "text"
        return RuntimeModel(
            runtime, self.task, artifact.description, lambda: self.preprocessor, reads_texts=reads_texts
        )
