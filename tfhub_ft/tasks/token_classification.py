"""Token classification: named entities, as a tag for each word."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column, check_tokens, text_column
from tfhub_ft.data.labels import label_index
from tfhub_ft.data.rows import Row
from tfhub_ft.data.spans import ENTITIES_ALIASES, check_entities, label_studio_reader, spans_to_tags
from tfhub_ft.data.tags import OUTSIDE, check_tags, fit_tags, word_table_hint
from tfhub_ft.data.word_tables import join_words
from tfhub_ft.metrics import UNSEEN, Scores
from tfhub_ft.tasks.base import TEXT_ALIASES, Array, Arrays, Prediction, Segments, Tensors, Thresholds
from tfhub_ft.tasks.classification import balanced_weights
from tfhub_ft.tasks.windowed import WindowedTask, score_by_row
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfhub_ft.data.windows import TokenTargets, WindowRows

# Targets of the first and of the other words of an entity whose type no training row has.
UNSEEN_INSIDE = UNSEEN - 1
UNSEEN_TAGS = {UNSEEN: "B-not seen in training", UNSEEN_INSIDE: "I-not seen in training"}
# Logit of all tags but O for words without a token, such as a control character.
NO_TOKEN_LOGIT = -10.0


@dataclass(frozen=True)
class TokenClassification(WindowedTask):
    """Named entity recognition with BIO tags.

    Each row is a list of words and their tags, or a text and its entities as spans of characters, which are converted
    to the tags of words. The tag of a word is learned and predicted at its first wordpiece. The
    logits of a row are float32 (words, tags). Predictions take texts, split them into words, and return entities as
    spans of characters.

    Args:
        monitor: Validation score that selects the best epoch.
        name: Name of the task in exports.

    Example:
        TokenClassification(monitor="f1_macro")

    Reference:
        [Devlin et al., 2019](https://arxiv.org/abs/1810.04805), section 5.3
    """

    monitor: str = "f1"
    epoch_scores = ("f1", "log_loss")
    monitors = ("precision", "recall", "f1", "f1_macro", "tag_accuracy", "log_loss")
    name: str = "entities"
    primary_metric = "f1"
    label_column = "tags"
    has_classes = True
    decision_field = "tags"
    display_fields = ("entities",)

    def columns(self, settings: Any = None, *, labeled: bool = True) -> list[Column]:
        if not labeled:
            return super().columns(settings)
        # Settings of recipes copied from earlier versions lack the columns of entities.
        entities, text = (getattr(settings, name, None) for name in ("entities_column", "text_column"))
        is_named = bool(settings.tokens_column or settings.tags_column)
        spans = (
            text_column("text", TEXT_ALIASES, settings, "text_column"),
            Column(
                "entities", ENTITIES_ALIASES, check_entities, entities, "--entities-column", check_row=spans_to_tags
            ),
        )
        layout = {"instead": () if is_named else spans, "only_instead": bool(text or entities)}
        tokens = Column(
            "tokens",
            ("words",),
            check_tokens,
            settings.tokens_column,
            "--tokens-column",
            arrange=partial(join_words, tokens_column=settings.tokens_column, tags_column=settings.tags_column),
            adapt=label_studio_reader(entities),
            hint=word_table_hint,
            **layout,
        )
        tags = Column(
            "tags",
            ("ner_tags", "labels"),
            check_tags,
            settings.tags_column,
            "--tags-column",
            fit=fit_tags,
            check_row=_check_tag_count,
            **layout,
        )
        return [tokens, tags]

    def training_inputs(self, row: Row) -> Segments:
        return tuple(row.values["tokens"])

    def prediction_inputs(self, row: Row) -> Segments:
        return (" ".join(row.values["tokens"]),)

    def stratify_key(self, row: Row) -> tuple[str, ...]:
        return tuple(sorted({tag[2:] for tag in row.values["tags"] if tag != OUTSIDE}))

    def labels(self, rows: Sequence[Row], source: str, settings: Any) -> list[str]:
        """Return O, and B- and I- of each entity type, by name."""
        types = sorted({name for row in rows for name in self.stratify_key(row)})
        if not types:
            raise InputError(f"{source}: every tag is O; at least one entity is needed")
        return [OUTSIDE, *(f"{prefix}-{name}" for name in types for prefix in "BI")]

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> list[Array]:
        """Return the indices of each row's tags, int32 (words,), or `UNSEEN` and `UNSEEN_INSIDE`."""
        import numpy as np

        index = label_index(labels)
        unseen = {"B": UNSEEN, "I": UNSEEN_INSIDE}
        return [
            np.array([index[tag] if tag in index else unseen[tag[0]] for tag in row.values["tags"]], "int32")
            for row in rows
        ]

    def balanced_weights(self, targets: Sequence[Array], labels: Sequence[str]) -> list[float]:
        """Return weights that are inversely proportional to the frequencies of the words' tags."""
        import numpy as np

        return balanced_weights(np.concatenate(targets), len(labels))

    def words_of(
        self, preprocessor: Any, inputs: Sequence[Segments]
    ) -> "tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor, None]":
        import tensorflow as tf

        words = _ragged(inputs)
        no_positions = words.with_values(tf.zeros_like(words.values, tf.int32))
        return words, no_positions, no_positions, None

    def token_targets(self, tokens: "WindowRows", targets: Sequence[Array]) -> "TokenTargets":
        """Return the tag's index, or `UNSEEN`, for the first wordpiece of each word; -1 for other tokens."""
        import numpy as np

        from tfhub_ft.data.windows import TokenTargets

        row_words = np.concatenate([[0], np.cumsum([len(row) for row in targets])])
        row_of_token = np.repeat(tokens.row, tokens.lengths)
        word = row_words[row_of_token] + tokens.word
        tags = np.concatenate(targets)
        tags[tags == UNSEEN_INSIDE] = UNSEEN
        values = np.where(tokens.starts_word, tags[np.where(tokens.starts_word, word, 0)], -1)
        return TokenTargets(values.astype("int32"), tokens.starts)

    def make_score_fn(self, model: "keras.Model", precision: str = "float32") -> "Callable[[WindowRows], list[Array]]":
        import tensorflow as tf

        graph = tf.function(
            lambda words: self._word_logits(model, words),
            input_signature=[tf.RaggedTensorSpec((None, None), tf.string, row_splits_dtype=tf.int64)],
        )

        def score_batch(rows: list[Segments]) -> list[Array]:
            logits = graph(_ragged(rows)).numpy()
            return [row_logits[: len(row)] for row, row_logits in zip(rows, logits, strict=True)]

        return score_by_row(score_batch, model, precision)

    def _word_logits(self, model: "keras.Model", words: "tf.RaggedTensor") -> "tf.Tensor":
        """Return float32 (rows, most words, tags) for string words, ragged (rows, words)."""
        import tensorflow as tf

        windows = model.get_layer("preprocessor").windows(words)
        logits = self.window_logits(model, windows)
        starts_word = windows["starts_word"]
        row = tf.boolean_mask(tf.zeros_like(windows["word"]) + windows["row"][:, None], starts_word)
        indices = tf.stack([row, tf.boolean_mask(windows["word"], starts_word)], -1)
        shape, tag_count = tf.cast(words.bounding_shape(), tf.int32), tf.shape(logits)[-1:]
        word_logits = tf.scatter_nd(indices, tf.boolean_mask(logits, starts_word), tf.concat([shape, tag_count], 0))
        has_token = tf.scatter_nd(indices, tf.ones_like(row), shape) > 0
        tags = tf.range(tf.shape(logits)[-1])
        return tf.where(has_token[:, :, None], word_logits, tf.where(tags == 0, 0.0, NO_TOKEN_LOGIT))

    def metrics(
        self,
        logits: Sequence[Array],
        targets: Sequence[Array],
        labels: Sequence[str],
        thresholds: Thresholds,
        *,
        intervals: bool = False,
    ) -> Scores:
        """Return the scores of whole entities, and "log_loss", the mean cross-entropy of the words' tags."""
        import numpy as np

        from tfhub_ft.metrics.intervals import entity_intervals
        from tfhub_ft.metrics.scores import entity_metrics

        losses, tags = _tag_losses(logits, targets), tags_by_row(logits, targets, labels)
        all_losses = np.concatenate(losses)
        scores = {**entity_metrics(*tags), "log_loss": float(all_losses.mean()) if len(all_losses) else None}
        if intervals:
            scores["intervals"] = entity_intervals(*tags, losses)
        return scores

    def serving_outputs(self, logits: "tf.Tensor", labels: Sequence[str], thresholds: Thresholds) -> Tensors:
        """Return `logits` and `probabilities` of each token, float32 (batch, length, tags)."""
        import tensorflow as tf

        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    def serving_fn(
        self, model: "keras.Model", segments: "Sequence[tf.Tensor]", labels: Sequence[str], thresholds: Thresholds
    ) -> Tensors:
        """Return outputs for each word, (batch, most words), padded with "" and 0.

        These are `logits`, float32 (batch, most words, tags), `word` and `tag`, string, `score`, the tag's probability,
        and `start` and `end`, int32, its position in the text in characters.
        """
        import tensorflow as tf

        words, starts, ends = model.get_layer("preprocessor").split_words(segments[0])
        logits = self._word_logits(model, words)
        is_word = tf.sequence_mask(words.row_lengths(), tf.shape(logits)[1])
        tag = tf.gather(tf.constant(list(labels)), tf.argmax(logits, -1, output_type=tf.int32))
        return {
            "logits": logits,
            "word": words.to_tensor(),
            "tag": tf.where(is_word, tag, ""),
            "score": tf.where(is_word, tf.reduce_max(tf.nn.softmax(logits), -1), 0.0),
            "start": starts.to_tensor(),
            "end": ends.to_tensor(),
        }

    def decode_serving_outputs(
        self, outputs: Arrays, rows: Sequence[Segments], labels: Sequence[str], thresholds: Thresholds
    ) -> list[Prediction]:
        """Return {"entities": [{"text", "label", "start", "end", "score"}, ...], "tokens", "tags"} for each text."""
        from seqeval.metrics.sequence_labeling import get_entities

        predictions = []
        for number, (text,) in enumerate(rows):
            tags = [tag.decode() for tag in outputs["tag"][number] if tag]
            scores, starts, ends = (outputs[name][number] for name in ("score", "start", "end"))
            entities = [
                {
                    "text": text[starts[first] : ends[last]],
                    "label": label,
                    "start": int(starts[first]),
                    "end": int(ends[last]),
                    "score": float(scores[first : last + 1].mean()),
                }
                for label, first, last in get_entities(tags)
            ]
            tokens = [word.decode() for word in outputs["word"][number][: len(tags)]]
            predictions.append({"entities": entities, "tokens": tokens, "tags": tags})
        return predictions


def _check_tag_count(values: dict[str, Any]) -> None:
    tokens, tags = len(values["tokens"]), len(values["tags"])
    if tokens != tags:
        raise ValueError(f"has {tokens} tokens and {tags} tags; each token needs one")


def _tag_losses(logits: Sequence[Array], targets: Sequence[Array]) -> list[Array]:
    """Return the cross-entropy of each row's words whose tag is known, float64 (words,)."""
    import numpy as np
    from scipy.special import log_softmax

    losses = -log_softmax(np.concatenate(logits).astype("float64"), -1)
    tags = np.concatenate(targets)
    losses = losses[np.arange(len(tags)), np.maximum(tags, 0)]
    ends = np.cumsum([len(row) for row in targets])[:-1]
    return [each[row >= 0] for each, row in zip(np.split(losses, ends), targets, strict=True)]


def tags_by_row(
    logits: Sequence[Array], targets: Sequence[Array], labels: Sequence[str]
) -> tuple[list[list[str]], list[list[str]]]:
    """Return the predicted and the true tags of each row."""
    names = {**dict(enumerate(labels)), **UNSEEN_TAGS}
    return (
        [[names[tag] for tag in row.argmax(-1).tolist()] for row in logits],
        [[names[tag] for tag in row.tolist()] for row in targets],
    )


def _ragged(rows: Sequence[Segments]) -> "tf.RaggedTensor":
    import tensorflow as tf

    words = tf.constant([word for row in rows for word in row], tf.string)
    lengths = tf.constant([len(row) for row in rows], tf.int64)
    return tf.RaggedTensor.from_row_lengths(words, lengths)  # pyright: ignore[reportAttributeAccessIssue]
