"""A chatbot that retrieves its replies: a bi-encoder ranks the replies of the training rows for each prompt.

From the command line:

    tfhub-ft train retrieval --data dialogues.jsonl --output-dir runs/retrieval
    tfhub-ft chat runs/retrieval

In Python:

    import keras
    import tensorflow as tf

    from tfhub_ft.recipes import retrieval

    prompts, replies = ["hello", "where is my order"], ["hi there", "it was sent today"]
    reply_numbers = [0, 1]
    model = retrieval.build_model(encoder="minilm-l6")
    model.compile(keras.optimizers.AdamW(5e-5), loss=retrieval.loss(), metrics=retrieval.metrics())
    model.fit(tf.data.Dataset.from_tensor_slices(((prompts, replies), reply_numbers)).batch(64))
"""

import dataclasses
from typing import TYPE_CHECKING, Any

from tfhub_ft import Recipe, Retrieval, Settings, demo_file, setting

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrievalSettings(Settings):
    """Settings of the retrieval recipe."""

    prompt_column: str | None = setting(
        None, "Column of the prompts; by default found by its name (prompt, question, ...)."
    )
    reply_column: str | None = setting(
        None, "Column of the replies; by default found by its name (reply, answer, ...)."
    )
    prompt_text: str | None = setting(
        None, "Template of the prompt from several columns, whose names are in braces, such as '{product}: {question}'."
    )
    reply_text: str | None = setting(
        None, "Template of the reply from several columns, whose names are in braces, such as '{greeting} {answer}'."
    )


def build_model(encoder: str = "minilm-l6", *, seq_length: int = 64, **options: Any) -> "keras.Model":
    """Build a model that embeds prompts and replies, so that a prompt is close to its reply.

    Args:
        encoder: A catalog name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        seq_length: Maximum length of a prompt and its reply together.
        options: Other fields of `EncoderArguments`.

    Returns:
        A model from two string tensors of shape (batch,), prompt and reply, to their unit vectors, float32 (batch, 2,
        hidden). A run saves another model with the same encoder: from a prompt to its cosine with each reply.

    Reference:
        Henderson et al. 2017, https://arxiv.org/abs/1705.00652
    """
    from tfhub_ft import StackHalves, bi_encoder_model

    pairs = StackHalves(name="pairs")
    return bi_encoder_model(pairs, inputs=("prompt", "reply"), encoder=encoder, seq_length=seq_length, **options)


def loss() -> "keras.losses.Loss":
    """Return the cross-entropy of each prompt's reply among the replies of the batch, and vice versa."""
    from tfhub_ft import InBatchNegatives

    return InBatchNegatives()


def metrics() -> "list[keras.metrics.Metric]":
    """Return the share of prompts whose reply is the closest of the batch."""
    from tfhub_ft import InBatchRecall

    return [InBatchRecall(name="in_batch_recall")]


RECIPE = Recipe(
    summary="Which reply fits a prompt? The best of the replies seen in training.",
    task=Retrieval(),
    build_model=build_model,
    loss=loss,
    metrics=metrics,
    settings=RetrievalSettings(epochs=2, batch_size=64, seq_length=64),
    recommended=("minilm-l6", "bert-base-uncased", "distilbert-base-uncased"),
    demo=demo_file("retrieval.jsonl"),
)
