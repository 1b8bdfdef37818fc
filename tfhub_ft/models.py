"""How a recipe's model is composed: texts, preprocessor, encoder, head."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def text_model(
    head: Callable[[dict[str, Any]], Any],
    *,
    name: str,
    encoder: str,
    preprocessor: str | None = None,
    seq_length: int = 128,
    freeze: str = "none",
    lowercase: bool = False,
    inputs: Sequence[str] = ("text",),
) -> "keras.Model":
    """Compose a text-in model whose part behind the preprocessing is a model of its own.

    Training tokenizes once, outside the step, and fits that inner model; an export offers both entrances.

    Args:
        head: layers from what the encoder gives, {"pooled_output", "sequence_output", ...}, to logits.
        name: of the model.
        encoder: a catalogue name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        preprocessor: the encoder's preprocessor, where it cannot be found from it.
        seq_length: the most tokens of a row; of a pair the longer text is cut first.
        freeze: what of the encoder stays as it is: none, embeddings, N, all-but-N, all-but-pooler, all.
        lowercase: whether texts are lower-cased before the preprocessor reads them.
        inputs: names of the text inputs, one or two.

    Returns:
        A model from string tensors of shape (batch,), one an input, to logits. The part behind the preprocessing is
        the model `model.get_layer("token_model")`.

    Raises:
        InputError: there is no such encoder, or it does not fit the other arguments.

    Example:
        text_model(lambda encoded: keras.layers.Dense(3)(encoded["pooled_output"]), name="mine", encoder="minilm-l6")
    """
    import keras

    from tfhub_ft.encoders import HubEncoder, HubPreprocessor

    texts = [keras.Input(shape=(), dtype="string", name=text) for text in inputs]
    preprocess = HubPreprocessor(encoder, preprocessor=preprocessor, seq_length=seq_length, lowercase=lowercase)
    tokens = preprocess(texts if len(texts) > 1 else texts[0])

    token_inputs = {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in tokens}
    encoded = HubEncoder(encoder, freeze=freeze)(token_inputs)
    token_model = keras.Model(token_inputs, head(encoded), name="token_model")

    return keras.Model(texts if len(texts) > 1 else texts[0], token_model(tokens), name=name)
