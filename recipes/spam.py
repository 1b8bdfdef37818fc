"""Spam messages: two labels, one of them rare, and a threshold for a wanted precision.

The threshold of the probability of spam is fitted on the validation rows: it finds the most spam at which the wanted
share of the flagged messages is spam, at 95% confidence for new messages. The run and its exports predict with it.

From the command line:

    tfhub-ft train spam --data messages.csv --wanted-precision 0.99 --output-dir runs/spam

In Python:

    import keras
    import tensorflow as tf

    from tfhub_ft.recipes import spam

    texts, labels = ["win a free phone now", "see you at lunch"], [1, 0]
    model = spam.build_model(encoder="minilm-l6", num_classes=2)
    model.compile(keras.optimizers.AdamW(5e-5), loss=spam.loss([1.0, 5.0]), metrics=spam.metrics())
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
    """Build a model from messages to the logits of their labels, by the mean of their token vectors.

    Args:
        encoder: A catalog name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        num_classes: Number of labels.
        dropout: Dropout before the last layer.
        options: Other fields of `EncoderArguments`.

    Returns:
        A model from a string tensor of shape (batch,) to logits, float32 (batch, num_classes).

    Reference:
        Sanh et al. 2019 (DistilBERT), https://arxiv.org/abs/1910.01108
    """
    from tfhub_ft import ClassificationHead, MeanPooling, text_model

    pool = MeanPooling(normalize=False, name="mean")
    head = ClassificationHead(num_classes, dropout=dropout, name="logits")
    return text_model(
        lambda encoded: head(pool(encoded["sequence_output"], encoded["input_mask"])), encoder=encoder, **options
    )


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
    summary="Is a message spam? Two imbalanced labels, and a threshold for a wanted precision.",
    task=Classification(monitor="roc_auc"),
    build_model=build_model,
    loss=loss,
    metrics=metrics,
    settings=TextSettings(epochs=4, class_weight="balanced", wanted_precision=0.98),
    recommended=("minilm-l6", "distilbert-base-uncased", "bert-base-uncased"),
    demo=demo_file("spam.csv"),
)
