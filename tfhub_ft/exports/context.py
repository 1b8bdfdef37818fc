"""The context of an export: the run, its model, the folder, and what the model predicts for the run's rows."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tfhub_ft.data.kept_rows import LEAST_ROWS
from tfhub_ft.exports.formats import FORMATS, Format
from tfhub_ft.exports.verification_examples import VerificationExamples, verification_examples
from tfhub_ft.inference.batching import make_predict_fn
from tfhub_ft.inference.runtimes.base import Batch, text_batch, token_batch
from tfhub_ft.inference.runtimes.isolated import TIMED
from tfhub_ft.inference.runtimes.keras import KerasRuntime, embedding_model
from tfhub_ft.inference.runtimes.model import RuntimeModel, output_logits, tflite_outputs
from tfhub_ft.metrics.scores import share_equal
from tfhub_ft.run import Run
from tfhub_ft.tasks.base import decisions
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras

    from tfhub_ft.inference.runtimes.base import Runtime

BATCH = 32
EXAMPLE = "This is an example. "


def placeholder(text: str) -> str:
    """Return a text of the same length that reveals nothing of the user's rows."""
    return (EXAMPLE * (len(text) // len(EXAMPLE) + 1))[: len(text)].strip()


class ExportContext:
    """An export in progress. Subclasses export tasks whose artifacts are converted and verified in other ways.

    Args:
        run: the run.
        model: its text-in model.
        folder: the export folder.
        warmup_rows: whether the requests that warm a server up hold rows of the run instead of placeholders.

    Attributes:
        formats: the formats that runs are exported to.
        card_values: a function that returns what the model card says of this kind of model.
        max_batch_size: of TF Serving.
        timed_rows: how many rows are timed.
    """

    formats: ClassVar[Mapping[str, Format]] = FORMATS
    card_values: ClassVar[str] = "tfhub_ft.exports.model_card.classifier_values"
    max_batch_size: ClassVar[int] = 128
    timed_rows: ClassVar[int] = TIMED

    def __init__(self, run: Run, model: "keras.Model", folder: Path, *, warmup_rows: bool = False):
        self.run, self.model, self.folder, self.task = run, model, folder, run.recipe.task
        self.warmup_rows = warmup_rows

    @classmethod
    def check(cls, run: Run, vocabulary: str) -> None:
        """Raise an InputError where runs of this kind cannot have the vocabulary."""
        if vocabulary == "domain":
            from tfhub_ft.distillation.trimming import check_trimmable

            check_trimmable(run)
        elif vocabulary != "all":
            raise InputError(f"--vocabulary {vocabulary}: expected all or domain")

    @classmethod
    def quantizations(cls, run: Run, format: str) -> tuple[str, ...]:
        """Return the quantizations that a format of a run takes."""
        if format == "onnx" and not run.recipe.task.primary_metric:
            # Its file outputs the best of many by number: nothing could be compared of int8 weights.
            return ("none",)
        return tuple(cls.formats[format].quantizations)

    @cached_property
    def rows(self) -> VerificationExamples:
        """Validation rows, and training rows."""
        return verification_examples(self.run)

    @cached_property
    def reference(self) -> "ReferencePredictions":
        """What the model predicts for these rows, and its score on them."""
        return ReferencePredictions(self.run, self.model, self.rows)

    @cached_property
    def keras_runtime(self) -> KerasRuntime:
        """The model with the signatures of its SavedModel."""
        return KerasRuntime(self.model, self.task, self.run.labels, self.run.thresholds)

    @cached_property
    def feeds(self) -> dict[str, list[Batch]]:
        """Batches of rows to verify with, as each signature of a SavedModel takes them: validation rows first."""
        return self._feeds(self.rows.segments[:LEAST_ROWS])

    @cached_property
    def example_feeds(self) -> dict[str, list[Batch]]:
        """One placeholder row, as each signature takes it."""
        return self._feeds([[EXAMPLE.strip() for _ in self.model.inputs]])

    @cached_property
    def warmup_feeds(self) -> dict[str, Batch]:
        """A batch for each signature, which warms a server up."""
        rows = self.run.sample[:BATCH]
        if not self.warmup_rows:
            rows = [[placeholder(text) for text in row] for row in rows]
        return {name: batches[0] for name, batches in self._feeds(rows).items()}

    def _feeds(self, rows: Sequence[Sequence[str]]) -> dict[str, list[Batch]]:
        names = [tensor.name for tensor in self.model.inputs]
        parts = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        preprocessor = self.model.get_layer("preprocessor")
        feeds = {
            "serving_default": [text_batch(names, part) for part in parts],
            "tokens": [token_batch(preprocessor, part) for part in parts],
        }
        if embedding_model(self.model):
            feeds["embed"] = [{"text": texts[names[0]]} for texts in feeds["serving_default"]]
        return feeds

    def batches(self, format: str, quantization: str) -> dict[str, list[Batch]]:
        """Return the batches that an artifact is verified with, by signature."""
        return {name: self.feeds[name] for name in self.formats[format].signatures if name in self.feeds}

    def expected(self, format: str, quantization: str, runtime: "Runtime") -> dict[str, list[Batch]]:
        """Return what a runtime is expected to output for these batches."""
        names = self.batches(format, quantization)
        if runtime.outputs_only_logits:
            return dict.fromkeys(names, self._expected_logits)
        return {name: self._expected_outputs[name] for name in names}

    @cached_property
    def _token_logits(self) -> list[Any]:
        return [self.keras_runtime.token_logits(batch) for batch in self.feeds["tokens"]]

    @cached_property
    def _expected_logits(self) -> list[Batch]:
        outputs = [tflite_outputs(self.task, logits) for logits in self._token_logits]
        arrays = ({name: np.asarray(output) for name, output in each.items()} for each in outputs)
        return [{"logits": output_logits(each, self.task)} for each in arrays]

    @cached_property
    def _expected_outputs(self) -> dict[str, list[Batch]]:
        served = {"tokens": [self.keras_runtime.served(logits) for logits in self._token_logits]}
        return served | {
            name: [self.keras_runtime(batch, name) for batch in batches]
            for name, batches in self.feeds.items()
            if name != "tokens"
        }

    def evaluate(
        self, runtime: "Runtime", format: str, outputs: Mapping[str, Sequence[Batch]]
    ) -> tuple[int, float | None, float | None]:
        """Predict and score with an artifact.

        Args:
            runtime: the artifact.
            format: its format.
            outputs: what it output for `batches`.

        Returns:
            How many rows were predicted, the share of equal predictions, and their score; None where there is none.
        """
        reference, preprocessor = self.reference, self.model.get_layer("preprocessor")
        model = RuntimeModel(
            runtime,
            self.task,
            {"labels": self.run.labels, "decision": self.run.thresholds, "inputs": self.task.fields},
            lambda: preprocessor,
            reads_texts="tokens" not in self.formats[format].signatures,
        )
        tokens = None if reference.score is None else reference.tokens
        predictions, logits = model.predict_and_score(self.rows.segments, tokens)
        score = None if logits is None else reference.score_of(logits)
        predicted = decisions(self.task, predictions, self.run.labels)
        return len(self.rows.segments), share_equal(predicted, reference.predictions), score

    def completed(self, report: dict[str, Any], outputs: Mapping[str, Sequence[Batch]]) -> dict[str, Any]:
        """Return the report of a verification with what only this kind of export has."""
        return report


class ReferencePredictions:
    """What a run's model predicts for rows of its own, computed once for all artifacts.

    Args:
        run: the run.
        model: its model.
        rows: the rows.
    """

    def __init__(self, run: Run, model: "keras.Model", rows: VerificationExamples):
        self.model, self.rows, self.task = model, rows, run.recipe.task
        self.labels, self.decision, self.score_name = run.labels, run.thresholds, run.recipe.task.primary_metric

    @cached_property
    def predictions(self) -> list[Any]:
        """What of the predictions is right or wrong."""
        predict = make_predict_fn(self.task, self.model, self.labels, self.decision)
        return decisions(self.task, predict(self.rows.segments), self.labels)

    @cached_property
    def tokens(self) -> Any:
        """The rows as the task's scores take them."""
        return self.task.encode(self.model.get_layer("preprocessor"), self.rows.inputs)

    @cached_property
    def score(self) -> float | None:
        """The score to keep; None without a metric or labels."""
        if not self.score_name or not len(self.rows.inputs):
            return None
        return self.score_of(self.task.make_score_fn(self.model)(self.tokens))

    def score_of(self, logits: Any) -> float | None:
        """Return the score of logits of the rows."""
        return self.task.metrics(logits, self.rows.targets, self.labels, self.decision)[self.score_name]
