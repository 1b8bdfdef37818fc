"""A tag for each word: named entities."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column, check_tokens
from tfhub_ft.data.labels import label_index
from tfhub_ft.data.rows import Row
from tfhub_ft.data.tags import OUTSIDE, check_tags, fit_tags, layout_hint
from tfhub_ft.metrics.scores import UNSEEN
from tfhub_ft.tasks.windowed import WindowedTask
from tfhub_ft.utils.console import with_bar
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tfhub_ft.data.windows import TokenTargets, WindowRows
    from tfhub_ft.settings import Settings

# The target of the first word of an entity whose kind no training row has is `UNSEEN`, that of its other words this.
UNSEEN_INSIDE = UNSEEN - 1
UNSEEN_TAGS = {UNSEEN: "B-not seen in training", UNSEEN_INSIDE: "I-not seen in training"}
# What a word gets that the tokenizer makes nothing of, such as a lone control character: outside, for sure.
NO_TOKEN_LOGIT = -10.0


@dataclass(frozen=True)
class TokenClassification(WindowedTask):
    """Each row is a list of tokens with BIO tags. A word's tag is learnt at its first wordpiece.

    The logits of a row are float32 (words, tags). Predictions take texts, cut them into words, and answer with the
    entities as spans of characters.

    Reference:
        Devlin et al. 2019, section 5.3, https://arxiv.org/abs/1810.04805
    """

    monitor: str = "f1"
    epoch_scores = ("f1", "log_loss")
    name: str = "entities"
    primary_metric = "f1"
    label_column = "tags"
    has_classes = True
    decision_field = "tags"
    display_fields = ("entities",)

    def columns(self, settings: Any = None, *, labeled: bool = True) -> list[Column]:
        if not labeled:
            return super().columns(settings)
        column, option = settings.tags_column, "--tags-column"
        return [
            Column("tokens", ("words",), check_tokens, settings.tokens_column, "--tokens-column", hint=layout_hint),
            Column(
                "tags", ("ner_tags", "labels"), check_tags, column, option, fit=fit_tags, check_row=_check_tag_count
            ),
        ]

    def training_inputs(self, row: Row) -> tuple[str, ...]:
        return tuple(row.values["tokens"])

    def prediction_inputs(self, row: Row) -> tuple[str, ...]:
        return (" ".join(row.values["tokens"]),)

    def stratify_key(self, row: Row) -> tuple[str, ...]:
        """The types of its entities."""
        return tuple(sorted({tag[2:] for tag in row.values["tags"] if tag != OUTSIDE}))

    def labels(self, rows: Sequence[Row], source: str, settings: "Settings") -> list[str]:
        """O, and B- and I- of each kind of entity, by name."""
        kinds = sorted({tag[2:] for row in rows for tag in row.values["tags"] if tag != OUTSIDE})
        if not kinds:
            raise InputError(f"{source}: every tag is O; there is no entity to learn from")
        return [OUTSIDE, *(f"{place}-{kind}" for kind in kinds for place in "BI")]

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> list["np.ndarray"]:
        """The tags of each row as int32 indices, (words,); `UNSEEN` or `UNSEEN_INSIDE` where a kind is not known."""
        import numpy as np

        index = label_index(labels)
        unseen = {"B": UNSEEN, "I": UNSEEN_INSIDE}
        return [
            np.array([index[tag] if tag in index else unseen[tag[0]] for tag in row.values["tags"]], "int32")
            for row in rows
        ]

    def words_of(self, preprocessor: Any, inputs: Sequence[tuple[str, ...]]) -> tuple[Any, Any, Any, None]:
        import tensorflow as tf

        words = _ragged(inputs)
        nowhere = words.with_values(tf.zeros_like(words.values, tf.int32))
        return words, nowhere, nowhere, None

    def token_targets(self, tokens: "WindowRows", targets: Sequence["np.ndarray"]) -> "TokenTargets":
        """The tag's index, or `UNSEEN`, at the first wordpiece of each word; -1 at all other tokens."""
        import numpy as np

        from tfhub_ft.data.windows import TokenTargets

        row_words = np.concatenate([[0], np.cumsum([len(row) for row in targets])])
        row_of_token = np.repeat(tokens.row, tokens.lengths)
        word = row_words[row_of_token] + tokens.word
        tags = np.concatenate(targets)
        tags[tags == UNSEEN_INSIDE] = UNSEEN
        values = np.where(tokens.starts_word, tags[np.where(tokens.starts_word, word, 0)], -1)
        return TokenTargets(values.astype("int32"), tokens.starts)

    def make_score_fn(
        self, model: "keras.Model", precision: str = "float32"
    ) -> "Callable[[WindowRows], list[np.ndarray]]":
        import tensorflow as tf

        from tfhub_ft.data.batches import batches_by_size
        from tfhub_ft.models.forward import computed_in

        graph = tf.function(
            lambda words: self._word_logits(model, words),
            input_signature=[tf.RaggedTensorSpec((None, None), tf.string, row_splits_dtype=tf.int64)],
        )

        def score(tokens: "WindowRows") -> list["np.ndarray"]:
            logits: list[Any] = [None] * len(tokens.inputs)
            for batch in with_bar(batches_by_size(tokens.inputs), "Scoring", len(tokens.inputs)):
                found = graph(_ragged([tokens.inputs[i] for i in batch])).numpy()
                for i, each in zip(batch, found, strict=True):
                    logits[i] = each[: len(tokens.inputs[i])]
            return logits

        return computed_in(precision, model, score)

    def _word_logits(self, model: "keras.Model", words: Any) -> Any:
        """Float32 (rows, most words, tags), for words, string ragged (rows, words)."""
        import tensorflow as tf

        windows = model.get_layer("preprocessor").windows(words)
        logits = self.window_logits(model, windows)
        chosen = windows["starts_word"]
        row = tf.boolean_mask(tf.zeros_like(windows["word"]) + windows["row"][:, None], chosen)
        places = tf.stack([row, tf.boolean_mask(windows["word"], chosen)], -1)
        shape = tf.cast(words.bounding_shape(), tf.int32)
        found = tf.scatter_nd(places, tf.boolean_mask(logits, chosen), tf.concat([shape, tf.shape(logits)[-1:]], 0))
        has_token = tf.scatter_nd(places, tf.ones_like(row), shape) > 0
        tags = tf.range(tf.shape(logits)[-1])
        return tf.where(has_token[:, :, None], found, tf.where(tags == 0, 0.0, NO_TOKEN_LOGIT))

    def metrics(
        self,
        logits: Sequence["np.ndarray"],
        targets: Sequence["np.ndarray"],
        labels: Sequence[str],
        thresholds: dict[str, Any],
        *,
        intervals: bool = False,
    ) -> dict[str, Any]:
        """Return the scores of whole entities, and "log_loss", the mean cross-entropy of the words' tags."""
        import numpy as np

        from tfhub_ft.metrics.intervals import entity_intervals
        from tfhub_ft.metrics.scores import entity_metrics

        losses, tags = _tag_losses(logits, targets), tags_by_row(logits, targets, labels)
        joined = np.concatenate(losses)
        scores = {**entity_metrics(*tags), "log_loss": float(joined.mean()) if len(joined) else None}
        if intervals:
            scores["intervals"] = entity_intervals(*tags, losses)
        return scores

    def serving_outputs(self, logits: Any, labels: Sequence[str], thresholds: dict[str, Any]) -> dict[str, Any]:
        """`logits` and `probabilities` of each token, float32 (batch, length, tags)."""
        import tensorflow as tf

        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    def serving_fn(
        self, model: "keras.Model", segments: Sequence[Any], labels: Sequence[str], thresholds: dict[str, Any]
    ) -> dict[str, Any]:
        """Of each word of a text, (batch, most words), "" and 0 behind a text's last one.

        `logits`, float32 (batch, most words, tags); `word`, `tag`: string; `score`: the tag's probability; `start`,
        `end`: int32, where it stands in the text, in characters.
        """
        import tensorflow as tf

        words, starts, ends = model.get_layer("preprocessor").split_words(segments[0])
        logits = self._word_logits(model, words)
        here = tf.sequence_mask(words.row_lengths(), tf.shape(logits)[1])
        tag = tf.gather(tf.constant(list(labels)), tf.argmax(logits, -1, output_type=tf.int32))
        return {
            "logits": logits,
            "word": words.to_tensor(),
            "tag": tf.where(here, tag, ""),
            "score": tf.where(here, tf.reduce_max(tf.nn.softmax(logits), -1), 0.0),
            "start": starts.to_tensor(),
            "end": ends.to_tensor(),
        }

    def decode_serving_outputs(
        self,
        outputs: dict[str, "np.ndarray"],
        rows: Sequence[tuple[str, ...]],
        labels: Sequence[str],
        thresholds: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """{"entities": [{"text", "label", "start", "end", "score"}, ...], "tokens", "tags"} for each text."""
        from seqeval.metrics.sequence_labeling import get_entities

        answers = []
        for number, (text,) in enumerate(rows):
            tags = [tag.decode() for tag in outputs["tag"][number] if tag]
            scores, starts, ends = (outputs[name][number] for name in ("score", "start", "end"))
            entities = [
                {
                    "text": text[starts[first] : ends[last]],
                    "label": kind,
                    "start": int(starts[first]),
                    "end": int(ends[last]),
                    "score": float(scores[first : last + 1].mean()),
                }
                for kind, first, last in get_entities(tags)
            ]
            tokens = [word.decode() for word in outputs["word"][number][: len(tags)]]
            answers.append({"entities": entities, "tokens": tokens, "tags": tags})
        return answers


def _check_tag_count(values: dict[str, Any]) -> None:
    tokens, tags = len(values["tokens"]), len(values["tags"])
    if tokens != tags:
        raise ValueError(f"has {tokens} tokens and {tags} tags; each token needs one")


def _tag_losses(logits: Sequence["np.ndarray"], targets: Sequence["np.ndarray"]) -> list["np.ndarray"]:
    """The cross-entropy of the tags of each row's words, as far as training rows have the tag, float64 (words,)."""
    import numpy as np
    from scipy.special import log_softmax

    losses = -log_softmax(np.concatenate(logits).astype("float64"), -1)
    tags = np.concatenate(targets)
    losses = losses[np.arange(len(tags)), np.maximum(tags, 0)]
    ends = np.cumsum([len(row) for row in targets])[:-1]
    return [each[row >= 0] for each, row in zip(np.split(losses, ends), targets, strict=True)]


def tags_by_row(
    logits: Sequence["np.ndarray"], targets: Sequence["np.ndarray"], labels: Sequence[str]
) -> tuple[list[list[str]], list[list[str]]]:
    """Return the predicted tags and the true ones of each row."""
    names = {**dict(enumerate(labels)), **UNSEEN_TAGS}
    return (
        [[labels[tag] for tag in row.argmax(-1)] for row in logits],
        [[names[tag] for tag in row.tolist()] for row in targets],
    )


def _ragged(rows: Sequence[tuple[str, ...]]) -> Any:
    import tensorflow as tf

    words = tf.constant([word for row in rows for word in row], tf.string)
    return tf.RaggedTensor.from_row_lengths(words, tf.constant([len(row) for row in rows], tf.int64))
