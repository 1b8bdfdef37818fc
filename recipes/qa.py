"""Question answering: the span of a passage that answers a question, or that there is none.

Rows come from SQuAD files, version 1 or 2; long passages are read by overlapping windows.

From the command line:

    tfhub-ft train qa --data squad.json --output-dir runs/qa
    tfhub-ft predict runs/qa "Where was she born?" "Ada Lovelace was born in London."

In Python:

    import tensorflow as tf

    from tfhub_ft.recipes import qa

    model = qa.build_model(encoder="minilm-l6")
    logits = model((tf.constant(["Where was she born?"]), tf.constant(["Ada Lovelace was born in London."])))
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.recipe import Recipe
from tfhub_ft.settings import WindowedSettings, setting
from tfhub_ft.tasks.question_answering import QuestionAnswering

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class QaSettings(WindowedSettings):
    """Settings of the qa recipe."""

    question_column: str | None = setting(None, "Column of the questions, where it is not called question, query.")
    context_column: str | None = setting(None, "Column of the passages, where it is not called context, passage ...")
    answers_column: str | None = setting(None, "Column of the answers, where it is not called answers, answer.")


def build_model(
    encoder: str = "minilm-l6",
    *,
    preprocessor: str | None = None,
    seq_length: int = 256,
    overlap: int | None = None,
    dropout: float = 0.1,
    freeze: str = "none",
    implementation: str = "auto",
) -> "keras.Model":
    """A model that takes questions and passages and gives, for each token, the logits that an answer starts, or ends.

    Args:
        encoder: a catalogue name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        preprocessor: the encoder's preprocessor, where it cannot be found from it.
        seq_length: the most tokens of a window, question included; a longer passage becomes several windows.
        overlap: tokens that neighbouring windows share; a quarter of `seq_length` by default.
        dropout: before the last layer.
        freeze: what of the encoder stays as it is: none, embeddings, N, all-but-N, all-but-pooler, all.
        implementation: of the encoder: auto, native or graph (see `HubEncoder`).

    Returns:
        A model from two string tensors of shape (batch,), question and context, to logits, float32 (windows, length,
        2). `model.get_layer("token_model")` is its part behind the preprocessing, and
        `model.get_layer("preprocessor")` tells which word of which passage each token belongs to.

    Raises:
        InputError: there is no such encoder, or it does not fit the other arguments.

    Reference:
        Devlin et al. 2019, section 4.2, https://arxiv.org/abs/1810.04805
    """
    from tfhub_ft.models.builders import text_model
    from tfhub_ft.models.heads import ClassificationHead

    head = ClassificationHead(2, dropout=dropout, name="logits")
    return text_model(
        lambda encoded: head(encoded["sequence_output"]),
        name="qa",
        encoder=encoder,
        preprocessor=preprocessor,
        seq_length=seq_length,
        freeze=freeze,
        implementation=implementation,
        inputs=("question", "context"),
        windows={"overlap": overlap, "split": "parts"},
    )


RECIPE = Recipe(
    name="qa",
    summary="Where does a passage answer a question? A span of it, or none.",
    task=QuestionAnswering(),
    build_model=build_model,
    settings=QaSettings(seq_length=256, epochs=3, batch_size=16, learning_rate=1e-4),
    recommended=("minilm-l6", "bert-base-uncased", "bert-experts-wiki-books-squad2"),
    demo=Path(__file__).parent / "demo" / "qa.json",
)
