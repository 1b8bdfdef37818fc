"""A chatbot that writes its replies: a small causal language model, fine-tuned on dialogues.

From the command line:

    tfhub-ft train dialogue --data dialogues.jsonl --output-dir runs/dialogue
    tfhub-ft chat runs/dialogue

In Python:

    import keras
    import tensorflow as tf

    from tfhub_ft.recipes import dialogue

    prompts, replies = ["hello", "where is my order"], ["hi there", "it was sent today"]
    model = dialogue.build_model(language_model="smollm2-135m-instruct")
    model.compile(keras.optimizers.AdamW(1e-5), loss=dialogue.loss(), metrics=dialogue.metrics())
    model.fit(tf.data.Dataset.from_tensor_slices(((prompts, replies), tf.zeros(len(prompts)))).batch(8))
"""

from typing import TYPE_CHECKING

from tfhub_ft import Dialogue, DialogueSettings, Recipe, demo_file

if TYPE_CHECKING:
    import keras


def build_model(
    language_model: str = "smollm2-135m-instruct", *, system: str | None = None, seq_length: int = 512
) -> "keras.Model":
    """Build a model that scores how well a language model predicts the replies to prompts.

    Args:
        language_model: A name of the catalog, a KerasHub preset (its folder, name or handle) or a .gguf file.
        system: System prompt of dialogues without one; None leaves it to the model's chat template.
        seq_length: Maximum number of tokens of a dialogue.

    Returns:
        A model from two string tensors of shape (batch,), prompt and reply, to float32 (batch, 3): of each reply the
        sums of cross-entropy, of correct predictions and of tokens. KerasHub's model is the attribute `causal_lm` of
        `language_model`, a layer of its `token_model`.

    Reference:
        Allal et al. 2025, https://arxiv.org/abs/2502.02737 (SmolLM2); Hu et al. 2021,
        https://arxiv.org/abs/2106.09685 (LoRA)
    """
    from tfhub_ft import dialogue_model

    return dialogue_model(language_model=language_model, system=system, seq_length=seq_length)


def loss() -> "keras.losses.Loss":
    """Return the mean cross-entropy of the replies' tokens."""
    from tfhub_ft import GuessedCrossEntropy

    return GuessedCrossEntropy()


def metrics() -> "list[keras.metrics.Metric]":
    """Return the share of the replies' tokens that are predicted correctly."""
    from tfhub_ft import GuessAccuracy

    return [GuessAccuracy(name="token_accuracy")]


RECIPE = Recipe(
    summary="A chatbot that writes its replies: a small language model, fine-tuned on dialogues.",
    task=Dialogue(),
    build_model=build_model,
    loss=loss,
    metrics=metrics,
    settings=DialogueSettings(epochs=2, batch_size=8, learning_rate=5e-4),
    recommended=("smollm2-135m-instruct",),
    demo=demo_file("dialogue.jsonl"),
)
