"""Sentiment of a text: positive or negative, or any other list of labels.

From the command line:

    tfhub-ft train sentiment --data reviews.csv --output-dir runs/reviews

In Python:

    import keras
    import tensorflow as tf

    from tfhub_ft.recipes import sentiment

    texts, labels = ["a warm, funny film", "two hours I will never get back"], [1, 0]
    model = sentiment.build_model(encoder="minilm-l6", num_classes=2)
    model.compile(keras.optimizers.AdamW(5e-5), loss=sentiment.loss(), metrics=sentiment.metrics())
    model.fit(tf.data.Dataset.from_tensor_slices((texts, labels)).batch(32))
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfhub_ft import Classification, Recipe, TextSettings, demo_file

if TYPE_CHECKING:
    import keras


def build_model(
    encoder: str = "minilm-l6", num_classes: int = 2, *, dropout: float = 0.1, **options: Any
) -> "keras.Model":
    """Build a model from texts to the logits of their sentiment.

    Args:
        encoder: A catalog name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        num_classes: Number of labels.
        dropout: Dropout before the last layer.
        options: Other fields of `EncoderArguments`.

    Returns:
        A model from a string tensor of shape (batch,) to logits, float32 (batch, num_classes).

    Reference:
        Devlin et al. 2019, https://arxiv.org/abs/1810.04805
    """
    from tfhub_ft import ClassificationHead, text_model

    head = ClassificationHead(num_classes, dropout=dropout, name="logits")
    return text_model(lambda encoded: head(encoded["pooled_output"]), encoder=encoder, **options)


def loss(
    class_weights: "Sequence[float] | None" = None, *, focal_gamma: float = 0.0, label_smoothing: float = 0.0
) -> "keras.losses.Loss":
    """Return the cross-entropy of the labels.

    Args:
        class_weights: Weight of each label; None for equal weights.
        focal_gamma: Focal loss gamma; down-weights easy examples.
        label_smoothing: Share of each target that is spread over all labels.
    """
    from tfhub_ft import WeightedCrossEntropy

    return WeightedCrossEntropy(class_weights, focal_gamma=focal_gamma, label_smoothing=label_smoothing)


def metrics() -> "list[keras.metrics.Metric]":
    """Return the accuracy."""
    import keras

    return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]


RECIPE = Recipe(
    summary="Is a text positive or negative? One label for each text.",
    task=Classification(),
    build_model=build_model,
    loss=loss,
    metrics=metrics,
    settings=TextSettings(),
    recommended=("minilm-l6", "bert-base-uncased", "small-bert-l4-h512", "bert-experts-wiki-books-sst2"),
    demo=demo_file("sentiment.csv"),
)
