"""Intent of a request: one out of many, or out of scope.

Rows with the label `oos` (--out-of-scope-label) belong to no intent: training on them lowers the confidence for such
texts. The threshold is fitted on the in-scope validation rows.

From the command line:

    tfhub-ft train intent --data requests.csv --output-dir runs/intents

In Python:

    import keras
    import tensorflow as tf

    from tfhub_ft.recipes import intent

    texts, labels = ["what is my balance", "book a table for two"], [10, 42]
    model = intent.build_model(encoder="minilm-l6", num_classes=150)
    model.compile(keras.optimizers.AdamW(1e-4), loss=intent.loss(), metrics=intent.metrics())
    model.fit(tf.data.Dataset.from_tensor_slices((texts, labels)).batch(32))
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfhub_ft import Intent, IntentSettings, Recipe, demo_file

if TYPE_CHECKING:
    import keras


def build_model(
    encoder: str = "minilm-l6", num_classes: int = 150, *, seq_length: int = 64, dropout: float = 0.1, **options: Any
) -> "keras.Model":
    """Build a model from requests to the logits of their intents.

    Args:
        encoder: A catalog name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        num_classes: Number of intents, excluding out of scope.
        seq_length: Maximum sequence length.
        dropout: Dropout before the last layer.
        options: Other fields of `EncoderArguments`.

    Returns:
        A model from a string tensor of shape (batch,) to logits, float32 (batch, num_classes).

    Reference:
        Larson et al. 2019, https://arxiv.org/abs/1909.02027
    """
    from tfhub_ft import ClassificationHead, text_model

    head = ClassificationHead(num_classes, dropout=dropout, name="logits")
    return text_model(lambda encoded: head(encoded["pooled_output"]), encoder=encoder, seq_length=seq_length, **options)


def loss(
    class_weights: "Sequence[float] | None" = None, *, focal_gamma: float = 0.0, label_smoothing: float = 0.0
) -> "keras.losses.Loss":
    """Return the cross-entropy of the intents; the target of an out-of-scope row, -1, is a uniform distribution.

    Args:
        class_weights: Weight of each intent, then of out-of-scope rows; None for equal weights.
        focal_gamma: Focal loss gamma; down-weights easy examples.
        label_smoothing: Share of each target that is spread over all intents.
    """
    from tfhub_ft import WeightedCrossEntropy

    return WeightedCrossEntropy(class_weights, focal_gamma=focal_gamma, label_smoothing=label_smoothing)


def metrics() -> "list[keras.metrics.Metric]":
    """Return the accuracy of the in-scope rows."""
    from tfhub_ft import InScopeAccuracy

    return [InScopeAccuracy(name="accuracy")]


RECIPE = Recipe(
    summary="Which of many intents does a request have? One, or none of them.",
    task=Intent(),
    build_model=build_model,
    loss=loss,
    metrics=metrics,
    settings=IntentSettings(epochs=6, learning_rate=1e-4, seq_length=64),
    recommended=("minilm-l6", "bert-base-uncased", "distilbert-base-uncased"),
    demo=demo_file("intent.csv"),
)
