"""Sentiment of a text: positive or negative, or any other list of labels.

From the command line:

    tfhub-ft train sentiment --data reviews.csv --output-dir runs/reviews

In Python:

    import keras
    import tensorflow as tf

    from tfhub_ft.recipes import sentiment

    texts, labels = ["a warm, funny film", "two hours I will never get back"], [1, 0]
    model = sentiment.build_model(encoder="minilm-l6", num_classes=2)
    model.compile(keras.optimizers.AdamW(5e-5), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(tf.data.Dataset.from_tensor_slices((texts, labels)).batch(32))
"""

from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.recipe import Recipe
from tfhub_ft.settings import TextSettings
from tfhub_ft.tasks.classification import Classification

if TYPE_CHECKING:
    import keras


def build_model(
    encoder: str = "minilm-l6",
    num_classes: int = 2,
    *,
    preprocessor: str | None = None,
    seq_length: int = 128,
    dropout: float = 0.1,
    freeze: str = "none",
    implementation: str = "auto",
) -> "keras.Model":
    """A model that takes texts and gives the logits of their sentiment.

    Args:
        encoder: a catalogue name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        num_classes: how many labels there are.
        preprocessor: the encoder's preprocessor, where it cannot be found from it.
        seq_length: the most tokens of a row; what is longer is cut.
        dropout: before the last layer.
        freeze: what of the encoder stays as it is: none, embeddings, N, all-but-N, all-but-pooler, all.
        implementation: of the encoder: auto, native or graph (see `HubEncoder`).

    Returns:
        A model from a string tensor of shape (batch,) to logits, float32 (batch, num_classes).
        `model.get_layer("token_model")` is its part behind the preprocessing.

    Raises:
        InputError: there is no such encoder, or it does not fit the other arguments.

    Reference:
        Devlin et al. 2019, https://arxiv.org/abs/1810.04805
    """
    from tfhub_ft.models.builders import text_model
    from tfhub_ft.models.heads import ClassificationHead

    head = ClassificationHead(num_classes, dropout=dropout, name="logits")
    return text_model(
        lambda encoded: head(encoded["pooled_output"]),
        name="sentiment",
        encoder=encoder,
        preprocessor=preprocessor,
        seq_length=seq_length,
        freeze=freeze,
        implementation=implementation,
    )


RECIPE = Recipe(
    name="sentiment",
    summary="Is a text positive or negative? One label for each text.",
    task=Classification(),
    build_model=build_model,
    settings=TextSettings(),
    recommended=("minilm-l6", "bert-base-uncased", "small-bert-l4-h512", "bert-experts-wiki-books-sst2"),
    demo=Path(__file__).parent / "demo" / "sentiment.csv",
)
