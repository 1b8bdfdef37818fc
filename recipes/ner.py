"""Named entities: a tag for each word.

Rows are lists of tokens and their BIO tags (jsonl, or CoNLL files), or texts and their entities as spans of characters,
as doccano and Label Studio export them. Predictions take texts of any length, and return entities as such spans.

From the command line:

    tfhub-ft train ner --data entities.jsonl --output-dir runs/ner
    tfhub-ft predict runs/ner "Ada Lovelace was born in London."

In Python:

    import tensorflow as tf
    from tfhub_ft.recipes import ner

    model = ner.build_model(encoder="minilm-l6", num_classes=3)
    logits = model(tf.constant(["Ada Lovelace was born in London."]))
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfhub_ft import InputError, LabelSettings, Recipe, TokenClassification, WindowedSettings, demo_file, setting

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class NerSettings(WindowedSettings, LabelSettings):
    """Settings of the ner recipe."""

    tokens_column: str | None = setting(
        None, "Column of the lists of tokens; by default found by its name (tokens, words, ...)."
    )
    tags_column: str | None = setting(
        None, "Column of the lists of tags; by default found by its name (tags, ner_tags, ...)."
    )
    text_column: str | None = setting(
        None, "Column of the texts, in place of tokens and tags; by default found by its name (text, sentence, ...)."
    )
    entities_column: str | None = setting(
        None, "Column of the entities, [[start, end, label], ...]; by default found by its name (entities, label, ...)."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.tokens_column or self.tags_column) and (self.text_column or self.entities_column):
            raise InputError(
                f"--{'text' if self.text_column else 'entities'}-column: cannot be combined with --tokens-column or"
                " --tags-column; name the columns of one of the two layouts"
            )


def build_model(
    encoder: str = "minilm-l6",
    num_classes: int = 3,
    *,
    overlap: int | None = None,
    dropout: float = 0.1,
    **options: Any,
) -> "keras.Model":
    """Build a model from texts to the logits of each token's tag.

    Args:
        encoder: A catalog name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        num_classes: Number of tags: O, and B- and I- for each kind of entity.
        overlap: Tokens that neighboring windows of a long text share; a quarter of `seq_length` by default.
        dropout: Dropout before the last layer.
        options: Other fields of `EncoderArguments`.

    Returns:
        A model from a string tensor of shape (batch,) to logits, float32 (windows, length, num_classes). Its layer
        `preprocessor` maps each token to its word and text.

    Reference:
        Devlin et al. 2019, section 5.3, https://arxiv.org/abs/1810.04805
    """
    from tfhub_ft import ClassificationHead, text_model

    head = ClassificationHead(num_classes, dropout=dropout, name="logits")
    windows = {"overlap": overlap, "split": "words"}
    return text_model(lambda encoded: head(encoded["sequence_output"]), windows=windows, encoder=encoder, **options)


def loss(
    class_weights: "Sequence[float] | None" = None, *, focal_gamma: float = 0.0, label_smoothing: float = 0.0
) -> "keras.losses.Loss":
    """Return the cross-entropy of the words' tags, at the first token of each word; each tag may have a weight."""
    from tfhub_ft import TagCrossEntropy

    return TagCrossEntropy(class_weights, focal_gamma=focal_gamma, label_smoothing=label_smoothing)


def metrics() -> "list[keras.metrics.Metric]":
    """Return no metrics: the F1 of whole entities needs whole texts, and is computed after each epoch."""
    return []


RECIPE = Recipe(
    summary="Which people, places and things does a text name? A tag for each word.",
    task=TokenClassification(),
    build_model=build_model,
    loss=loss,
    metrics=metrics,
    settings=NerSettings(epochs=5, batch_size=16, learning_rate=1e-4),
    recommended=("minilm-l6", "bert-base-cased", "bert-base-multilingual-cased"),
    demo=demo_file("ner.jsonl"),
)
