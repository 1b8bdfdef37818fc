"""Make an encoder at home in texts of one's own, without labels: it learns to guess their hidden words.

The run's folder is a TF Hub encoder afterwards, and every other recipe takes it.

From the command line:

    tfhub-ft train adapt --data texts.txt --output-dir runs/adapted
    tfhub-ft train spam --encoder runs/adapted --data sms.csv
    tfhub-ft predict runs/adapted "Please call me [MASK] you are free."

In Python:

    import tensorflow as tf

    from tfhub_ft.recipes import adapt

    model = adapt.build_model(encoder="minilm-l6")
    sums = model(tf.constant(["A text of your own."]))
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.recipe import Recipe
from tfhub_ft.settings import Settings, setting
from tfhub_ft.tasks.masked_lm import MaskedLM

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptSettings(Settings):
    """Settings of the adapt recipe."""

    text_column: str | None = setting(None, "Column of the texts, where it is not called text, sentence, review ...")
    mask_share: float = setting(0.15, "Share of the words that are hidden.", minimum=0.01, maximum=0.9)


def build_model(
    encoder: str = "minilm-l6",
    *,
    preprocessor: str | None = None,
    seq_length: int = 128,
    freeze: str = "none",
    implementation: str = "auto",
    mask_share: float = 0.15,
) -> "keras.Model":
    """A model that hides words of texts and scores how well it guesses them.

    Args:
        encoder: a catalogue name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        preprocessor: the encoder's preprocessor, where it cannot be found from it.
        seq_length: the most tokens of a window; a longer text becomes several windows.
        freeze: what of the encoder stays as it is: none, embeddings, N, all-but-N, all-but-pooler, all.
        implementation: of the encoder: auto, native or graph (see `HubEncoder`).
        mask_share: of the words that are hidden.

    Returns:
        A model from a string tensor of shape (batch,) to float32 (windows, 3): the sums of cross-entropy, of right
        guesses and of guesses. `model.get_layer("token_model")` is its part behind the preprocessing; its layer
        `encoder` is what is adapted.

    Raises:
        InputError: there is no such encoder, or it does not fit the other arguments.

    Reference:
        Gururangan et al. 2020, https://arxiv.org/abs/2004.10964; Devlin et al. 2019, https://arxiv.org/abs/1810.04805
    """
    from tfhub_ft.models.builders import masked_word_model

    return masked_word_model(
        name="adapt",
        encoder=encoder,
        preprocessor=preprocessor,
        seq_length=seq_length,
        freeze=freeze,
        implementation=implementation,
        mask_share=mask_share,
    )


RECIPE = Recipe(
    name="adapt",
    summary="An encoder for texts of one's own: it learns to guess their hidden words.",
    task=MaskedLM(),
    build_model=build_model,
    settings=AdaptSettings(learning_rate=1e-4),
    recommended=("minilm-l6", "bert-base-uncased", "distilbert-base-uncased"),
    demo=Path(__file__).parent / "demo" / "adapt.txt",
)
