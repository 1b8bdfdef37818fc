"""Compose Keras models of text inputs, preprocessor, encoder and head."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tfhub_ft.encoders import MASK
from tfhub_ft.encoders.packing import LONG_TEXTS, MAX_WINDOWS
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras

    from tfhub_ft.encoders.hub_encoder import HubEncoder
    from tfhub_ft.models.masking import MaskedWordHead

    Tensors = dict[str, keras.KerasTensor]
    Output = keras.KerasTensor | Tensors

MASK_SHARE = 0.15


@dataclasses.dataclass(frozen=True)
class EncoderArguments:
    """Arguments for encoder and preprocessor of the builders and of each recipe's `build_model`.

    Args:
        encoder: A catalog name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        preprocessor: The preprocessor; by default the one that belongs to the encoder.
        seq_length: Maximum sequence length. Longer rows are truncated, of two texts the longer one first, or split into
            windows if the model reads windows.
        long_texts: How a model of one text reads longer texts: "truncate" reads the first tokens, "head-tail" the first
            and the last ones, "windows" all of them in overlapping windows, whose logits are pooled.
        overlap: Number of tokens that neighboring windows of a text share; by default a quarter of `seq_length`.
        window_pooling: "mean" for the mean of the windows' logits, "max" for the highest logit of each class.
        max_windows: Maximum number of windows of a text; the rest of a longer text is truncated.
        freeze: Encoder layers to freeze: none, embeddings, N, all-but-N, all-but-pooler or all.
        implementation: Auto, native or graph (see `HubEncoder`).

    Example:
        EncoderArguments(encoder="minilm-l6", seq_length=64)

    Reference:
        Sun et al. 2019, section 5.3 (head-tail, pooled windows), https://arxiv.org/abs/1905.05583
    """

    encoder: str = "minilm-l6"
    preprocessor: str | None = None
    seq_length: int = 128
    freeze: str = "none"
    implementation: str = "auto"
    long_texts: str = "truncate"
    overlap: int | None = None
    window_pooling: str = "mean"
    max_windows: int = MAX_WINDOWS

    def __post_init__(self) -> None:
        if self.long_texts not in LONG_TEXTS:
            raise InputError(f"--long-texts {self.long_texts}: must be one of {', '.join(LONG_TEXTS)}")


def text_model(
    head: "Callable[[Tensors], Output]",
    *,
    inputs: Sequence[str] = ("text",),
    lowercase: bool = False,
    windows: dict[str, Any] | None = None,
    name: str = "text_model",
    **options: Any,
) -> "keras.Model":
    """Compose text inputs, preprocessor, encoder and head into a model from texts to logits.

    The layers after the preprocessor are a nested model, `model.get_layer("token_model")`: training tokenizes once and
    fits that model, and an export has a signature for each.

    Args:
        head: Layers from the encoder's outputs, {"pooled_output", "sequence_output", ...}, and "input_mask" to logits.
            With `long_texts="windows"`, these are the outputs for windows, and logits are of shape (windows, classes).
        inputs: Names of the text inputs, one or two.
        lowercase: Whether to lowercase texts before tokenization.
        windows: `overlap` and `split` of a `WindowPreprocessor`, which splits long texts instead of truncating them.
            The outputs are the logits of windows, not pooled.
        name: Name of the model.
        options: Fields of `EncoderArguments`.

    Returns:
        A model from string tensors of shape (batch,), one an input, to logits.

    Raises:
        InputError: The encoder is not found, is limited to fewer tokens, or does not support the other arguments.

    Example:
        text_model(lambda encoded: keras.layers.Dense(3)(encoded["pooled_output"]), encoder="minilm-l6")
    """

    arguments = EncoderArguments(**options)
    if len(inputs) > 1 or windows is not None:
        _refuse_long_texts(arguments)

    def network(encoder: "HubEncoder", tokens: "Tensors") -> "Output":
        return head({**encoder(tokens), "input_mask": tokens["input_mask"]})

    def pooled(encoder: "HubEncoder", tokens: "Tensors") -> "Output":
        from tfhub_ft.models.window_pooling import PoolWindows, SelectWindows

        selected = SelectWindows(name="select_windows")(tokens)
        logits = network(encoder, {name: selected[name] for name in tokens})
        return PoolWindows(arguments.window_pooling, name="window_pooling")(logits, selected["is_window"])

    is_pooled = arguments.long_texts == "windows"
    return _encoder_model(
        pooled if is_pooled else network, inputs, name, arguments, lowercase=lowercase, windows=windows
    )


def bi_encoder_model(
    compare: "keras.layers.Layer",
    *,
    inputs: tuple[str, str] = ("sentence1", "sentence2"),
    name: str = "bi_encoder_model",
    **options: Any,
) -> "keras.Model":
    """Compose a model that embeds two texts separately with one encoder and compares the embeddings.

    An embedding is the mean of a text's token vectors, normalized to length one. `embedding_model`, a layer of the
    token model, computes it; exports have it as the signature `embed`.

    Args:
        compare: A layer from embeddings, float (2 * batch, hidden), all first texts before all second ones.
        inputs: Names of the two text inputs.
        name: Name of the model.
        options: Fields of `EncoderArguments`.

    Returns:
        A model from two string tensors of shape (batch,) to the output of `compare`.

    Raises:
        InputError: See `text_model`.

    Example:
        bi_encoder_model(CosineSimilarity(), encoder="minilm-l6", seq_length=64)

    Reference:
        Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084
    """
    import keras

    from tfhub_ft.models.heads import MeanPooling, SplitSegments

    def network(encoder: "HubEncoder", tokens: "Tensors") -> "Output":
        text_tokens = token_inputs(tokens)
        sequence = encoder(text_tokens)["sequence_output"]
        embedding = MeanPooling(name="embedding")(sequence, text_tokens["input_mask"])
        embedding_model = keras.Model(text_tokens, embedding, name="embedding_model")
        return compare(embedding_model(SplitSegments(name="split_segments")(tokens)))

    return _encoder_model(network, inputs, name, _refuse_long_texts(EncoderArguments(**options)))


def pair_model(
    head: "keras.layers.Layer",
    *,
    inputs: tuple[str, str] = ("sentence1", "sentence2"),
    name: str = "pair_model",
    **options: Any,
) -> "keras.Model":
    """Compose a model that reads two texts together, with the cosine of their separate embeddings as a feature.

    Read together, each token attends to both texts. The cosine adds the knowledge of encoders that were trained for
    similarity, such as minilm-l6, which matters most with few training rows.

    Args:
        head: A layer from features, float (batch, size), to logits.
        inputs: Names of the two text inputs.
        name: Name of the model.
        options: Fields of `EncoderArguments`.

    Returns:
        A model from two string tensors of shape (batch,) to logits.

    Raises:
        InputError: See `text_model`.

    Example:
        pair_model(ClassificationHead(2, fitted_inputs=1), encoder="minilm-l6")
    """
    import keras

    from tfhub_ft.models.heads import CosineFeature, MeanPooling, SplitSegments

    def network(encoder: "HubEncoder", tokens: "Tensors") -> "Output":
        texts = SplitSegments(name="split_segments")(tokens)
        embeddings = MeanPooling(name="embeddings")(encoder(texts)["sequence_output"], texts["input_mask"])
        features = [encoder(tokens)["pooled_output"], CosineFeature(name="cosine")(embeddings)]
        return head(keras.layers.Concatenate(name="features")(features))

    return _encoder_model(network, inputs, name, _refuse_long_texts(EncoderArguments(**options)))


def masked_lm_model(*, mask_share: float = MASK_SHARE, name: str = "masked_lm_model", **options: Any) -> "keras.Model":
    """Compose a model that masks words of texts and scores its predictions of their tokens.

    Args:
        mask_share: Share of the words to mask.
        name: Name of the model.
        options: Fields of `EncoderArguments`.

    Returns:
        A model from a string tensor of shape (batch,) to float32 (windows, 3): the sum of the cross-entropy, the number
        of correct predictions, and the number of predictions.

    Raises:
        InputError: See `text_model`; or the encoder lacks a WordPiece vocabulary or word embeddings.

    Example:
        masked_lm_model(mask_share=0.15, encoder="minilm-l6", seq_length=128)

    Reference:
        Devlin et al. 2019, https://arxiv.org/abs/1810.04805
    """
    from tfhub_ft.encoders.hub_preprocessor import read_vocabulary
    from tfhub_ft.encoders.resolve import resolve_preprocessor

    arguments = _refuse_long_texts(EncoderArguments(**options))
    vocabulary = read_vocabulary(resolve_preprocessor(arguments.encoder, arguments.preprocessor), arguments.encoder)

    def network(encoder: "HubEncoder", tokens: "Tensors") -> "Output":
        from tfhub_ft.models.masking import MaskedWordHead

        return _prediction_scores(tokens, vocabulary, mask_share, encoder, MaskedWordHead(name="masked_word_head"))

    windows = {"overlap": 0, "split": "words", "masks": True}
    return _encoder_model(network, ("text",), name, arguments, windows=windows)


def _prediction_scores(
    tokens: "Tensors", vocabulary: list[str], share: float, encoder: "HubEncoder", head: "MaskedWordHead"
) -> "keras.KerasTensor":
    from tfhub_ft.models.masking import MaskedWordScores, MaskWords, token_kinds

    mask_words = MaskWords(len(vocabulary), vocabulary.index(MASK), share=share)
    mask_words.set_weights([*mask_words.get_weights()[:-1], token_kinds(vocabulary)])
    masked = mask_words(tokens)
    encoded = encoder({name: masked[name] for name in tokens})
    if "word_embeddings" not in encoded:
        raise InputError(f"--encoder {encoder.encoder}: lacks word embeddings; masked language modeling needs them")
    logits = head(encoded["sequence_output"], masked["chosen"], encoded["word_embeddings"])
    return MaskedWordScores(name="logits")(logits, masked["chosen"], tokens["input_word_ids"])


def masked_word_scores(model: "keras.Model") -> "keras.Model":
    """Return the model from tokens to scores of `masked_lm_model` with the layers of a trained model."""
    import keras

    network = model.get_layer("token_model")
    tokens = token_inputs(network.input)
    share = next((layer.share for layer in network.layers if layer.name == "mask_words"), MASK_SHARE)
    vocabulary = model.get_layer("preprocessor").vocabulary
    layers = network.get_layer("encoder"), network.get_layer("masked_word_head")
    return keras.Model(tokens, _prediction_scores(tokens, vocabulary, share, *layers))


def mask_filling_model(model: "keras.Model") -> "keras.Model":
    """Return the model that predicts the tokens of [MASK], with the layers of a trained `masked_lm_model`.

    Its outputs are float32 logits (windows, maximum of masks, vocabulary).
    """
    from tfhub_ft.models.masking import MaskPlaces, StackPlaces

    preprocessor, trained = model.get_layer("preprocessor"), model.get_layer("token_model")

    def network(tokens: "Tensors") -> "Output":
        masks = MaskPlaces(preprocessor.vocabulary.index(MASK), name="mask_places")(tokens["input_word_ids"])
        encoded = trained.get_layer("encoder")(tokens)
        head = trained.get_layer("masked_word_head")
        return StackPlaces(name="logits")(head(encoded["sequence_output"], masks, encoded["word_embeddings"]), masks)

    return compose_model(preprocessor, network, ("text",), name=model.name)


def token_inputs(names: Iterable[str]) -> "Tensors":
    """Return inputs of token ids, int32 (batch, length), by name."""
    return _token_inputs(names, (None,))


def _token_inputs(names: Iterable[str], shape: tuple[None, ...]) -> "Tensors":
    import keras

    return {name: keras.Input(shape=shape, dtype="int32", name=name) for name in names}  # pyright: ignore[reportReturnType]


def compose_model(
    preprocessor: "keras.layers.Layer", network: "Callable[[Tensors], Output]", inputs: Sequence[str], *, name: str
) -> "keras.Model":
    """Compose a model from string tensors to what `network` returns for the preprocessor's tokens."""
    import keras

    texts = [keras.Input(shape=(), dtype="string", name=text) for text in inputs]
    texts = texts if len(texts) > 1 else texts[0]
    tokens = preprocessor(texts)
    token_ids = _token_inputs(tokens, (None,) * (len(next(iter(tokens.values())).shape) - 1))
    token_model = keras.Model(token_ids, network(token_ids), name="token_model")
    return keras.Model(texts, token_model(tokens), name=name)


def _encoder_model(
    network: "Callable[[HubEncoder, Tensors], Output]",
    inputs: Sequence[str],
    name: str,
    arguments: EncoderArguments,
    *,
    lowercase: bool = False,
    windows: dict[str, Any] | None = None,
) -> "keras.Model":
    from tfhub_ft.encoders import HubEncoder, HubPreprocessor
    from tfhub_ft.encoders.row_window_preprocessor import RowWindowPreprocessor
    from tfhub_ft.encoders.window_preprocessor import WindowPreprocessor

    layer_class: type[HubPreprocessor] = HubPreprocessor
    options: dict[str, Any] = {"long_texts": arguments.long_texts}
    if windows is not None:
        layer_class, options = WindowPreprocessor, windows
    elif arguments.long_texts == "windows":
        options = {"overlap": arguments.overlap, "max_windows": arguments.max_windows}
        layer_class = RowWindowPreprocessor
    preprocessor = layer_class(
        arguments.encoder,
        preprocessor=arguments.preprocessor,
        seq_length=arguments.seq_length,
        lowercase=lowercase,
        name="preprocessor",
        **options,
    )
    encoder = HubEncoder(
        arguments.encoder, freeze=arguments.freeze, implementation=arguments.implementation, name="encoder"
    )
    encoder.backend.check_length(preprocessor.seq_length)
    return compose_model(preprocessor, lambda tokens: network(encoder, tokens), inputs, name=name)


def _refuse_long_texts(arguments: EncoderArguments) -> EncoderArguments:
    """Return the arguments; raise an InputError if they ask for pooled windows or the ends of a text."""
    if arguments.long_texts != LONG_TEXTS[0]:
        raise InputError(
            f"--long-texts {arguments.long_texts}: needs a model with one output for one text; use {LONG_TEXTS[0]}"
        )
    return arguments
