"""Hidden words of a text: an encoder learns the language of texts that nobody has labelled."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.rows import Row
from tfhub_ft.encoders import MASK
from tfhub_ft.tasks.windowed import WindowedTask

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tfhub_ft.data.windows import WindowRows
    from tfhub_ft.settings import Settings

GUESSES = 5
HIDDEN_IN_SAMPLES = 7


@dataclass(frozen=True)
class MaskedLM(WindowedTask):
    """Each row is a text. The model hides words of it and learns to guess them; what it keeps is the encoder.

    What is trained gives, for each window, the sums of cross-entropy, of right guesses and of guesses, float32
    (windows, 3); what answers guesses the words that a text has as [MASK].
    """

    monitor: str = "masked_accuracy"
    name: str = "masked_words"
    epoch_scores = ("masked_accuracy", "perplexity")

    display_fields = ("filled", "words")
    # Each guess is made among all of them.
    reads_all_words = True
    keeps_encoder = True
    decision_field = "words"

    def prediction_inputs(self, row: Row) -> tuple[str, ...]:
        """The text with every seventh word hidden, the first one in any case."""
        words = re.findall(r"\s*\S+", row.values["text"])
        hidden = (re.sub(r"\S+", MASK, word) if i % HIDDEN_IN_SAMPLES == 0 else word for i, word in enumerate(words))
        return ("".join(hidden),)

    def training_inputs(self, row: Row) -> tuple[str, ...]:
        return (row.values["text"],)

    def labels(self, rows: Sequence[Row], source: str, settings: "Settings") -> list[str]:
        return []

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> "np.ndarray":
        """Nothing: the model makes its targets of the texts. Zeros, int32 (rows,)."""
        import numpy as np

        return np.zeros(len(rows), "int32")

    def words_of(self, preprocessor: Any, inputs: Sequence[tuple[str, ...]]) -> tuple[Any, Any, Any, None]:
        import tensorflow as tf

        return *preprocessor.split_words(tf.constant([text for (text,) in inputs])), None

    def token_targets(self, tokens: "WindowRows", targets: "np.ndarray") -> "np.ndarray":
        return targets[tokens.row]

    def make_score_fn(self, model: "keras.Model", precision: str = "float32") -> "Callable[[WindowRows], np.ndarray]":
        """Return a function that returns the three sums, float32 (windows, 3); the texts determine the hidden words."""
        from tfhub_ft.models.builders import masked_word_scores
        from tfhub_ft.models.forward import make_logits_fn

        return make_logits_fn(masked_word_scores(model), precision=precision, progress_bar=True)

    def metrics(
        self,
        logits: "np.ndarray",
        targets: "np.ndarray",
        labels: Sequence[str],
        thresholds: dict[str, Any],
        *,
        intervals: bool = False,
    ) -> dict[str, Any]:
        """{"rows", "windows", "masked_tokens", "masked_accuracy", "perplexity"}."""
        from tfhub_ft.metrics.scores import guess_scores

        counts = {"rows": len(targets), "windows": len(logits)}
        return counts | guess_scores(logits, count="masked_tokens", accuracy="masked_accuracy", intervals=intervals)

    def inference_model(self, model: "keras.Model", labels: Sequence[str]) -> "keras.Model":
        """From texts, string (batch,), to logits of what each [MASK] is, float32 (windows, masks, vocabulary)."""
        from tfhub_ft.models.builders import mask_filling_model

        return mask_filling_model(model)

    def serving_outputs(self, logits: Any, labels: Sequence[str], thresholds: dict[str, Any]) -> dict[str, Any]:
        """The likeliest tokens of each [MASK]: `scores`, their probabilities, and `word_ids`, (batch, masks, 5)."""
        import tensorflow as tf

        scores, ids = tf.math.top_k(tf.nn.softmax(logits), GUESSES)
        return {"scores": scores, "word_ids": ids}

    def serving_fn(
        self, model: "keras.Model", segments: Sequence[Any], labels: Sequence[str], thresholds: dict[str, Any]
    ) -> dict[str, Any]:
        """`scores` as above and `words`, string, (batch, most masks, 5), 0 and "" where a text has fewer masks."""
        import tensorflow as tf

        preprocessor = model.get_layer("preprocessor")
        vocabulary = preprocessor.vocabulary
        words, _, _ = preprocessor.split_words(segments[0])
        windows = preprocessor.windows(words)
        guesses = self.serving_outputs(self.window_logits(model, windows), labels, thresholds)
        masks = tf.reduce_sum(tf.cast(windows["input_word_ids"] == vocabulary.index(MASK), tf.int64), -1)

        def of_rows(values: Any) -> Any:
            of_windows = tf.RaggedTensor.from_tensor(values, masks)
            rows = tf.RaggedTensor.from_value_rowids(of_windows, tf.cast(windows["row"], tf.int64), words.nrows())
            return rows.merge_dims(1, 2).to_tensor()

        named = tf.gather(tf.constant(vocabulary), guesses["word_ids"])
        return {"scores": of_rows(guesses["scores"]), "words": of_rows(named)}

    def decode_serving_outputs(
        self,
        outputs: dict[str, "np.ndarray"],
        rows: Sequence[tuple[str, ...]],
        labels: Sequence[str],
        thresholds: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """{"filled": the text, "words": the best for each [MASK], "guesses": [[{"word", "score"}, ...], ...]}."""
        answers = []
        for (text,), words, scores in zip(rows, outputs["words"], outputs["scores"], strict=True):
            guesses = [
                [{"word": word.decode(), "score": float(score)} for word, score in zip(*each, strict=True)]
                for each in zip(words[: text.count(MASK)], scores, strict=False)
            ]
            best = [guess[0]["word"] for guess in guesses]
            parts = text.split(MASK)
            filled = "".join(part + word for part, word in zip(parts, [*best, ""], strict=True))
            answers.append({"filled": filled, "words": best, "guesses": guesses})
        return answers
