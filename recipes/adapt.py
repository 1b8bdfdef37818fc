"""Adapt an encoder to unlabeled texts: it learns to predict their masked words.

The run folder is a TF Hub encoder, which every other recipe takes.

From the command line:

    tfhub-ft train adapt --data texts.txt --output-dir runs/adapted
    tfhub-ft train spam --encoder runs/adapted --data sms.csv
    tfhub-ft predict runs/adapted "Please call me [MASK] you are free."

In Python:

    import tensorflow as tf

    from tfhub_ft.recipes import adapt

    model = adapt.build_model(encoder="minilm-l6")
    sums = model(tf.constant(["Please call me when you are free."]))
"""

import dataclasses
from typing import TYPE_CHECKING, Any

from tfhub_ft import MaskedLM, Recipe, Settings, demo_file, setting

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptSettings(Settings):
    """Settings of the adapt recipe."""

    text_column: str | None = setting(
        None, "Column of the texts; by default found by its name (text, sentence, review, ...)."
    )
    text: str | None = setting(
        None, "Template of the text from several columns, whose names are in braces, such as '{title}. {body}'."
    )
    mask_share: float = setting(0.15, "Fraction of the words to mask.", group="Training", minimum=0.01, maximum=0.9)


def build_model(encoder: str = "minilm-l6", *, mask_share: float = 0.15, **options: Any) -> "keras.Model":
    """Build a model that masks words of texts and scores its predictions of them.

    Args:
        encoder: A catalog name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        mask_share: Share of the words to mask.
        options: Other fields of `EncoderArguments`.

    Returns:
        A model from a string tensor of shape (batch,) to float32 (windows, 3): sums of cross-entropy, of correct
        predictions and of predictions. The adapted encoder is the layer `encoder` of its `token_model`.

    Reference:
        Gururangan et al. 2020, https://arxiv.org/abs/2004.10964; Devlin et al. 2019, https://arxiv.org/abs/1810.04805
    """
    from tfhub_ft import masked_lm_model

    return masked_lm_model(mask_share=mask_share, encoder=encoder, **options)


def loss() -> "keras.losses.Loss":
    """Return the mean cross-entropy of the masked tokens."""
    from tfhub_ft import GuessedCrossEntropy

    return GuessedCrossEntropy()


def metrics() -> "list[keras.metrics.Metric]":
    """Return the share of masked tokens that are predicted correctly."""
    from tfhub_ft import GuessAccuracy

    return [GuessAccuracy(name="masked_accuracy")]


RECIPE = Recipe(
    summary="An encoder adapted to unlabeled texts: it learns to predict their masked words.",
    task=MaskedLM(),
    build_model=build_model,
    loss=loss,
    metrics=metrics,
    settings=AdaptSettings(learning_rate=1e-4),
    recommended=("minilm-l6", "bert-base-uncased", "distilbert-base-uncased"),
    demo=demo_file("adapt.txt"),
)
