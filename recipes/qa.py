"""Question answering: the span of a passage that answers a question, or no answer.

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
from typing import TYPE_CHECKING, Any

from tfhub_ft import QuestionAnswering, Recipe, WindowedSettings, demo_file, setting

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class QaSettings(WindowedSettings):
    """Settings of the qa recipe."""

    question_column: str | None = setting(
        None, "Column of the questions; by default found by its name (question, query, ...)."
    )
    context_column: str | None = setting(
        None, "Column of the passages; by default found by its name (context, passage, ...)."
    )
    answers_column: str | None = setting(
        None, "Column of the answers; by default found by its name (answers, answer, ...)."
    )


def build_model(
    encoder: str = "minilm-l6",
    *,
    seq_length: int = 256,
    overlap: int | None = None,
    dropout: float = 0.1,
    **options: Any,
) -> "keras.Model":
    """Build a model from questions and passages to two logits per token, for the start and the end of an answer.

    Args:
        encoder: A catalog name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        seq_length: Maximum length of a window, including the question.
        overlap: Tokens that neighboring windows of a long passage share; a quarter of `seq_length` by default.
        dropout: Dropout before the last layer.
        options: Other fields of `EncoderArguments`.

    Returns:
        A model from two string tensors of shape (batch,), question and context, to logits, float32 (windows, length,
        2). Its layer `preprocessor` maps each token to its word and passage.

    Reference:
        Devlin et al. 2019, section 4.2, https://arxiv.org/abs/1810.04805
    """
    from tfhub_ft import ClassificationHead, text_model

    head = ClassificationHead(2, dropout=dropout, name="logits")
    return text_model(
        lambda encoded: head(encoded["sequence_output"]),
        inputs=("question", "context"),
        windows={"overlap": overlap, "split": "parts"},
        encoder=encoder,
        seq_length=seq_length,
        **options,
    )


def loss() -> "keras.losses.Loss":
    """Return the mean cross-entropy of the answer's start and end; [CLS] is the answer of a window without one."""
    from tfhub_ft import SpanCrossEntropy

    return SpanCrossEntropy()


def metrics() -> "list[keras.metrics.Metric]":
    """Return no metrics: exact match and F1 need whole passages, and are computed after each epoch."""
    return []


RECIPE = Recipe(
    summary="Where does a passage answer a question? A span of it, or none.",
    task=QuestionAnswering(),
    build_model=build_model,
    loss=loss,
    metrics=metrics,
    settings=QaSettings(seq_length=256, epochs=3, batch_size=16, learning_rate=1e-4),
    recommended=("minilm-l6", "bert-base-uncased", "bert-experts-wiki-books-squad2"),
    demo=demo_file("qa.json"),
)
