"""Any number of labels for a text, each with its own threshold, fitted on the validation rows.

From the command line:

    tfhub-ft train multilabel --data feedback.jsonl --output-dir runs/feedback

In Python:

    import keras
    import tensorflow as tf

    from tfhub_ft.recipes import multilabel

    texts, labels = ["good food, slow service", "a lovely room"], [[1, 1, 0], [0, 0, 1]]
    model = multilabel.build_model(encoder="minilm-l6", num_classes=3)
    model.compile(keras.optimizers.AdamW(1e-4), loss=multilabel.loss())
    model.fit(tf.data.Dataset.from_tensor_slices((texts, labels)).batch(32))
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfhub_ft import Multilabel, MultilabelSettings, Recipe, demo_file

if TYPE_CHECKING:
    import keras


def build_model(
    encoder: str = "minilm-l6", num_classes: int = 28, *, seq_length: int = 64, dropout: float = 0.1, **options: Any
) -> "keras.Model":
    """Build a model from texts to a logit for each label.

    Args:
        encoder: A catalog name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        num_classes: Number of labels.
        seq_length: Maximum sequence length.
        dropout: Dropout before the last layer.
        options: Other fields of `EncoderArguments`.

    Returns:
        A model from a string tensor of shape (batch,) to logits, float32 (batch, num_classes).

    Reference:
        Devlin et al. 2019, https://arxiv.org/abs/1810.04805
    """
    from tfhub_ft import ClassificationHead, text_model

    head = ClassificationHead(num_classes, dropout=dropout, name="logits")
    return text_model(lambda encoded: head(encoded["pooled_output"]), encoder=encoder, seq_length=seq_length, **options)


def loss(
    class_weights: "Sequence[float] | None" = None, *, focal_gamma: float = 0.0, label_smoothing: float = 0.0
) -> "keras.losses.Loss":
    """Return the mean cross-entropy of the labels.

    Args:
        class_weights: Weight of each label where it is present; None for equal weights.
        focal_gamma: Focal loss gamma; down-weights easy examples.
        label_smoothing: Share of each target that is spread over both values of a label.
    """
    from tfhub_ft import WeightedBinaryCrossEntropy

    return WeightedBinaryCrossEntropy(class_weights, focal_gamma=focal_gamma, label_smoothing=label_smoothing)


def metrics() -> "list[keras.metrics.Metric]":
    """Return no metrics: accuracy is misleading where most labels are absent; F1 is computed after each epoch."""
    return []


RECIPE = Recipe(
    summary="Which labels fit a text? Any number of them.",
    task=Multilabel(),
    build_model=build_model,
    loss=loss,
    metrics=metrics,
    settings=MultilabelSettings(learning_rate=1e-4, seq_length=64),
    recommended=("minilm-l6", "bert-base-uncased", "distilbert-base-uncased"),
    demo=demo_file("multilabel.jsonl"),
)
