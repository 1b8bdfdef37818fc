"""An Apache Beam transform that answers texts, for corpora that outgrow a machine; needs `tfhub_ft[beam]`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.utils.shared import Shared

FEWEST, MOST = 64, 4096


class Predict(beam.PTransform):
    """From texts to their answers, exactly one each.

    Each worker process loads the model once. The elements are texts, or tuples of texts for a recipe that reads pairs;
    the answers are dictionaries with the texts by the task's names (text, or sentence1 and sentence2) and what
    `tfhub_ft.predict` gives.

    Args:
        model: a run folder, an export folder, a SavedModel folder or a TFLite file, on a path that all workers see.
        precision: of a run's matrix products, as for `tfhub_ft.predict`.

    Raises:
        InputError: while the pipeline runs: there is no such model, or a text is empty.

    Example:
        with beam.Pipeline() as pipeline:
            (
                pipeline
                | beam.io.ReadFromText("corpus/part-*.txt")
                | Predict("saved_models/reviews")
                | beam.Map(json.dumps)
                | beam.io.WriteToText("answers/part", ".jsonl")
            )

    Reference:
        https://beam.apache.org/documentation/programming-guide/
    """

    def __init__(self, model: str | Path, *, precision: str = "float32"):
        super().__init__()
        self.model, self.precision = str(model), precision

    def expand(self, texts: beam.PCollection) -> beam.PCollection:
        """The answers, a PCollection of dictionaries."""
        batches = texts | beam.BatchElements(min_batch_size=FEWEST, max_batch_size=MOST)
        return batches | beam.ParDo(_Answer(self.model, self.precision, Shared()))


class _Answer(beam.DoFn):
    """Answers batches of texts by a model that all threads of a process share."""

    def __init__(self, model: str, precision: str, shared: Shared):
        self.model, self.precision, self.shared = model, precision, shared

    def setup(self) -> None:
        """Load the model, if no other thread has."""
        from tfhub_ft.inference.predict import open_predictor

        self.predictor = self.shared.acquire(lambda: open_predictor(self.model, precision=self.precision))

    def process(self, texts: Sequence[Any]) -> Iterator[dict[str, Any]]:
        """An answer for each text."""
        rows = [self.predictor.segments(text, f"the text {str(text)[:40]!r}") for text in texts]
        for row, answer in zip(rows, self.predictor(rows), strict=True):
            yield {**dict(zip(self.predictor.task.fields, row, strict=True)), **answer}
