"""How a recipe's model is composed: texts, preprocessor, encoder, head."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tfhub_ft.encoders import MASK
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras

MASK_SHARE = 0.15


def text_model(
    head: Callable[[dict[str, Any]], Any],
    *,
    name: str,
    encoder: str,
    preprocessor: str | None = None,
    seq_length: int = 128,
    freeze: str = "none",
    implementation: str = "auto",
    lowercase: bool = False,
    inputs: Sequence[str] = ("text",),
    windows: dict[str, Any] | None = None,
) -> "keras.Model":
    """Compose a text-in model whose part behind the preprocessing is a model of its own.

    Training tokenizes once, outside the step, and fits that inner model; an export offers both entrances.

    Args:
        head: layers from what the encoder gives, {"pooled_output", "sequence_output", ...}, and "input_mask" to logits.
        name: of the model.
        encoder: a catalogue name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        preprocessor: the encoder's preprocessor, where it cannot be found from it.
        seq_length: the most tokens of a row; of a pair the longer text is cut first.
        freeze: what of the encoder stays as it is: none, embeddings, N, all-but-N, all-but-pooler, all.
        implementation: of the encoder: auto, native or graph (see `HubEncoder`).
        lowercase: whether texts are lower-cased before the preprocessor reads them.
        inputs: names of the text inputs, one or two.
        windows: `overlap` and `split` of a `WindowPreprocessor`, which then stands in the preprocessor's place: long
            texts become several rows instead of being cut.

    Returns:
        A model from string tensors of shape (batch,), one an input, to logits. The part behind the preprocessing is
        the model `model.get_layer("token_model")`.

    Raises:
        InputError: there is no such encoder, it reads fewer tokens, or it does not fit the other arguments.

    Example:
        text_model(lambda encoded: keras.layers.Dense(3)(encoded["pooled_output"]), name="mine", encoder="minilm-l6")
    """
    from tfhub_ft.encoders import HubEncoder

    def network(tokens: dict[str, Any]) -> Any:
        encoded = HubEncoder(encoder, freeze=freeze, implementation=implementation, name="encoder")(tokens)
        return head({**encoded, "input_mask": tokens["input_mask"]})

    return _behind_preprocessor(
        network,
        name=name,
        inputs=inputs,
        encoder=encoder,
        preprocessor=preprocessor,
        seq_length=seq_length,
        lowercase=lowercase,
        windows=windows,
    )


def bi_encoder_model(
    compare: "keras.layers.Layer",
    *,
    name: str,
    encoder: str,
    preprocessor: str | None = None,
    seq_length: int = 128,
    freeze: str = "none",
    implementation: str = "auto",
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
        implementation: of the encoder: auto, native or graph (see `HubEncoder`).
        inputs: names of the two text inputs.

    Returns:
        A model from two string tensors of shape (batch,) to what `benchmark` gives.

    Raises:
        InputError: there is no such encoder, it reads fewer tokens, or it does not fit the other arguments.

    Reference:
        Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084
    """
    import keras

    from tfhub_ft.encoders import HubEncoder
    from tfhub_ft.models.heads import MeanPooling, SplitSegments

    def network(tokens: dict[str, Any]) -> Any:
        one = {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in tokens}
        encoded = HubEncoder(encoder, freeze=freeze, implementation=implementation, name="encoder")(one)
        embedding = MeanPooling(name="embedding")(encoded["sequence_output"], one["input_mask"])
        embedding_model = keras.Model(one, embedding, name="embedding_model")
        return compare(embedding_model(SplitSegments(name="split_segments")(tokens)))

    return _behind_preprocessor(
        network, name=name, inputs=inputs, encoder=encoder, preprocessor=preprocessor, seq_length=seq_length
    )


def pair_model(
    head: "keras.layers.Layer",
    *,
    name: str,
    encoder: str,
    preprocessor: str | None = None,
    seq_length: int = 128,
    freeze: str = "none",
    implementation: str = "auto",
    inputs: tuple[str, str] = ("sentence1", "sentence2"),
) -> "keras.Model":
    """Compose a model that reads two texts together, and compares them as embedded apart, by the same encoder.

    Read together, every word sees the other text. The cosine of the embeddings brings what an encoder that was trained
    for similarity, as minilm-l6 was, knows already; with few rows that decides.

    Args:
        head: a layer from features, float (batch, size), to logits.
        name: of the model.
        encoder: a catalogue name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        preprocessor: the encoder's preprocessor, where it cannot be found from it.
        seq_length: the most tokens of both texts together; the longer one is cut first.
        freeze: what of the encoder stays as it is.
        implementation: of the encoder: auto, native or graph (see `HubEncoder`).
        inputs: names of the two text inputs.

    Returns:
        A model from two string tensors of shape (batch,) to logits.

    Raises:
        InputError: there is no such encoder, it reads fewer tokens, or it does not fit the other arguments.
    """
    import keras

    from tfhub_ft.encoders import HubEncoder
    from tfhub_ft.models.heads import CosineFeature, MeanPooling, SplitSegments

    def network(tokens: dict[str, Any]) -> Any:
        encode = HubEncoder(encoder, freeze=freeze, implementation=implementation, name="encoder")
        apart = SplitSegments(name="split_segments")(tokens)
        embeddings = MeanPooling(name="embeddings")(encode(apart)["sequence_output"], apart["input_mask"])
        features = [encode(tokens)["pooled_output"], CosineFeature(name="cosine")(embeddings)]
        return head(keras.layers.Concatenate(name="features")(features))

    return _behind_preprocessor(
        network, name=name, inputs=inputs, encoder=encoder, preprocessor=preprocessor, seq_length=seq_length
    )


def masked_word_model(
    *,
    name: str,
    encoder: str,
    preprocessor: str | None = None,
    seq_length: int = 128,
    freeze: str = "none",
    implementation: str = "auto",
    mask_share: float = MASK_SHARE,
) -> "keras.Model":
    """Compose a model that hides words of texts and scores its guesses.

    Args:
        name: of the model.
        encoder: a catalogue name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        preprocessor: the encoder's preprocessor, where it cannot be found from it.
        seq_length: the most tokens of a window; a longer text becomes several windows.
        freeze: what of the encoder stays as it is.
        implementation: of the encoder: auto, native or graph (see `HubEncoder`).
        mask_share: of the words that are hidden.

    Returns:
        A model from a string tensor of shape (batch,) to float32 (windows, 3): cross-entropy, right guesses,
        and guesses.

    Raises:
        InputError: there is no such encoder, or it has no WordPiece vocabulary or no word embeddings.
    """
    from tfhub_ft.encoders import HubEncoder
    from tfhub_ft.encoders.hub_preprocessor import read_vocabulary
    from tfhub_ft.encoders.resolve import resolve_preprocessor

    vocabulary = read_vocabulary(resolve_preprocessor(encoder, preprocessor), encoder)

    def network(tokens: dict[str, Any]) -> Any:
        from tfhub_ft.models.masked_lm import MaskedWordHead

        head = MaskedWordHead(name="masked_word_head")
        return _scored_guesses(
            tokens,
            vocabulary,
            mask_share,
            HubEncoder(encoder, freeze=freeze, implementation=implementation, name="encoder"),
            head,
        )

    return _behind_preprocessor(
        network,
        name=name,
        inputs=("text",),
        encoder=encoder,
        preprocessor=preprocessor,
        seq_length=seq_length,
        windows={"overlap": 0, "split": "words", "masks": True},
    )


def _scored_guesses(tokens: dict[str, Any], vocabulary: list[str], share: float, encoder: Any, head: Any) -> Any:
    from tfhub_ft.models.masked_lm import MaskedWordScores, MaskWords, token_kinds

    mask_words = MaskWords(len(vocabulary), vocabulary.index(MASK), share=share)
    mask_words.set_weights([*mask_words.get_weights()[:-1], token_kinds(vocabulary)])
    hidden = mask_words(tokens)
    encoded = encoder({name: hidden[name] for name in tokens})
    if "word_embeddings" not in encoded:
        raise InputError(f"--encoder {encoder.encoder}: has no word embeddings that words could be guessed by")
    guesses = head(encoded["sequence_output"], hidden["chosen"], encoded["word_embeddings"])
    return MaskedWordScores(name="logits")(guesses, hidden["chosen"], tokens["input_word_ids"])


def masked_word_scores(model: "keras.Model") -> "keras.Model":
    """From tokens to the scores of guesses, as `masked_word_model` trains it, of a model that has the same layers."""
    import keras

    network = model.get_layer("token_model")
    tokens = {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in network.input}
    share = next((layer.share for layer in network.layers if layer.name == "mask_words"), MASK_SHARE)
    vocabulary = model.get_layer("preprocessor").vocabulary
    layers = network.get_layer("encoder"), network.get_layer("masked_word_head")
    return keras.Model(tokens, _scored_guesses(tokens, vocabulary, share, *layers))


def mask_filling_model(model: "keras.Model") -> "keras.Model":
    """Of a trained `masked_word_model` the model that guesses what [MASK] in a text stands for.

    Returns:
        A model from a string tensor of shape (batch,) to logits, float32 (windows, most masks, vocabulary).
    """
    import keras

    from tfhub_ft.models.masked_lm import MaskPlaces, StackPlaces

    preprocessor, network = model.get_layer("preprocessor"), model.get_layer("token_model")
    text = keras.Input(shape=(), dtype="string", name="text")
    tokens = preprocessor(text)
    inputs = {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in tokens}
    places = MaskPlaces(preprocessor.vocabulary.index(MASK), name="mask_places")(inputs["input_word_ids"])
    encoded = network.get_layer("encoder")(inputs)
    head = network.get_layer("masked_word_head")
    guesses = head(encoded["sequence_output"], places, encoded["word_embeddings"])
    token_model = keras.Model(inputs, StackPlaces(name="logits")(guesses, places), name="token_model")
    return keras.Model(text, token_model(tokens), name=model.name)


def _behind_preprocessor(
    network: Callable[[dict[str, Any]], Any],
    *,
    name: str,
    inputs: Sequence[str],
    encoder: str,
    windows: dict[str, Any] | None = None,
    **options: Any,
) -> "keras.Model":
    import keras

    from tfhub_ft.encoders import HubPreprocessor
    from tfhub_ft.encoders.hub_encoder import encoder_of
    from tfhub_ft.encoders.window_preprocessor import WindowPreprocessor

    texts = [keras.Input(shape=(), dtype="string", name=text) for text in inputs]
    texts = texts if len(texts) > 1 else texts[0]
    preprocess = WindowPreprocessor if windows else HubPreprocessor
    preprocessor = preprocess(encoder, name="preprocessor", **options, **(windows or {}))
    tokens = preprocessor(texts)
    token_inputs = {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in tokens}
    token_model = keras.Model(token_inputs, network(token_inputs), name="token_model")
    encoder_of(token_model).backend.check_length(preprocessor.seq_length)
    return keras.Model(texts, token_model(tokens), name=name)
