"""Named entities: a tag for each word.

Rows are lists of tokens and their BIO tags (jsonl, or CoNLL files); predictions take any text, however long, and answer
with the entities as spans of its characters.

From the command line:

    tfhub-ft train ner --data entities.jsonl --output-dir runs/ner
    tfhub-ft predict runs/ner "Ada Lovelace was born in London."

In Python:

    import tensorflow as tf

    from tfhub_ft.recipes import ner

    model = ner.build_model(encoder="minilm-l6", num_classes=3)
    logits = model(tf.constant(["Ada Lovelace was born in London."]))
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.recipe import Recipe
from tfhub_ft.settings import LabelSettings, WindowedSettings, setting
from tfhub_ft.tasks.token_classification import TokenClassification

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class NerSettings(WindowedSettings, LabelSettings):
    """Settings of the ner recipe."""

    tokens_column: str | None = setting(None, "Column of the lists of tokens, where it is not called tokens, words ...")
    tags_column: str | None = setting(None, "Column of the lists of tags, where it is not called tags, ner_tags ...")


def build_model(
    encoder: str = "minilm-l6",
    num_classes: int = 3,
    *,
    preprocessor: str | None = None,
    seq_length: int = 128,
    overlap: int | None = None,
    dropout: float = 0.1,
    freeze: str = "none",
    implementation: str = "auto",
) -> "keras.Model":
    """A model that takes texts and gives the logits of each token's tag.

    Args:
        encoder: a catalogue name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        num_classes: how many tags there are: O, and B- and I- for each kind of entity.
        preprocessor: the encoder's preprocessor, where it cannot be found from it.
        seq_length: the most tokens of a window; a longer text becomes several windows.
        overlap: tokens that neighbouring windows share; a quarter of `seq_length` by default.
        dropout: before the last layer.
        freeze: what of the encoder stays as it is: none, embeddings, N, all-but-N, all-but-pooler, all.
        implementation: of the encoder: auto, native or graph (see `HubEncoder`).

    Returns:
        A model from a string tensor of shape (batch,) to logits, float32 (windows, length, num_classes).
        `model.get_layer("token_model")` is its part behind the preprocessing, and `model.get_layer("preprocessor")`
        tells which word of which text each token belongs to.

    Raises:
        InputError: there is no such encoder, or it does not fit the other arguments.

    Reference:
        Devlin et al. 2019, section 5.3, https://arxiv.org/abs/1810.04805
    """
    from tfhub_ft.models.builders import text_model
    from tfhub_ft.models.heads import ClassificationHead

    head = ClassificationHead(num_classes, dropout=dropout, name="logits")
    return text_model(
        lambda encoded: head(encoded["sequence_output"]),
        name="ner",
        encoder=encoder,
        preprocessor=preprocessor,
        seq_length=seq_length,
        freeze=freeze,
        implementation=implementation,
        windows={"overlap": overlap, "split": "words"},
    )


RECIPE = Recipe(
    name="ner",
    summary="Which people, places and things does a text name? A tag for each word.",
    task=TokenClassification(),
    build_model=build_model,
    settings=NerSettings(epochs=5, batch_size=16, learning_rate=1e-4),
    recommended=("minilm-l6", "bert-base-cased", "bert-base-multilingual-cased"),
    demo=Path(__file__).parent / "demo" / "ner.jsonl",
)
