"""The context of an export: the run, its model, and what the model predicts for the verification rows."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tfhub_ft.data.kept_rows import LEAST_ROWS
from tfhub_ft.exports.formats import FORMATS, Format, ParityReport
from tfhub_ft.exports.verification_examples import VerificationExamples, verification_examples
from tfhub_ft.inference.batching import make_predict_fn
from tfhub_ft.inference.runtimes.base import Batch, text_batch, to_arrays, token_batch
from tfhub_ft.inference.runtimes.isolated import TIMED
from tfhub_ft.inference.runtimes.keras import KerasRuntime, embedding_model
from tfhub_ft.inference.runtimes.model import RuntimeModel, output_logits, tflite_outputs
from tfhub_ft.run import Run
from tfhub_ft.tasks.base import decisions, share_equal
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfhub_ft.data.batches import TokenRows
    from tfhub_ft.inference.runtimes.base import Runtime

BATCH = 32
EXAMPLE = "This is an example. "


class ExportContext:
    """An export in progress. Subclasses export tasks whose artifacts are converted and verified in other ways.

    Attributes:
        formats: The available formats.
        card_values: A function that returns the values of the model card for this kind of model.
        max_batch_size: Maximum batch size of TF Serving.
        timed_rows: Maximum number of rows to time.
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
        """Raise an InputError if a run cannot be exported with the option --vocabulary."""
        if vocabulary == "domain":
            from tfhub_ft.distillation.trimming import check_trimmable

            check_trimmable(run)
        elif vocabulary != "all":
            raise InputError(f"--vocabulary {vocabulary}: expected all or domain")

    @classmethod
    def quantizations(cls, run: Run, format: str) -> tuple[str, ...]:
        """Return the quantizations that are available for a format of a run."""
        if format == "onnx" and not run.recipe.task.primary_metric:
            # Such a file outputs only token ids, so that quantized weights could not be verified.
            return ("none",)
        return tuple(cls.formats[format].quantizations)

    @cached_property
    def rows(self) -> VerificationExamples:
        """The verification rows."""
        return verification_examples(self.run)

    @cached_property
    def reference(self) -> "ReferencePredictions":
        """The predictions and the score of the Keras model on the verification rows."""
        return ReferencePredictions(self.run, self.model, self.rows)

    @cached_property
    def keras_runtime(self) -> KerasRuntime:
        """The Keras model with the signatures of its SavedModel."""
        return KerasRuntime(self.model, self.task, self.run.labels, self.run.thresholds)

    @cached_property
    def feeds(self) -> dict[str, list[Batch]]:
        """Batches of verification rows, the longest one included, for each signature of a SavedModel."""
        rows = list(self.rows.segments[:LEAST_ROWS])
        longest = max(self.rows.segments, key=lambda row: sum(map(len, row)))
        return self._feeds(rows if longest in rows else [*rows[:-1], longest])

    @cached_property
    def example_feeds(self) -> dict[str, list[Batch]]:
        """One placeholder row for each signature."""
        return self._feeds([[EXAMPLE.strip() for _ in self.model.inputs]])

    @cached_property
    def warmup_feeds(self) -> dict[str, Batch]:
        """A batch for each signature that warms up a server; placeholders have the length of the run's texts."""

        def placeholder(text: str) -> str:
            return (EXAMPLE * (len(text) // len(EXAMPLE) + 1))[: len(text)].strip()

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
        """Return the batches that verify an artifact, by signature."""
        return {name: self.feeds[name] for name in self.formats[format].signatures if name in self.feeds}

    def expected(self, format: str, quantization: str, runtime: "Runtime") -> dict[str, list[Batch]]:
        """Return the outputs of the Keras model for these batches, as the runtime returns them."""
        names = self.batches(format, quantization)
        if runtime.outputs_only_logits:
            return dict.fromkeys(names, self._expected_logits)
        return {name: self._expected_outputs[name] for name in names}

    @cached_property
    def _token_logits(self) -> "list[tf.Tensor]":
        return [self.keras_runtime.token_logits(batch) for batch in self.feeds["tokens"]]

    @cached_property
    def _expected_logits(self) -> list[Batch]:
        outputs = (to_arrays(tflite_outputs(self.task, logits)) for logits in self._token_logits)
        return [{"logits": output_logits(arrays, self.task)} for arrays in outputs]

    @cached_property
    def _expected_outputs(self) -> dict[str, list[Batch]]:
        outputs = {"tokens": [self.keras_runtime.serving_outputs(logits) for logits in self._token_logits]}
        return outputs | {
            name: [self.keras_runtime(batch, name) for batch in batches]
            for name, batches in self.feeds.items()
            if name != "tokens"
        }

    def evaluate(
        self, runtime: "Runtime", format: str, outputs: Mapping[str, Sequence[Batch]]
    ) -> tuple[int, float | None, float | None]:
        """Return how many rows an artifact predicts, the share of equal predictions, and their score."""
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
        predicted = decisions(self.task, predictions or [], self.run.labels)
        return len(self.rows.segments), share_equal(predicted, reference.predictions), score

    def finish_report(self, report: ParityReport, outputs: Mapping[str, Sequence[Batch]]) -> ParityReport:
        """Return the report of a verification with what only this kind of export has."""
        return report


class ReferencePredictions:
    """The predictions of a Keras model for verification rows, computed once for all artifacts."""

    def __init__(self, run: Run, model: "keras.Model", rows: VerificationExamples):
        self.model, self.rows, self.task = model, rows, run.recipe.task
        self.labels, self.thresholds, self.score_name = run.labels, run.thresholds, run.recipe.task.primary_metric

    @cached_property
    def predictions(self) -> list[object]:
        """The parts of the predictions that are right or wrong."""
        predict = make_predict_fn(self.task, self.model, self.labels, self.thresholds)
        return decisions(self.task, predict(self.rows.segments), self.labels)

    @cached_property
    def tokens(self) -> "TokenRows":
        """The rows as `Task.encode` returns them."""
        return self.task.encode(self.model.get_layer("preprocessor"), self.rows.inputs)

    @cached_property
    def score(self) -> float | None:
        """The score of the Keras model; None without a metric or labels."""
        if not self.score_name or not len(self.rows.inputs):
            return None
        return self.score_of(self.task.make_score_fn(self.model)(self.tokens))

    def score_of(self, logits: Any) -> float | None:
        """Return the score of logits; None without a metric."""
        if not self.score_name:
            return None
        return self.task.metrics(logits, self.rows.targets, self.labels, self.thresholds)[self.score_name]
