"""Spam among messages: two labels, one of them rare, and a threshold chosen for a precision.

The threshold on the probability of spam is chosen on the validation rows, as the one that finds most of the spam while
the wanted share of what it flags is spam, on new messages too, as far as so many rows can promise it (with a confidence
of 80%). The run and its exports answer by it.

From the command line:

    tfhub-ft train spam --data messages.csv --wanted-precision 0.99 --output-dir runs/spam

In Python:

    import keras
    import tensorflow as tf

    from tfhub_ft.recipes import spam

    texts, labels = ["win a free phone now", "see you at lunch"], [1, 0]
    model = spam.build_model(encoder="minilm-l6", num_classes=2)
    model.compile(keras.optimizers.AdamW(5e-5), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(tf.data.Dataset.from_tensor_slices((texts, labels)).batch(32))
"""

from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.recipe import Recipe
from tfhub_ft.settings import TwoClassSettings
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
    """A model that takes messages and gives the logits of their labels, from the mean of their tokens.

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
        Sanh et al. 2019 (DistilBERT), https://arxiv.org/abs/1910.01108
    """
    from tfhub_ft.models.builders import text_model
    from tfhub_ft.models.heads import ClassificationHead, MeanPooling

    pool = MeanPooling(normalize=False, name="mean")
    head = ClassificationHead(num_classes, dropout=dropout, name="logits")
    return text_model(
        lambda encoded: head(pool(encoded["sequence_output"], encoded["input_mask"])),
        name="spam",
        encoder=encoder,
        preprocessor=preprocessor,
        seq_length=seq_length,
        freeze=freeze,
        implementation=implementation,
    )


RECIPE = Recipe(
    name="spam",
    summary="Is a message spam? Two uneven labels, and a threshold for a wanted precision.",
    task=Classification(monitor="roc_auc"),
    build_model=build_model,
    settings=TwoClassSettings(epochs=4, class_weight="balanced", wanted_precision=0.98),
    recommended=("minilm-l6", "distilbert-base-uncased", "bert-base-uncased"),
    demo=Path(__file__).parent / "demo" / "spam.csv",
)
