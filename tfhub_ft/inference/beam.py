"""Apache Beam transform that predicts texts; needs `tfhub_ft[beam]`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam  # pyright: ignore[reportMissingImports]
from apache_beam.utils.shared import Shared  # pyright: ignore[reportMissingImports]

from tfhub_ft.inference.batching import Prediction

MIN_BATCH_SIZE, MAX_BATCH_SIZE = 64, 4096


class Predict(beam.PTransform):
    """Maps each text to exactly one prediction.

    Each worker process loads the model once. The elements are texts, or tuples of texts for a recipe that reads pairs.
    The predictions are dictionaries with the texts by the task's names (text, or sentence1 and sentence2) and what
    `tfhub_ft.predict` returns.

    Args:
        model: A run folder, an export folder, a SavedModel folder or a TFLite file, on a path that all workers see.
        precision: Compute dtype of a run; see `tfhub_ft.open_predictor`.

    Raises:
        InputError: While the pipeline runs: the model is not found, or a text is empty.

    Example:
        with beam.Pipeline() as pipeline:
            (
                pipeline
                | beam.io.ReadFromText("corpus/part-*.txt")
                | Predict("saved_models/reviews")
                | beam.Map(json.dumps)
                | beam.io.WriteToText("predictions/part", ".jsonl")
            )

    Reference:
        https://beam.apache.org/documentation/programming-guide/
    """

    def __init__(self, model: str | Path, *, precision: str = "float32"):
        super().__init__()
        self.model, self.precision = str(model), precision

    def expand(self, texts: beam.PCollection) -> beam.PCollection:
        """Return the predictions, a PCollection of dictionaries."""
        batches = texts | beam.BatchElements(min_batch_size=MIN_BATCH_SIZE, max_batch_size=MAX_BATCH_SIZE)
        return batches | beam.ParDo(_PredictBatch(self.model, self.precision, Shared()))


class _PredictBatch(beam.DoFn):
    """Predicts batches of texts with a model that all threads of a process share."""

    def __init__(self, model: str, precision: str, shared: Shared):
        self.model, self.precision, self.shared = model, precision, shared

    def setup(self) -> None:
        """Load the model unless another thread has."""
        from tfhub_ft.inference.predict import open_predictor

        self.predictor = self.shared.acquire(lambda: open_predictor(self.model, precision=self.precision))

    def process(self, texts: Sequence[object]) -> Iterator[Prediction]:
        """Yield a prediction for each text."""
        rows = [self.predictor.segments(text, f"the text {str(text)[:40]!r}") for text in texts]
        for row, prediction in zip(rows, self.predictor(rows), strict=True):
            yield {**dict(zip(self.predictor.task.fields, row, strict=True)), **prediction}
