"""What the forms of an export share: the run, its model, the folder, and rows with the model's answers."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.kept_rows import LEAST_ROWS
from tfhub_ft.exports.verification_examples import VerificationExamples, verification_examples
from tfhub_ft.inference.runtimes.isolated import token_feed
from tfhub_ft.run import Run

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tfhub_ft.exports.tflite_verify import KerasAnswers
    from tfhub_ft.exports.verify import Call


MADE_UP = "This is an example. "


def made_up(text: str) -> str:
    """A text of the same length that says nothing of the user's rows."""
    return (MADE_UP * (len(text) // len(MADE_UP) + 1))[: len(text)].strip()


class ExportContext:
    """An export in progress.

    Args:
        run: the run.
        model: its text-in model.
        folder: the export folder.
        warmup_rows: whether the requests that warm a server up hold rows of the run; made-up texts of the same lengths
            otherwise.
    """

    def __init__(self, run: Run, model: "keras.Model", folder: Path, *, warmup_rows: bool = False):
        self.run, self.model, self.folder, self.task = run, model, folder, run.recipe.task
        self.warmup_rows = warmup_rows

    @cached_property
    def rows(self) -> VerificationExamples:
        """Validation rows, and training rows."""
        return verification_examples(self.run)

    @cached_property
    def answers(self) -> "KerasAnswers":
        """What the model predicts for these rows, and its score on them."""
        from tfhub_ft.exports.tflite_verify import KerasAnswers

        return KerasAnswers(self.run, self.model, self.rows)

    @cached_property
    def feeds(self) -> "dict[str, list[dict[str, np.ndarray]]]":
        """Rows to verify with in batches, as each signature of a SavedModel takes them: validation rows first."""
        return self._feeds(self.rows.asked[:LEAST_ROWS])

    @cached_property
    def example_feeds(self) -> "dict[str, list[dict[str, np.ndarray]]]":
        """One made-up row, as each signature takes it."""
        return self._feeds([[MADE_UP.strip() for _ in self.model.inputs]])

    @cached_property
    def warmup_feeds(self) -> "dict[str, dict[str, np.ndarray]]":
        """A batch for each signature, which warms a server up."""
        from tfhub_ft.exports.verify import BATCH

        rows = self.run.sample[:BATCH]
        if not self.warmup_rows:
            rows = [[made_up(text) for text in row] for row in rows]
        return {name: batches[0] for name, batches in self._feeds(rows).items()}

    def _feeds(self, rows: Sequence[Sequence[str]]) -> "dict[str, list[dict[str, np.ndarray]]]":
        import numpy as np

        from tfhub_ft.exports.saved_model import embedding_model
        from tfhub_ft.exports.verify import BATCH

        names = [tensor.name for tensor in self.model.inputs]
        columns = [np.array(column) for column in zip(*rows, strict=True)]
        texts = [
            {name: column[start : start + BATCH] for name, column in zip(names, columns, strict=True)}
            for start in range(0, len(rows), BATCH)
        ]
        feeds = {"serving_default": texts, "tokens": [self._tokens(feed) for feed in texts]}
        if embedding_model(self.model):
            feeds["embed"] = [{"text": feed[names[0]]} for feed in texts]
        return feeds

    @cached_property
    def calls(self) -> "dict[str, Call]":
        """The same with what the Keras model answers."""
        from tfhub_ft.exports.verify import Call

        answer = {"serving_default": self._answer_texts, "tokens": self._answer_tokens, "embed": self._embed}
        return {
            name: Call(feeds, [_arrays(answer[name](feed)) for feed in feeds]) for name, feeds in self.feeds.items()
        }

    def _tokens(self, feed: "dict[str, np.ndarray]") -> "dict[str, np.ndarray]":
        return token_feed(self.model.get_layer("preprocessor"), list(zip(*feed.values(), strict=True)))

    def _answer_texts(self, feed: "dict[str, np.ndarray]") -> dict[str, Any]:
        import tensorflow as tf

        texts = [tf.constant(column) for column in feed.values()]
        return self.task.serving_fn(self.model, texts, self.run.labels, self.run.decision)

    def _answer_tokens(self, feed: "dict[str, np.ndarray]") -> dict[str, Any]:
        logits = self.model.get_layer("token_model")(feed, training=False)
        return self.task.serving_outputs(logits, self.run.labels, self.run.decision)

    def _embed(self, feed: "dict[str, np.ndarray]") -> dict[str, Any]:
        from tfhub_ft.exports.saved_model import embedding_model

        return {"embedding": embedding_model(self.model)(self._tokens(feed), training=False)}


def _arrays(tensors: dict[str, Any]) -> "dict[str, np.ndarray]":
    import numpy as np

    return {name: np.asarray(tensor) for name, tensor in tensors.items()}
