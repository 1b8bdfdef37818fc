"""Phishing URLs, with most of the encoder frozen: only its pooler and the head train.

`--freeze all-but-2` trains the last two layers as well, `--freeze none` everything (with `--learning-rate 1e-4`, say).

From the command line:

    tfhub-ft train phishing --data urls.csv --output-dir runs/phishing

In Python:

    import keras
    import tensorflow as tf

    from tfhub_ft.recipes import phishing

    urls, labels = ["http://example.com/login.php?id=7", "https://www.python.org/downloads/"], [1, 0]
    model = phishing.build_model(encoder="minilm-l6", num_classes=2)
    model.compile(keras.optimizers.AdamW(5e-5), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(tf.data.Dataset.from_tensor_slices((urls, labels)).batch(32))
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.recipe import Recipe
from tfhub_ft.settings import TwoClassSettings, setting
from tfhub_ft.tasks.classification import Classification

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhishingSettings(TwoClassSettings):
    """Settings of the phishing recipe."""

    lowercase: bool = setting(True, "Lower-case URLs before the preprocessor reads them.")


def build_model(
    encoder: str = "minilm-l6",
    num_classes: int = 2,
    *,
    preprocessor: str | None = None,
    seq_length: int = 96,
    dropout: float = 0.1,
    freeze: str = "all-but-pooler",
    implementation: str = "auto",
    lowercase: bool = True,
) -> "keras.Model":
    """A model that takes URLs and gives the logits of their labels.

    Args:
        encoder: a catalogue name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        num_classes: how many labels there are.
        preprocessor: the encoder's preprocessor, where it cannot be found from it.
        seq_length: the most tokens of a row; what is longer is cut.
        dropout: before the last layer.
        freeze: what of the encoder stays as it is: none, embeddings, N, all-but-N, all-but-pooler, all.
        implementation: of the encoder: auto, native or graph (see `HubEncoder`).
        lowercase: whether URLs are lower-cased before the preprocessor reads them.

    Returns:
        A model from a string tensor of shape (batch,) to logits, float32 (batch, num_classes).
        `model.get_layer("token_model")` is its part behind the preprocessing.

    Raises:
        InputError: there is no such encoder, or it does not fit the other arguments.

    Reference:
        Aung and Yamana 2021 (PhishDataset); Devlin et al. 2019, https://arxiv.org/abs/1810.04805
    """
    from tfhub_ft.models.builders import text_model
    from tfhub_ft.models.heads import ClassificationHead

    head = ClassificationHead(num_classes, dropout=dropout, name="logits")
    return text_model(
        lambda encoded: head(encoded["pooled_output"]),
        name="phishing",
        encoder=encoder,
        preprocessor=preprocessor,
        seq_length=seq_length,
        freeze=freeze,
        implementation=implementation,
        lowercase=lowercase,
    )


RECIPE = Recipe(
    name="phishing",
    summary="Is a URL phishing? Most of the encoder stays frozen.",
    task=Classification(monitor="roc_auc"),
    build_model=build_model,
    settings=PhishingSettings(freeze="all-but-pooler", epochs=10, learning_rate=1e-3, seq_length=96, patience=3),
    recommended=("minilm-l6", "distilbert-base-uncased", "small-bert-l4-h512"),
    demo=Path(__file__).parent / "demo" / "phishing.csv",
)
