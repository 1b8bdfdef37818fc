"""A chatbot that finds its replies: a bi-encoder ranks the replies of the training rows for each prompt.

From the command line:

    tfhub-ft train chat --data dialogues.jsonl --output-dir runs/chat
    tfhub-ft chat runs/chat

In Python:

    import keras
    import tensorflow as tf

    from tfhub_ft.recipes import chat
    from tfhub_ft.tasks.losses import InBatchNegatives

    prompts, replies = ["hello", "where is my order"], ["hi there", "it was sent today"]
    reply_numbers = [0, 1]
    model = chat.build_model(encoder="minilm-l6")
    model.compile(keras.optimizers.AdamW(5e-5), InBatchNegatives())
    model.fit(tf.data.Dataset.from_tensor_slices(((prompts, replies), reply_numbers)).batch(64))
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.recipe import Recipe
from tfhub_ft.settings import Settings, setting
from tfhub_ft.tasks.retrieval import Retrieval

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChatSettings(Settings):
    """Settings of the chat recipe."""

    prompt_column: str | None = setting(None, "Column of the prompts, where it is not called prompt, question ...")
    reply_column: str | None = setting(None, "Column of the replies, where it is not called reply, answer ...")


def build_model(
    encoder: str = "minilm-l6",
    *,
    preprocessor: str | None = None,
    seq_length: int = 64,
    freeze: str = "none",
    implementation: str = "auto",
) -> "keras.Model":
    """A model that embeds prompts and replies, so that a prompt stands close to its reply.

    Args:
        encoder: a catalogue name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        preprocessor: the encoder's preprocessor, where it cannot be found from it.
        seq_length: the most tokens of a prompt and its reply together; the longer one is cut first.
        freeze: what of the encoder stays as it is: none, embeddings, N, all-but-N, all-but-pooler, all.
        implementation: of the encoder: auto, native or graph (see `HubEncoder`).

    Returns:
        A model from two string tensors of shape (batch,), prompt and reply, to their unit vectors, float32 (batch, 2,
        hidden). `model.get_layer("token_model")` is its part behind the preprocessing, and `embedding_model` in that
        embeds one text. A run keeps another model, made of it: from a prompt to its cosine with each reply.

    Raises:
        InputError: there is no such encoder, or it does not fit the other arguments.

    Reference:
        Henderson et al. 2017, https://arxiv.org/abs/1705.00652
    """
    from tfhub_ft.models.builders import bi_encoder_model
    from tfhub_ft.models.heads import StackHalves

    return bi_encoder_model(
        StackHalves(name="pairs"),
        name="chat",
        inputs=("prompt", "reply"),
        encoder=encoder,
        preprocessor=preprocessor,
        seq_length=seq_length,
        freeze=freeze,
        implementation=implementation,
    )


RECIPE = Recipe(
    name="chat",
    summary="Which reply fits a prompt? The best of the replies seen in training.",
    task=Retrieval(),
    build_model=build_model,
    settings=ChatSettings(epochs=2, batch_size=64, seq_length=64),
    recommended=("minilm-l6", "bert-base-uncased", "distilbert-base-uncased"),
    demo=Path(__file__).parent / "demo" / "chat.jsonl",
)
