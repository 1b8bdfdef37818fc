"""Similarity of two texts, as a number.

`--mode pair` reads both texts together, which is more accurate with most encoders. `--mode bi-encoder` embeds each text
separately and returns the cosine similarity; its export has a signature `embed`, whose embeddings can be stored and
searched. It is more accurate with an encoder that was trained for it, such as minilm-l6.

From the command line:

    tfhub-ft train similarity --data pairs.csv --output-dir runs/similarity

In Python:

    import keras
    import tensorflow as tf

    from tfhub_ft.recipes import similarity

    firsts, seconds = ["a man is eating soup", "a dog sleeps"], ["a man eats", "the bus is late"]
    scores = [0.84, 0.06]
    model = similarity.build_model(encoder="minilm-l6")
    model.compile(keras.optimizers.AdamW(5e-5), loss=similarity.loss())
    model.fit(tf.data.Dataset.from_tensor_slices(((firsts, seconds), scores)).batch(32))
"""

import dataclasses
from typing import TYPE_CHECKING, Any

from tfhub_ft import Recipe, Regression, ScoredPairSettings, demo_file, setting

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimilaritySettings(ScoredPairSettings):
    """Settings of the similarity recipe."""

    mode: str = setting(
        "pair",
        "How texts are compared: pair reads both together, bi-encoder embeds each separately.",
        group="Model",
        choices=("pair", "bi-encoder"),
    )


def build_model(
    encoder: str = "minilm-l6", *, dropout: float = 0.1, mode: str = "pair", **options: Any
) -> "keras.Model":
    """Build a model from pairs of texts to their similarity.

    Args:
        encoder: A catalog name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        dropout: Dropout before the last layer, in mode "pair".
        mode: "pair" for both texts in one row, "bi-encoder" for the cosine of two embeddings.
        options: Other fields of `EncoderArguments`.

    Returns:
        A model from two string tensors of shape (batch,), sentence1 and sentence2, to float32 (batch, 1), 0 for the
        least similar and 1 for the most.

    Reference:
        Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084
    """
    from tfhub_ft import ClassificationHead, CosineSimilarity, bi_encoder_model, text_model

    if mode == "bi-encoder":
        return bi_encoder_model(CosineSimilarity(name="logits"), encoder=encoder, **options)
    head, inputs = ClassificationHead(1, dropout=dropout, name="logits"), ("sentence1", "sentence2")
    return text_model(lambda encoded: head(encoded["pooled_output"]), inputs=inputs, encoder=encoder, **options)


def loss() -> "keras.losses.Loss":
    """Return the mean squared error."""
    import keras

    return keras.losses.MeanSquaredError()


def metrics() -> "list[keras.metrics.Metric]":
    """Return no metrics: correlations need all rows, and are computed after each epoch."""
    return []


RECIPE = Recipe(
    summary="How similar are two texts? A number for each pair.",
    task=Regression(),
    build_model=build_model,
    loss=loss,
    metrics=metrics,
    settings=SimilaritySettings(epochs=4),
    recommended=("minilm-l6", "bert-base-uncased"),
    demo=demo_file("similarity.csv"),
)
