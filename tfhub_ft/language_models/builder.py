"""Compose the text-in model of a causal language model."""

from typing import TYPE_CHECKING

from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras


def dialogue_model(
    *, language_model: str, system: str | None = None, seq_length: int = 512, name: str = "dialogue_model"
) -> "keras.Model":
    """Compose a model that scores how well a causal language model predicts the replies to prompts.

    Args:
        language_model: Name of the catalog, KerasHub preset (its folder, name or handle) or .gguf file.
        system: System prompt of dialogues without one; None leaves it to the model's chat template.
        seq_length: Maximum number of tokens of a dialogue.
        name: Name of the model.

    Returns:
        A model from two string tensors of shape (batch,), prompt and reply, to float32 (batch, 3): sums of
        cross-entropy, of correct predictions and of predictions. Its `token_model` starts from token ids.

    Raises:
        InputError: The language model is not found, reads fewer tokens, or its dialogues cannot be packed.

    Example:
        model = dialogue_model(language_model="smollm2-135m-instruct", seq_length=256)
        losses, correct, tokens = model([tf.constant(["Hello?"]), tf.constant(["Hi!"])])[0]
    """
    from tfhub_ft.language_models.chat_template import plain_template
    from tfhub_ft.language_models.dialogue_preprocessor import DialoguePreprocessor
    from tfhub_ft.language_models.language_model_layer import LanguageModel
    from tfhub_ft.language_models.presets import chat_template, load_causal_lm
    from tfhub_ft.models.builders import compose_model

    pretrained = load_causal_lm(language_model)
    tokenizer = pretrained.preprocessor.tokenizer  # pyright: ignore[reportOptionalMemberAccess]
    end = tokenizer.id_to_token(tokenizer.end_token_id)
    preprocessor = DialoguePreprocessor(
        tokenizer,
        template=chat_template(language_model) or plain_template(end),
        specials=sorted(set(tokenizer.special_tokens)),
        system=system,
        seq_length=seq_length,
        name="preprocessor",
    )
    causal_lm = type(pretrained)(backbone=pretrained.backbone, preprocessor=None)
    layer = LanguageModel(causal_lm, source=language_model, name="language_model")
    if layer.max_seq_length and seq_length > layer.max_seq_length:
        raise InputError(f"--seq-length {seq_length}: {language_model} reads at most {layer.max_seq_length} tokens")
    layer.check()
    return compose_model(preprocessor, layer, ("prompt", "reply"), name=name)
