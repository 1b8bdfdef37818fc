"""Phishing URLs, with most of the encoder frozen: only its pooler and the head train.

`--freeze all-but-2` trains the last two layers, too, and `--freeze none` all layers (with `--learning-rate 1e-4`, for
example).

From the command line:

    tfhub-ft train phishing --data urls.csv --output-dir runs/phishing

In Python:

    import keras
    import tensorflow as tf

    from tfhub_ft.recipes import phishing

    urls, labels = ["http://example.com/login.php?id=7", "https://www.python.org/downloads/"], [1, 0]
    model = phishing.build_model(encoder="minilm-l6", num_classes=2)
    model.compile(keras.optimizers.AdamW(1e-3), loss=phishing.loss(), metrics=phishing.metrics())
    model.fit(tf.data.Dataset.from_tensor_slices((urls, labels)).batch(32))
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfhub_ft import Classification, Recipe, TextSettings, demo_file, setting

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhishingSettings(TextSettings):
    """Settings of the phishing recipe."""

    lowercase: bool = setting(True, "Lowercase URLs before tokenization.", group="Model")


def build_model(
    encoder: str = "minilm-l6",
    num_classes: int = 2,
    *,
    seq_length: int = 96,
    dropout: float = 0.1,
    freeze: str = "all-but-pooler",
    lowercase: bool = True,
    **options: Any,
) -> "keras.Model":
    """Build a model from URLs to the logits of their labels.

    Args:
        encoder: A catalog name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        num_classes: Number of labels.
        seq_length: Maximum sequence length.
        dropout: Dropout before the last layer.
        freeze: Encoder layers to freeze.
        lowercase: Whether to lowercase URLs before tokenization.
        options: Other fields of `EncoderArguments`.

    Returns:
        A model from a string tensor of shape (batch,) to logits, float32 (batch, num_classes).

    Reference:
        Aung and Yamana 2021 (PhishDataset); Devlin et al. 2019, https://arxiv.org/abs/1810.04805
    """
    from tfhub_ft import ClassificationHead, text_model

    head = ClassificationHead(num_classes, dropout=dropout, name="logits")
    options = {"encoder": encoder, "seq_length": seq_length, "freeze": freeze, **options}
    return text_model(lambda encoded: head(encoded["pooled_output"]), lowercase=lowercase, **options)


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
    summary="Is a URL phishing? Most of the encoder stays frozen.",
    task=Classification(monitor="roc_auc"),
    build_model=build_model,
    loss=loss,
    metrics=metrics,
    settings=PhishingSettings(freeze="all-but-pooler", epochs=10, learning_rate=1e-3, seq_length=96, patience=3),
    recommended=("minilm-l6", "distilbert-base-uncased", "small-bert-l4-h512"),
    demo=demo_file("phishing.csv"),
)
