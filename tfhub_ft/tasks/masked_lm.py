"""Masked language modeling on unlabeled texts."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.rows import Row
from tfhub_ft.encoders import MASK
from tfhub_ft.metrics import Scores
from tfhub_ft.tasks.base import Array, Arrays, Prediction, Segments, Tensors, Thresholds
from tfhub_ft.tasks.windowed import WindowedTask

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfhub_ft.data.windows import WindowRows

GUESSES = 5
MASK_EVERY = 7


@dataclass(frozen=True)
class MaskedLM(WindowedTask):
    """Masked language modeling, which adapts an encoder to unlabeled texts.

    Each row is a text. The training model masks words and returns the sums of cross-entropy, of correct guesses and of
    guesses for each window, float32 (windows, 3). The inference model guesses the words that a text has as [MASK].

    Args:
        monitor: Validation score that selects the best epoch.
        name: Name of the task in exports.

    Example:
        MaskedLM(monitor="perplexity")
    """

    monitor: str = "masked_accuracy"
    name: str = "masked_words"
    epoch_scores = ("masked_accuracy", "perplexity")

    display_fields = ("filled", "words")
    # Each guess ranks the whole vocabulary.
    reads_all_words = True
    keeps_encoder = True
    decision_field = "words"

    def prediction_inputs(self, row: Row) -> Segments:
        """Return the text with every seventh word masked, starting with the first."""
        words = re.findall(r"\s*\S+", row.values["text"])
        masked = (re.sub(r"\S+", MASK, word) if i % MASK_EVERY == 0 else word for i, word in enumerate(words))
        return ("".join(masked),)

    def training_inputs(self, row: Row) -> Segments:
        return (row.values["text"],)

    def labels(self, rows: Sequence[Row], source: str, settings: Any) -> list[str]:
        return []

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> Array:
        """Return zeros, int32 (rows,): the model makes its own targets."""
        import numpy as np

        return np.zeros(len(rows), "int32")

    def words_of(
        self, preprocessor: Any, inputs: Sequence[Segments]
    ) -> "tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor, None]":
        import tensorflow as tf

        return *preprocessor.split_words(tf.constant([text for (text,) in inputs])), None

    def token_targets(self, tokens: "WindowRows", targets: Array) -> Array:
        return targets[tokens.row]

    def make_score_fn(self, model: "keras.Model", precision: str = "float32") -> "Callable[[WindowRows], Array]":
        """Return a function that returns the three sums; which words are masked depends on the texts only."""
        from tfhub_ft.models.builders import masked_word_scores
        from tfhub_ft.models.forward import make_logits_fn

        return make_logits_fn(masked_word_scores(model), precision=precision, progress_bar=True)

    def metrics(
        self, logits: Array, targets: Array, labels: Sequence[str], thresholds: Thresholds, *, intervals: bool = False
    ) -> Scores:
        from tfhub_ft.metrics.scores import guess_scores

        counts = {"rows": len(targets), "windows": len(logits)}
        return counts | guess_scores(logits, count="masked_tokens", accuracy="masked_accuracy", intervals=intervals)

    def inference_model(self, model: "keras.Model", labels: Sequence[str]) -> "keras.Model":
        """Return a model from texts to the logits of each [MASK], float32 (windows, masks, vocabulary)."""
        from tfhub_ft.models.builders import mask_filling_model

        return mask_filling_model(model)

    def serving_outputs(self, logits: "tf.Tensor", labels: Sequence[str], thresholds: Thresholds) -> Tensors:
        """Return the five likeliest tokens of each [MASK]: `scores` and `word_ids`, (batch, masks, 5)."""
        import tensorflow as tf

        scores, ids = tf.math.top_k(tf.nn.softmax(logits), GUESSES)
        return {"scores": scores, "word_ids": ids}

    def serving_fn(
        self, model: "keras.Model", segments: "Sequence[tf.Tensor]", labels: Sequence[str], thresholds: Thresholds
    ) -> Tensors:
        """Return `scores` and `words`, string, (batch, most masks, 5), padded with 0 and ""."""
        import tensorflow as tf

        preprocessor = model.get_layer("preprocessor")
        vocabulary = preprocessor.vocabulary
        words, _, _ = preprocessor.split_words(segments[0])
        windows = preprocessor.windows(words)
        guesses = self.serving_outputs(self.window_logits(model, windows), labels, thresholds)
        masks = tf.reduce_sum(tf.cast(windows["input_word_ids"] == vocabulary.index(MASK), tf.int64), -1)
        window_rows, ragged = tf.cast(windows["row"], tf.int64), tf.RaggedTensor

        def by_row(values: "tf.Tensor") -> "tf.Tensor":
            by_window = ragged.from_tensor(values, masks)  # pyright: ignore[reportAttributeAccessIssue]
            rows = ragged.from_value_rowids(by_window, window_rows, words.nrows())  # pyright: ignore[reportAttributeAccessIssue]
            return rows.merge_dims(1, 2).to_tensor()

        names = tf.gather(tf.constant(vocabulary), guesses["word_ids"])
        return {"scores": by_row(guesses["scores"]), "words": by_row(names)}

    def decode_serving_outputs(
        self, outputs: Arrays, rows: Sequence[Segments], labels: Sequence[str], thresholds: Thresholds
    ) -> list[Prediction]:
        """Return {"filled": text, "words": best ones, "guesses": [[{"word", "score"}, ...], ...]} for each row."""
        predictions = []
        for (text,), words, scores in zip(rows, outputs["words"], outputs["scores"], strict=True):
            guesses = [
                [{"word": word.decode(), "score": float(score)} for word, score in zip(*each, strict=True)]
                for each in zip(words[: text.count(MASK)], scores, strict=False)
            ]
            best = [guess[0]["word"] for guess in guesses]
            parts = text.split(MASK)
            filled = "".join(part + word for part, word in zip(parts, [*best, ""], strict=True))
            predictions.append({"filled": filled, "words": best, "guesses": guesses})
        return predictions
