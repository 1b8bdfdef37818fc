"""A chatbot that writes its answers: a small causal language model, fine-tuned on dialogues.

From the command line:

    tfhub-ft train dialogue --data dialogues.jsonl --output-dir runs/dialogue
    tfhub-ft chat runs/dialogue

In Python:

    import keras
    import tensorflow as tf

    from tfhub_ft.recipes import dialogue
    from tfhub_ft.tasks.losses import GuessedCrossEntropy

    prompts, replies = ["hello", "where is my order"], ["hi there", "it was sent today"]
    model = dialogue.build_model(language_model="smollm2-135m-instruct")
    model.compile(keras.optimizers.AdamW(1e-5), GuessedCrossEntropy())
    model.fit(tf.data.Dataset.from_tensor_slices(((prompts, replies), tf.zeros(len(prompts)))).batch(8))
"""

from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.language_models.task import Dialogue
from tfhub_ft.recipe import Recipe
from tfhub_ft.settings import DialogueSettings

if TYPE_CHECKING:
    import keras


def build_model(
    language_model: str = "smollm2-135m-instruct", *, system: str | None = None, seq_length: int = 512
) -> "keras.Model":
    """A model that tells how well it would have written the replies to prompts.

    Args:
        language_model: a name of the catalogue, a KerasHub preset (its folder, name or handle) or a .gguf file.
        system: the system prompt of dialogues that have none; None leaves it to the model's chat template.
        seq_length: the most tokens of a dialogue.

    Returns:
        A model from two string tensors of shape (batch,), prompt and reply, to float32 (batch, 3): of each reply the
        sums of cross-entropy, of right guesses and of tokens. `model.get_layer("token_model")` is its part behind the
        preprocessing; in that stands KerasHub's model, `get_layer("language_model").causal_lm`.

    Raises:
        InputError: there is no such language model, or its dialogues cannot be packed.

    Reference:
        Allal et al. 2025, https://arxiv.org/abs/2502.02737 (SmolLM2); Hu et al. 2021,
        https://arxiv.org/abs/2106.09685 (LoRA)
    """
    from tfhub_ft.language_models.builder import dialogue_model

    return dialogue_model(name="dialogue", language_model=language_model, system=system, seq_length=seq_length)


RECIPE = Recipe(
    name="dialogue",
    summary="A chatbot that writes its replies: a small language model, fine-tuned on dialogues.",
    task=Dialogue(),
    build_model=build_model,
    settings=DialogueSettings(epochs=2, batch_size=8, learning_rate=5e-4),
    recommended=("smollm2-135m-instruct",),
    demo=Path(__file__).parent / "demo" / "dialogue.jsonl",
)
