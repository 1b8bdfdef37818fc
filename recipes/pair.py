"""A label for two texts: does one follow from the other, do they ask the same, ...

The two texts are read together, in one row, as segments with token types (where they are too long, the longer one is
cut first), and compared by the cosine of their embeddings.

From the command line:

    tfhub-ft train pair --data pairs.csv --first-column question1 --second-column question2 --output-dir runs/pairs

In Python:

    import keras
    import tensorflow as tf

    from tfhub_ft.recipes import pair

    premises, hypotheses = ["a man is eating soup", "a dog sleeps"], ["a man eats", "a cat sleeps"]
    labels = [1, 0]
    model = pair.build_model(encoder="minilm-l6", num_classes=2)
    model.compile(keras.optimizers.AdamW(5e-5), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(tf.data.Dataset.from_tensor_slices(((premises, hypotheses), labels)).batch(32))
"""

from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.recipe import Recipe
from tfhub_ft.settings import PairSettings
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
    """A model that takes pairs of texts and gives the logits of their labels.

    Args:
        encoder: a catalogue name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        num_classes: how many labels there are.
        preprocessor: the encoder's preprocessor, where it cannot be found from it.
        seq_length: the most tokens of a row; what is longer is cut.
        dropout: before the last layer.
        freeze: what of the encoder stays as it is: none, embeddings, N, all-but-N, all-but-pooler, all.
        implementation: of the encoder: auto, native or graph (see `HubEncoder`).

    Returns:
        A model from two string tensors of shape (batch,), sentence1 and
        sentence2, to logits, float32 (batch, num_classes).
        `model.get_layer("token_model")` is its part behind the preprocessing.

    Raises:
        InputError: there is no such encoder, or it does not fit the other arguments.

    Reference:
        Devlin et al. 2019, https://arxiv.org/abs/1810.04805
    """
    from tfhub_ft.models.builders import pair_model
    from tfhub_ft.models.heads import ClassificationHead

    return pair_model(
        ClassificationHead(num_classes, dropout=dropout, fitted_inputs=1, name="logits"),
        name="pair",
        encoder=encoder,
        preprocessor=preprocessor,
        seq_length=seq_length,
        freeze=freeze,
        implementation=implementation,
    )


RECIPE = Recipe(
    name="pair",
    summary="How do two texts relate? One label for each pair.",
    task=Classification(fields=("sentence1", "sentence2")),
    build_model=build_model,
    settings=PairSettings(epochs=4, batch_size=16, learning_rate=3e-5),
    recommended=("minilm-l6", "bert-base-uncased", "bert-experts-wiki-books-mnli"),
    demo=Path(__file__).parent / "demo" / "pair.csv",
)
