"""Cached features of frozen encoders."""

import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import keras
import numpy as np

from tfhub_ft.data.batches import StackedWindows, TokenRows, token_positions
from tfhub_ft.data.token_cache import cached_arrays
from tfhub_ft.encoders.hub_encoder import HubEncoder
from tfhub_ft.models.forward import make_logits_fn
from tfhub_ft.models.window_pooling import SelectWindows
from tfhub_ft.utils.console import progress
from tfhub_ft.utils.files import sha256_of_arrays
from tfhub_ft.utils.keras_compat import flatten_layers, inbound_nodes, nodes_in_order
from tfhub_ft.utils.precision import matrix_products_in

if TYPE_CHECKING:
    import tensorflow as tf

BATCH_ROWS = 64
CHECKED_ROWS = 4
TOLERANCE = 1e-4
# Part of the cache key; increase it when the same rows get other features.
_FORMAT = 2

# The extractor of each network, with the ids of the weights that were trainable then.
_EXTRACTORS: "WeakKeyDictionary[keras.Model, tuple[tuple[int, ...], FrozenFeatureExtractor | None]]"
_EXTRACTORS = WeakKeyDictionary()


@dataclass(frozen=True)
class FeatureRows(TokenRows):
    """Rows with features, float32 (rows, size), in place of their tokens."""

    features: np.ndarray

    @property
    def signature(self) -> Any:
        """The tf.TensorSpec of a batch."""
        import tensorflow as tf

        return tf.TensorSpec((None, self.features.shape[1]), tf.float32)

    def batch(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, rows: np.ndarray, buckets: Sequence[int] = ()
    ) -> np.ndarray:
        """Return the features of some rows, float32 (batch, size)."""
        return self.features[rows]


@dataclass(frozen=True)
class WindowFeatureRows(StackedWindows):
    """Rows with features of their windows, float32 (windows, size), in place of their tokens."""

    features: np.ndarray

    @property
    def signature(self) -> Any:
        """The tf.TensorSpecs of a batch."""
        import tensorflow as tf

        return tf.TensorSpec((None, self.features.shape[1]), tf.float32), tf.TensorSpec((None, None), tf.bool)

    def batch(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, rows: np.ndarray, buckets: Sequence[int] = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return features, float32 (windows, size), and which windows rows have, bool (batch, most windows)."""
        is_window, windows = token_positions(self.row_windows, rows)
        return self.features[windows], is_window


class Pooler(keras.layers.Layer):
    """The pooler of an encoder, with the encoder's kernel and bias: float32 (batch, hidden) to the same shape."""

    def __init__(self, kernel: keras.Variable, bias: keras.Variable):
        super().__init__(name="pooler")
        self.kernel, self.bias = kernel, bias
        self.built = True

    def call(self, inputs: "tf.Tensor") -> Any:
        return keras.ops.tanh(keras.ops.matmul(inputs, self.kernel) + self.bias)

    def compute_output_spec(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype="float32")


class FirstToken(keras.layers.Layer):
    """An encoder without its pooler: tokens to the last hidden state of the first token, float32 (batch, hidden)."""

    def __init__(self, encoder: HubEncoder):
        super().__init__(name="first_token")
        self.encoder = encoder
        self.built = True

    def call(self, inputs: "dict[str, tf.Tensor]") -> "tf.Tensor":
        return self.encoder.backend.first_token(inputs)

    def compute_output_spec(self, inputs: dict[str, keras.KerasTensor]) -> keras.KerasTensor:
        return self.encoder.compute_output_spec(inputs)["sequence_output"][:, 0]


class FrozenFeatureExtractor:
    """A network in two parts: a frozen body, from tokens to one vector per row or window, and a head that trains.

    The head of a network that pools windows also takes "is_window" of `SelectWindows`.

    Example:
        extractor = FrozenFeatureExtractor.of(model.get_layer("token_model"), tokens)
        features = extractor.features(tokens, "bfloat16") if extractor else None
    """

    def __init__(self, body: keras.Model, head: keras.Model):
        self.body, self.head = body, head
        self._steps: dict[str, Callable[..., tf.Tensor]] = {}

    @classmethod
    def of(cls, network: keras.Model, tokens: TokenRows) -> "FrozenFeatureExtractor | None":
        """Split a network, and compare the parts with it on some rows.

        Return None if an encoder trains, or if more than one float vector per row or window connects the parts.
        """
        # The artifact of an export may take the place of the model when it is scored.
        layers = flatten_layers(network) if isinstance(network, keras.Model) else ()
        encoders = [layer for layer in layers if isinstance(layer, HubEncoder)]
        if not encoders or not all(encoder.backend.body_is_frozen for encoder in encoders):
            return None
        trainable = tuple(map(id, network.trainable_weights))
        cached = _EXTRACTORS.get(network)
        if cached is None or cached[0] != trainable:
            _EXTRACTORS[network] = cached = (trainable, cls._split(network, tokens))
        return cached[1]

    @classmethod
    def _split(cls, network: keras.Model, tokens: TokenRows) -> "FrozenFeatureExtractor | None":
        parts = _split_at_vector(network) or _split_at_pooler(network)
        if parts is None:
            return None
        batch = tokens.batch(np.arange(min(len(tokens), CHECKED_ROWS)))
        vectors = parts[0](batch, training=False)
        if isinstance(tokens, StackedWindows):
            vectors = vectors, keras.ops.convert_to_tensor(batch["input_mask"].any(-1))
        whole, joined = network(batch, training=False), parts[1](vectors, training=False)
        differences = [
            np.abs(np.asarray(a) - np.asarray(b)).max() for a, b in zip(*map(keras.tree.flatten, (whole, joined)))
        ]
        return cls(*parts) if max(differences) <= TOLERANCE else None

    def features(self, tokens: TokenRows, precision: str) -> FeatureRows | WindowFeatureRows:
        """Return the features of rows from the cache; compute them in a dtype if they are missing."""
        size = self.body.outputs[0].shape[-1]
        parts = self._in_batches(tokens, precision)
        arrays = cached_arrays("features", self._key(tokens, precision), parts, f"features of {len(tokens):,} rows")
        features, order = np.empty_like(arrays["features"].reshape(-1, size)), arrays["rows"]
        if isinstance(tokens, StackedWindows):
            features[token_positions(tokens.row_windows, order)[1]] = arrays["features"].reshape(-1, size)
            return WindowFeatureRows(**vars(tokens), features=features)
        features[order] = arrays["features"].reshape(-1, size)
        return FeatureRows(tokens.word_ids, tokens.type_ids, tokens.starts, features=features)

    def _in_batches(self, tokens: TokenRows, precision: str) -> Iterator[dict[str, np.ndarray]]:
        import tensorflow as tf

        if precision not in self._steps:
            self._steps[precision] = tf.function(
                lambda batch: self.body(batch, training=False), input_signature=[tokens.signature], autograph=False
            )
        encoding = f"Encoding {len(tokens):,} rows once, as the encoder is frozen"
        with matrix_products_in(precision, self.body), progress(encoding, len(tokens), "rows") as advance:
            for rows in tokens.by_length(BATCH_ROWS):
                yield {"rows": rows, "features": self._steps[precision](tokens.batch(rows)).numpy().ravel()}
                advance(len(rows))

    def _key(self, tokens: TokenRows, precision: str) -> str:
        """Return a digest of the rows and of all weights and layers that the features depend on."""
        layers = flatten_layers(self.body)
        described = f"{[type(layer).__name__ for layer in layers]} {self.body.outputs[0].shape}"
        for layer in layers:
            if isinstance(layer, HubEncoder):
                frozen = [v for name, v in layer.values.items() if name not in layer.backend.trained_names]
                described += f"{layer.spec} {sha256_of_arrays(frozen)}"
        model = hashlib.sha256(described.encode()).hexdigest()
        windows = [tokens.window_starts, tokens.row_windows] if isinstance(tokens, StackedWindows) else []
        rows = sha256_of_arrays([tokens.word_ids, tokens.type_ids, tokens.starts, *windows])
        return hashlib.sha256(f"{_FORMAT} {precision} {model}{rows}".encode()).hexdigest()


def make_score_fn(network: keras.Model, precision: str) -> Callable[[TokenRows], np.ndarray]:
    """Return a function from tokenized rows to float32 logits, which uses cached features of a frozen encoder."""
    logits_of_tokens = make_logits_fn(network, precision=precision, progress_bar=True)
    logits_of_features: Callable[[TokenRows], np.ndarray] | None = None
    last: tuple[TokenRows, FeatureRows | WindowFeatureRows] | None = None

    def score(tokens: TokenRows) -> np.ndarray:
        nonlocal logits_of_features, last
        extractor = FrozenFeatureExtractor.of(network, tokens)
        if extractor is None:
            return logits_of_tokens(tokens)
        logits_of_features = logits_of_features or make_logits_fn(extractor.head, progress_bar=True)
        if last is None or last[0] is not tokens:
            last = tokens, extractor.features(tokens, precision)
        return logits_of_features(last[1])

    return score


def _split_at_vector(network: keras.Model) -> tuple[keras.Model, keras.Model] | None:
    """Split a network at the only tensor, a vector per row, that fixed layers pass to others."""
    fixed = {id(tensor) for tensor in network.inputs}
    passed: dict[int, keras.KerasTensor] = {}
    for node in nodes_in_order(network):
        if node.is_input:
            continue
        fixed_inputs = [tensor for tensor in node.input_tensors if id(tensor) in fixed]
        if len(fixed_inputs) == len(node.input_tensors) and _is_fixed(node.operation):
            fixed |= {id(tensor) for tensor in _fixed_outputs(node)}
        else:
            passed |= {id(tensor): tensor for tensor in fixed_inputs}
    vectors = list(passed.keys() - set(map(id, _window_tensors(network))))
    if len(vectors) != 1:
        return None
    tensor = passed[vectors[0]]
    is_vector = len(tensor.shape) == 2 and tensor.shape[-1] is not None and tensor.dtype == "float32"
    head = _model_after(tensor, network) if is_vector else None
    return head and (keras.Model(network.input, tensor), head)


def _window_tensors(network: keras.Model) -> list[keras.KerasTensor]:
    """Return "is_window" of the network's `SelectWindows` in a list, which is empty without such a layer."""
    selections = (node for node in nodes_in_order(network) if isinstance(node.operation, SelectWindows))
    return [tensor for node in selections for tensor in node.output_tensors if tensor.dtype == "bool"]


def _model_after(tensor: keras.KerasTensor, network: keras.Model) -> keras.Model | None:
    """Return the part of a network after a tensor; None if it has inputs other than `_window_tensors`, too."""
    is_window = _window_tensors(network)
    try:
        return keras.Model((tensor, *is_window) if is_window else tensor, network.outputs[0])
    except ValueError:
        return None


def _split_at_pooler(network: keras.Model) -> tuple[keras.Model, keras.Model] | None:
    """Split a network at the first token's hidden state, if only the pooler of its one encoder trains."""
    encoder = next((layer for layer in network.layers if isinstance(layer, HubEncoder)), None)
    if encoder is None or len(inbound_nodes(encoder)) != 1:
        return None
    (node,) = inbound_nodes(encoder)
    outputs = _encoder_outputs(node)
    weights = {variable.name.rsplit("_", 1)[-1]: variable for variable in encoder.trainable_weights}
    if set(weights) != {"kernel", "bias"} or "sequence_output" not in outputs:
        return None
    head = _model_after(outputs["pooled_output"], network)
    if head is None:
        return None
    first = keras.Input(shape=(outputs["pooled_output"].shape[-1],), name="first_token")
    body = keras.Model(network.input, FirstToken(encoder)(*node.arguments.args))
    pooled = Pooler(weights["kernel"], weights["bias"])(first)
    if not _window_tensors(network):
        return body, keras.Model(first, head(pooled))
    is_window = keras.Input(shape=(None,), dtype="bool", name="is_window")
    return body, keras.Model((first, is_window), head((pooled, is_window)))


def _encoder_outputs(node: Any) -> dict[str, keras.KerasTensor]:
    spec = node.operation.compute_output_spec(*node.arguments.args, **node.arguments.kwargs)
    return keras.tree.pack_sequence_as(spec, node.output_tensors)


def _fixed_outputs(node: Any) -> list[keras.KerasTensor]:
    """Return the fixed outputs of a fixed node: for an encoder whose pooler trains, all except its output."""
    if not isinstance(node.operation, HubEncoder) or not node.operation.trainable_weights:
        return node.output_tensors
    outputs = _encoder_outputs(node).items()
    return keras.tree.flatten({name: output for name, output in outputs if name != "pooled_output"})


def _is_fixed(operation: keras.Operation | keras.Layer) -> bool:
    """Return whether an operation is deterministic and does not train; for an encoder, apart from its pooler."""
    if isinstance(operation, HubEncoder):
        return operation.backend.body_is_frozen
    if getattr(operation, "trainable_weights", None):
        return False
    if isinstance(operation, keras.Model):
        return all(map(_is_fixed, operation.layers))
    return "training" not in inspect.signature(operation.call).parameters
