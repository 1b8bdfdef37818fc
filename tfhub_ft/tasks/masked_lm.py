"""Hidden words of a text: an encoder learns the language of texts that nobody has labelled."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column
from tfhub_ft.data.rows import Row
from tfhub_ft.encoders import MASK
from tfhub_ft.tasks.windowed import WindowedTask

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tfhub_ft.data.windows import WindowRows
    from tfhub_ft.evaluation.report.html_report import Scored
    from tfhub_ft.run import Run
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

    def columns(self, settings: "Settings") -> list[Column]:
        return self.text_columns(settings)

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

    def model_arguments(self, labels: Sequence[str]) -> dict[str, Any]:
        return {}

    def words_of(self, preprocessor: Any, inputs: Sequence[tuple[str, ...]]) -> tuple[Any, Any, Any, None]:
        import tensorflow as tf

        return *preprocessor.split_words(tf.constant([text for (text,) in inputs])), None

    def token_targets(self, tokens: "WindowRows", targets: "np.ndarray") -> "np.ndarray":
        return targets[tokens.row]

    def compile_arguments(self, settings: "Settings", targets: "np.ndarray") -> dict[str, Any]:
        from tfhub_ft.tasks.losses import GuessAccuracy, GuessedCrossEntropy

        return {"loss": GuessedCrossEntropy(), "metrics": [GuessAccuracy(name="masked_accuracy")]}

    def scorer(self, model: "keras.Model") -> "Callable[[WindowRows], np.ndarray]":
        """A function that returns the three sums, float32 (windows, 3); the texts determine the hidden words."""
        from tfhub_ft.models.builders import masked_word_scores
        from tfhub_ft.models.forward import logits_function

        return logits_function(masked_word_scores(model), scoring=True)

    def metrics(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]
    ) -> dict[str, Any]:
        """{"rows", "windows", "masked_tokens", "masked_accuracy", "perplexity"}."""
        from tfhub_ft.metrics.scores import guess_metrics

        count, accuracy, perplexity = guess_metrics(logits)
        own = {"masked_tokens": count, "masked_accuracy": accuracy, "perplexity": perplexity}
        return {"rows": len(targets), "windows": len(logits), **own}

    def intervals(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]
    ) -> dict[str, tuple[float, float]]:
        from tfhub_ft.metrics.intervals import guess_intervals

        return guess_intervals(logits, "masked_accuracy")

    def report(self, scored: "Scored") -> list[Any]:
        import numpy as np

        from tfhub_ft.evaluation.report.plots import score_distribution

        loss, _, count = scored.logits.astype("float64").T
        means = loss[count > 0] / count[count > 0]
        if not len(means):
            return []
        says = f"Mean cross-entropy of the hidden tokens of a window; half of them have at most {np.median(means):.2f}."
        return [score_distribution({"windows": means}, title="Guesses", axis="cross-entropy", says=says)]

    def answering_model(self, model: "keras.Model", labels: Sequence[str]) -> "keras.Model":
        """From texts, string (batch,), to logits of what each [MASK] is, float32 (windows, masks, vocabulary)."""
        from tfhub_ft.models.builders import mask_filling_model

        return mask_filling_model(model)

    def keep(self, run: "Run", model: "keras.Model") -> None:
        """Write the encoder and its preprocessor into the run: the run's folder is an encoder for `--encoder`."""
        from tfhub_ft.encoders.encoder_pair import write_pair

        write_pair(model.get_layer("token_model").get_layer("encoder"), model.get_layer("preprocessor"), run.path)

    def decisions(self, answers: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[str]:
        return [word for answer in answers for word in answer["words"]]

    def serving_outputs(self, logits: Any, labels: Sequence[str], decision: dict[str, Any]) -> dict[str, Any]:
        """The likeliest tokens of each [MASK]: `scores`, their probabilities, and `word_ids`, (batch, masks, 5)."""
        import tensorflow as tf

        scores, ids = tf.math.top_k(tf.nn.softmax(logits), GUESSES)
        return {"scores": scores, "word_ids": ids}

    def serving_fn(
        self, model: "keras.Model", segments: Sequence[Any], labels: Sequence[str], decision: dict[str, Any]
    ) -> dict[str, Any]:
        """`scores` as above and `words`, string, (batch, most masks, 5), 0 and "" where a text has fewer masks."""
        import tensorflow as tf

        preprocessor = model.get_layer("preprocessor")
        vocabulary = preprocessor.vocabulary
        words, _, _ = preprocessor.split_words(segments[0])
        windows = preprocessor.windows(words)
        guesses = self.serving_outputs(self.window_logits(model, windows), labels, decision)
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
        decision: dict[str, Any],
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
