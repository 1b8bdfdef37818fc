"""How similar two texts are, as a number.

`--mode pair` reads both texts together, which is the more exact way with most encoders. `--mode bi-encoder` embeds each
text by itself and takes the cosine; its export has a signature `embed`, whose embeddings are computed once and then
searched. With an encoder that was made for that, as minilm-l6 was, it is the more exact one.

From the command line:

    tfhub-ft train similarity --data pairs.csv --output-dir runs/similarity

In Python:

    import keras
    import tensorflow as tf

    from tfhub_ft.recipes import similarity

    firsts, seconds = ["a man is eating soup", "a dog sleeps"], ["a man eats", "the bus is late"]
    scores = [4.2, 0.3]
    model = similarity.build_model(encoder="minilm-l6")
    model.compile(keras.optimizers.AdamW(5e-5), "mse")
    model.fit(tf.data.Dataset.from_tensor_slices(((firsts, seconds), scores)).batch(32))
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.recipe import Recipe
from tfhub_ft.settings import ScoredPairSettings, setting
from tfhub_ft.tasks.regression import Regression

if TYPE_CHECKING:
    import keras


MODES = ("pair", "bi-encoder")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimilaritySettings(ScoredPairSettings):
    """Settings of the similarity recipe."""

    mode: str = setting("pair", "pair reads both texts together; bi-encoder embeds each by itself.", choices=MODES)


def build_model(
    encoder: str = "minilm-l6",
    *,
    preprocessor: str | None = None,
    seq_length: int = 128,
    dropout: float = 0.1,
    freeze: str = "none",
    implementation: str = "auto",
    mode: str = "pair",
) -> "keras.Model":
    """A model that takes pairs of texts and gives their similarity.

    Args:
        encoder: a catalogue name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        preprocessor: the encoder's preprocessor, where it cannot be found from it.
        seq_length: the most tokens of a row; what is longer is cut.
        dropout: before the last layer.
        freeze: what of the encoder stays as it is: none, embeddings, N, all-but-N, all-but-pooler, all.
        implementation: of the encoder: auto, native or graph (see `HubEncoder`).
        mode: "pair" for both texts in one row, "bi-encoder" for the cosine of two embeddings.

    Returns:
        A model from two string tensors of shape (batch,), sentence1 and
        sentence2, to float32 (batch, 1), 0 for the least similar and 1
        for the most.
        `model.get_layer("token_model")` is its part behind the preprocessing.

    Raises:
        InputError: there is no such encoder, or it does not fit the other arguments.

    Reference:
        Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084
    """
    from tfhub_ft.models.builders import bi_encoder_model, text_model
    from tfhub_ft.models.heads import ClassificationHead, CosineSimilarity

    if mode == "bi-encoder":
        return bi_encoder_model(
            CosineSimilarity(name="logits"),
            name="similarity",
            encoder=encoder,
            preprocessor=preprocessor,
            seq_length=seq_length,
            freeze=freeze,
            implementation=implementation,
        )
    head = ClassificationHead(1, dropout=dropout, name="logits")
    return text_model(
        lambda encoded: head(encoded["pooled_output"]),
        name="similarity",
        encoder=encoder,
        preprocessor=preprocessor,
        seq_length=seq_length,
        freeze=freeze,
        implementation=implementation,
        inputs=("sentence1", "sentence2"),
    )


RECIPE = Recipe(
    name="similarity",
    summary="How similar are two texts? A number for each pair.",
    task=Regression(),
    build_model=build_model,
    settings=SimilaritySettings(epochs=4),
    recommended=("minilm-l6", "bert-base-uncased"),
    demo=Path(__file__).parent / "demo" / "similarity.csv",
)
