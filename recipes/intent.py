"""Intent of a request: one out of many, or out of scope.

Rows with the label `oos` (--out-of-scope-label) belong to no intent: in training they teach the model to be unsure, in
validation they are left out of the threshold, which in-scope rows set alone.

From the command line:

    tfhub-ft train intent --data requests.csv --output-dir runs/intents

In Python:

    import keras
    import tensorflow as tf

    from tfhub_ft.recipes import intent

    texts, labels = ["what is my balance", "book a table for two"], [10, 42]
    model = intent.build_model(encoder="minilm-l6", num_classes=150)
    model.compile(keras.optimizers.AdamW(5e-5), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(tf.data.Dataset.from_tensor_slices((texts, labels)).batch(32))
"""

from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.recipe import Recipe
from tfhub_ft.settings import IntentSettings
from tfhub_ft.tasks.intent import Intent

if TYPE_CHECKING:
    import keras


def build_model(
    encoder: str = "minilm-l6",
    num_classes: int = 150,
    *,
    preprocessor: str | None = None,
    seq_length: int = 64,
    dropout: float = 0.1,
    freeze: str = "none",
    implementation: str = "auto",
) -> "keras.Model":
    """A model that takes requests and gives the logits of their intents.

    Args:
        encoder: a catalogue name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        num_classes: how many intents there are; out of scope is none of them.
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
        Larson et al. 2019, https://arxiv.org/abs/1909.02027
    """
    from tfhub_ft.models.builders import text_model
    from tfhub_ft.models.heads import ClassificationHead

    head = ClassificationHead(num_classes, dropout=dropout, name="logits")
    return text_model(
        lambda encoded: head(encoded["pooled_output"]),
        name="intent",
        encoder=encoder,
        preprocessor=preprocessor,
        seq_length=seq_length,
        freeze=freeze,
        implementation=implementation,
    )


RECIPE = Recipe(
    name="intent",
    summary="Which of many intents has a request? One, or none of them.",
    task=Intent(),
    build_model=build_model,
    settings=IntentSettings(epochs=6, learning_rate=1e-4, seq_length=64),
    recommended=("minilm-l6", "bert-base-uncased", "distilbert-base-uncased"),
    demo=Path(__file__).parent / "demo" / "intent.csv",
)
