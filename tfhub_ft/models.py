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
    from tfhub_ft.encoders import HubEncoder

    return _behind_preprocessor(
        lambda tokens: head(HubEncoder(encoder, freeze=freeze)(tokens)),
        name=name,
        inputs=inputs,
        encoder=encoder,
        preprocessor=preprocessor,
        seq_length=seq_length,
        lowercase=lowercase,
    )


def bi_encoder_model(
    compare: "keras.layers.Layer",
    *,
    name: str,
    encoder: str,
    preprocessor: str | None = None,
    seq_length: int = 128,
    freeze: str = "none",
    inputs: tuple[str, str] = ("sentence1", "sentence2"),
) -> "keras.Model":
    """Compose a model that embeds two texts apart, by the same encoder, and compares the embeddings.

    An embedding is the mean of a text's token vectors, brought to length one. `embedding_model`, the layer of that name
    in the token model, gives it for one text's tokens; exports of the model have it as the signature `embed`.

    Args:
        compare: a layer from embeddings, float (2 * batch, hidden), all first texts before all second ones.
        name: of the model.
        encoder: a catalogue name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        preprocessor: the encoder's preprocessor, where it cannot be found from it.
        seq_length: the most tokens of both texts together; the longer one is cut first.
        freeze: what of the encoder stays as it is.
        inputs: names of the two text inputs.

    Returns:
        A model from two string tensors of shape (batch,) to what `compare` gives.

    Raises:
        InputError: there is no such encoder, or it does not fit the other arguments.

    Reference:
        Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084
    """
    import keras

    from tfhub_ft.encoders import HubEncoder
    from tfhub_ft.heads import MeanPooling, SplitSegments

    def network(tokens: dict[str, Any]) -> Any:
        one = {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in tokens}
        encoded = HubEncoder(encoder, freeze=freeze)(one)
        embedding = MeanPooling(name="embedding")(encoded["sequence_output"], one["input_mask"])
        embedding_model = keras.Model(one, embedding, name="embedding_model")
        return compare(embedding_model(SplitSegments(name="split_segments")(tokens)))

    return _behind_preprocessor(
        network, name=name, inputs=inputs, encoder=encoder, preprocessor=preprocessor, seq_length=seq_length
    )


def _behind_preprocessor(
    network: Callable[[dict[str, Any]], Any], *, name: str, inputs: Sequence[str], encoder: str, **options: Any
) -> "keras.Model":
    import keras

    from tfhub_ft.encoders import HubPreprocessor

    texts = [keras.Input(shape=(), dtype="string", name=text) for text in inputs]
    texts = texts if len(texts) > 1 else texts[0]
    tokens = HubPreprocessor(encoder, **options)(texts)
    token_inputs = {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in tokens}
    token_model = keras.Model(token_inputs, network(token_inputs), name="token_model")
    return keras.Model(texts, token_model(tokens), name=name)
