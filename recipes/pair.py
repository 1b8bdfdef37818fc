"""A label for two texts, such as entailment or duplicate questions.

The encoder reads the two texts together, as segments with token types, and each of them separately; the cosine of the
two embeddings is a feature next to the pooled output.

From the command line:

    tfhub-ft train pair --data pairs.csv --first-column question1 --second-column question2 --output-dir runs/pairs

In Python:

    import keras
    import tensorflow as tf

    from tfhub_ft.recipes import pair

    premises, hypotheses = ["a man is eating soup", "a dog sleeps"], ["a man eats", "a cat sleeps"]
    labels = [1, 0]
    model = pair.build_model(encoder="minilm-l6", num_classes=2)
    model.compile(keras.optimizers.AdamW(3e-5), loss=pair.loss(), metrics=pair.metrics())
    model.fit(tf.data.Dataset.from_tensor_slices(((premises, hypotheses), labels)).batch(32))
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfhub_ft import Classification, PairSettings, Recipe, demo_file

if TYPE_CHECKING:
    import keras


def build_model(
    encoder: str = "minilm-l6", num_classes: int = 2, *, dropout: float = 0.1, **options: Any
) -> "keras.Model":
    """Build a model from pairs of texts to the logits of their labels.

    Args:
        encoder: A catalog name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        num_classes: Number of labels.
        dropout: Dropout before the last layer.
        options: Other fields of `EncoderArguments`.

    Returns:
        A model from two string tensors of shape (batch,), sentence1 and sentence2, to logits, float32 (batch,
        num_classes).

    Reference:
        Devlin et al. 2019, https://arxiv.org/abs/1810.04805
    """
    from tfhub_ft import ClassificationHead, pair_model

    head = ClassificationHead(num_classes, dropout=dropout, fitted_inputs=1, name="logits")
    return pair_model(head, encoder=encoder, **options)


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
    summary="How do two texts relate? One label for each pair.",
    task=Classification(fields=("sentence1", "sentence2")),
    build_model=build_model,
    loss=loss,
    metrics=metrics,
    settings=PairSettings(epochs=4, batch_size=16, learning_rate=3e-5),
    recommended=("minilm-l6", "bert-base-uncased", "bert-experts-wiki-books-mnli"),
    demo=demo_file("pair.csv"),
)
