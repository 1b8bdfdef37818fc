"""Features of a frozen encoder: computed once for each row, kept in the cache, and read in the encoder's place."""

import hashlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np

from tfhub_ft.data.batches import TokenRows
from tfhub_ft.data.token_cache import kept_arrays
from tfhub_ft.encoders import HubEncoder
from tfhub_ft.models.forward import make_logits_fn
from tfhub_ft.utils.console import progress
from tfhub_ft.utils.files import sha256_of_arrays
from tfhub_ft.utils.keras_compat import flatten_layers, inbound_nodes, nodes_in_order
from tfhub_ft.utils.precision import matrix_products_in

ROWS_AT_ONCE = 64
TRIED_ROWS = 4
TOLERANCE = 1e-4
# Raise it where the same rows would give other features than before.
_FORMAT = 2


# The parts of each network, with the weights that trained when they were made.
_KNOWN: "WeakKeyDictionary[keras.Model, tuple[tuple[int, ...], FrozenFeatureExtractor | None]]" = WeakKeyDictionary()


@dataclass(frozen=True)
class FeatureRows(TokenRows):
    """Rows whose features stand in place of their tokens; lengths, and so the order of batches, are the tokens'.

    Args:
        features: float32 (rows, size).
    """

    features: np.ndarray

    @property
    def signature(self) -> Any:
        """What a batch is, as a tf.TensorSpec."""
        import tensorflow as tf

        return tf.TensorSpec((None, self.features.shape[1]), tf.float32)

    def batch(self, rows: np.ndarray, buckets: Any = ()) -> np.ndarray:
        """The features of some rows, float32 (batch, size)."""
        return self.features[rows]


class Pooler(keras.layers.Layer):
    """The pooler of an encoder on its own: tanh of a linear layer, with the encoder's own weights.

    Args:
        kernel: the encoder's weight (hidden, hidden).
        bias: the encoder's weight (hidden,).

    Call arguments:
        inputs: the first token's hidden state, float32 (batch, hidden).

    Reference:
        Devlin et al. 2019, https://arxiv.org/abs/1810.04805
    """

    def __init__(self, kernel: keras.Variable, bias: keras.Variable):
        super().__init__(name="pooler")
        self.kernel, self.bias = kernel, bias
        self.built = True

    def call(self, inputs: Any) -> Any:
        """The pooled output, float32 (batch, hidden)."""
        return keras.ops.tanh(keras.ops.matmul(inputs, self.kernel) + self.bias)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """As large as the inputs."""
        return keras.KerasTensor(inputs.shape, dtype="float32")


class FirstToken(keras.layers.Layer):
    """An encoder up to its pooler.

    Args:
        encoder: whose weights it shares.

    Call arguments:
        inputs: what the encoder takes.
    """

    def __init__(self, encoder: HubEncoder):
        super().__init__(name="first_token")
        self.encoder = encoder
        self.built = True

    def call(self, inputs: Any) -> Any:
        """The last hidden state of each row's first token, float32 (batch, hidden)."""
        return self.encoder.backend.first_token(inputs)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """As wide as the encoder's hidden states."""
        return self.encoder.compute_output_spec(inputs)["sequence_output"][:, 0]


class FrozenFeatureExtractor:
    """A network cut in two: what does not train, up to one vector a row, and what trains behind it.

    Args:
        body: a model from tokens to the features, float32 (batch, size).
        head: a model from the features to the network's output; it shares the network's weights.

    Example:
        cut = FrozenFeatureExtractor.of(model.get_layer("token_model"), tokens)
        features = cut.features(tokens, "bfloat16") if cut else None
    """

    def __init__(self, body: keras.Model, head: keras.Model):
        self.body, self.head = body, head
        self._steps: dict[str, Any] = {}

    @classmethod
    def of(cls, network: keras.Model, tokens: TokenRows) -> "FrozenFeatureExtractor | None":
        """A network's two parts, which together answer some rows as the whole does.

        Args:
            network: from tokens to logits.
            tokens: rows, some of which it is tried with.

        Returns:
            The parts; None where an encoder trains, or where more than one vector a row goes on into what trains.
        """
        # An export stands in for the Keras model where it is scored.
        layers = flatten_layers(network) if isinstance(network, keras.Model) else ()
        encoders = [layer for layer in layers if isinstance(layer, HubEncoder)]
        if not encoders or not all(encoder.backend.body_is_frozen for encoder in encoders):
            return None
        trained = tuple(map(id, network.trainable_weights))
        known = _KNOWN.get(network)
        if known is None or known[0] != trained:
            _KNOWN[network] = known = (trained, cls._tried(network, tokens))
        return known[1]

    @classmethod
    def _tried(cls, network: keras.Model, tokens: TokenRows) -> "FrozenFeatureExtractor | None":
        parts = _cut(network) or _cut_at_pooler(network)
        if parts is None:
            return None
        some = tokens.batch(np.arange(min(len(tokens), TRIED_ROWS)))
        whole, joined = network(some, training=False), parts[1](parts[0](some, training=False), training=False)
        differences = [
            np.abs(np.asarray(a) - np.asarray(b)).max() for a, b in zip(*map(keras.tree.flatten, (whole, joined)))
        ]
        return cls(*parts) if max(differences) <= TOLERANCE else None

    def features(self, tokens: TokenRows, precision: str) -> FeatureRows:
        """The features of rows, from the cache on disk, or computed in batches of similar length and kept there.

        Args:
            tokens: the rows.
            precision: of the matrix products.

        Raises:
            RunError: the cache cannot be written.
        """
        size = self.body.outputs[0].shape[-1]
        parts = self._in_batches(tokens, precision)
        arrays = kept_arrays("features", self._key(tokens, precision), parts, f"features of {len(tokens):,} rows")
        features = np.empty((len(tokens), size), "float32")
        features[arrays["rows"]] = arrays["features"].reshape(-1, size)
        return FeatureRows(tokens.word_ids, tokens.type_ids, tokens.starts, features=features)

    def _in_batches(self, tokens: TokenRows, precision: str) -> Iterator[dict[str, np.ndarray]]:
        import tensorflow as tf

        if precision not in self._steps:
            self._steps[precision] = tf.function(
                lambda batch: self.body(batch, training=False), input_signature=[tokens.signature], autograph=False
            )
        encoding = f"Encoding {len(tokens):,} rows once, as the encoder is frozen"
        with matrix_products_in(precision, self.body), progress(encoding, len(tokens), "rows") as advance:
            for rows in tokens.by_length(ROWS_AT_ONCE):
                yield {"rows": rows, "features": self._steps[precision](tokens.batch(rows)).numpy().ravel()}
                advance(len(rows))

    def _key(self, tokens: TokenRows, precision: str) -> str:
        digest = hashlib.sha256(f"{_FORMAT} {precision} {self._digest()}".encode())
        digest.update(sha256_of_arrays([tokens.word_ids, tokens.type_ids, tokens.starts]).encode())
        return digest.hexdigest()

    def _digest(self) -> str:
        """A number for all that the features follow from, but for the rows."""
        layers = [type(layer).__name__ for layer in flatten_layers(self.body)]
        digest = hashlib.sha256(f"{layers} {self.body.outputs[0].shape}".encode())
        for layer in flatten_layers(self.body):
            if isinstance(layer, HubEncoder):
                frozen = [v for name, v in layer.values.items() if name not in layer.backend.trained_names]
                digest.update(f"{layer.spec} {sha256_of_arrays(frozen)}".encode())
        return digest.hexdigest()


def make_score_fn(network: keras.Model, precision: str) -> Callable[[TokenRows], np.ndarray]:
    """Return a function from tokenized rows to a network's outputs.

    The features that a frozen encoder computes for the rows are kept in the cache.

    Args:
        network: from tokens to logits.
        precision: the compute dtype of matrix products: "float32", "bfloat16" or "float16".

    Returns:
        A function that returns float32 (rows, ...), in the order of the rows.
    """
    logits_of_tokens = make_logits_fn(network, precision=precision, progress_bar=True)
    logits_of_features: Callable[[TokenRows], np.ndarray] | None = None
    last: tuple[TokenRows, FeatureRows] | None = None

    def score(tokens: TokenRows) -> np.ndarray:
        nonlocal logits_of_features, last
        parts = FrozenFeatureExtractor.of(network, tokens)
        if parts is None:
            return logits_of_tokens(tokens)
        logits_of_features = logits_of_features or make_logits_fn(parts.head, progress_bar=True)
        if last is None or last[0] is not tokens:
            last = tokens, parts.features(tokens, precision)
        return logits_of_features(last[1])

    return score


def _cut(network: keras.Model) -> tuple[keras.Model, keras.Model] | None:
    """The parts in front of and behind the one tensor that goes from layers that are fixed into others."""
    fixed = {id(tensor) for tensor in network.inputs}
    crossing: dict[int, Any] = {}
    for node in nodes_in_order(network):
        if node.is_input:
            continue
        known = [tensor for tensor in node.input_tensors if id(tensor) in fixed]
        if len(known) == len(node.input_tensors) and _is_fixed(node.operation):
            fixed |= {id(tensor) for tensor in _fixed_outputs(node)}
        else:
            crossing |= {id(tensor): tensor for tensor in known}
    found = list(crossing.values())
    if len(found) != 1 or not _is_vector(found[0]):
        return None
    behind = _behind(found[0], network)
    if behind is None:
        return None
    return keras.Model(network.input, found[0]), behind


def _behind(tensor: Any, network: keras.Model) -> keras.Model | None:
    """What of a network stands behind a tensor; None where something else goes into it, too."""
    try:
        return keras.Model(tensor, network.outputs[0])
    except ValueError:
        return None


def _cut_at_pooler(network: keras.Model) -> tuple[keras.Model, keras.Model] | None:
    """The parts in front of and behind the first token's hidden state, where the pooler of one encoder trains."""
    encoder = next((layer for layer in network.layers if isinstance(layer, HubEncoder)), None)
    if encoder is None or len(inbound_nodes(encoder)) != 1:
        return None
    (node,) = inbound_nodes(encoder)
    outputs = _outputs(node)
    held = {variable.name.rsplit("_", 1)[-1]: variable for variable in encoder.trainable_weights}
    if set(held) != {"kernel", "bias"} or "sequence_output" not in outputs:
        return None
    behind = _behind(outputs["pooled_output"], network)
    if behind is None:
        return None
    first = keras.Input(shape=(outputs["pooled_output"].shape[-1],), name="first_token")
    body = keras.Model(network.input, FirstToken(encoder)(*node.arguments.args))
    return body, keras.Model(first, behind(Pooler(held["kernel"], held["bias"])(first)))


def _outputs(node: Any) -> dict[str, Any]:
    """What an encoder gave at a node, by name."""
    described = node.operation.compute_output_spec(*node.arguments.args, **node.arguments.kwargs)
    return keras.tree.pack_sequence_as(described, node.output_tensors)


def _fixed_outputs(node: Any) -> list[Any]:
    """What of a fixed node's outputs are fixed: of an encoder whose pooler trains, all but what that gives."""
    if not isinstance(node.operation, HubEncoder) or not node.operation.trainable_weights:
        return node.output_tensors
    outputs = _outputs(node)
    return keras.tree.flatten({name: output for name, output in outputs.items() if name != "pooled_output"})


def _is_fixed(operation: Any) -> bool:
    """Whether it always gives the same for the same inputs, in training too; of an encoder, but for its pooler."""
    if isinstance(operation, HubEncoder):
        return operation.backend.body_is_frozen
    if getattr(operation, "trainable_weights", None):
        return False
    if isinstance(operation, keras.Model):
        return all(map(_is_fixed, operation.layers))
    return "training" not in inspect.signature(operation.call).parameters


def _is_vector(tensor: Any) -> bool:
    return len(tensor.shape) == 2 and tensor.shape[-1] is not None and tensor.dtype == "float32"
