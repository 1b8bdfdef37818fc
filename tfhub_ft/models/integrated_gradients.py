"""Attribute the outputs of a token model to its tokens."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.data.batches import TokenRows
from tfhub_ft.encoders.backends import NativeBackend
from tfhub_ft.encoders.hub_encoder import HubEncoder
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.keras_compat import flatten_layers
from tfhub_ft.utils.precision import matrix_products_in

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

FIRST_STEPS, MAX_STEPS = 16, 256
# The attributions of a row may miss the difference of its outputs by this share of it, or by this number if it is less
# than one.
TOLERANCE = 0.01
# Tokens of the batches that the network computes, with padding: one for each step of each row.
TOKENS_AT_ONCE = 8192
# A graph takes longer to build than these take without one.
EAGER_BATCHES = 16
SAME_OUTPUT = 1e-3


@dataclass(frozen=True)
class Attributions:
    """Attributions of one output for each row.

    Args:
        values: The attribution of each token, float64 (tokens,), the rows one after the other.
        outputs: The explained output of each row, float64 (rows,).
        baselines: The output for the row's baseline, float64 (rows,).
        errors: How much the attributions of a row miss the difference of the two, float64 (rows,).
    """

    values: np.ndarray
    outputs: np.ndarray
    baselines: np.ndarray
    errors: np.ndarray


class IntegratedGradients:
    """Integrated gradients of a token model at the word embeddings of its encoder, computed in float32.

    The baseline of a row has [MASK] in place of each token but [CLS] and [SEP]: a text of the same length whose words
    are not known, such as the encoder saw in pretraining. The integral over the straight line from the baseline to the
    row is computed by Clenshaw-Curtis quadrature, whose steps are doubled until the attributions add up to the
    difference of the outputs (completeness) within `TOLERANCE`, or up to `MAX_STEPS`.

    Args:
        network: A model from tokens to logits, with a native encoder.
        mask_id: The id of [MASK].
        activation: The output to explain: "softmax" for the log-odds of a class among the others, "sigmoid" for the
            logit of a label, None for the number itself.

    Raises:
        InputError: The encoder is computed by the graph of its SavedModel.

    Example:
        explain = IntegratedGradients(model.get_layer("token_model"), mask_id=103, activation="softmax")
        attributions = explain(tokens, predicted)

    Reference:
        Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365; on the baseline, Enguehard 2023,
        https://arxiv.org/abs/2305.15853
    """

    def __init__(self, network: "keras.Model", mask_id: int, activation: str | None):
        import tensorflow as tf

        self.network, self.mask_id, self.activation = network, mask_id, activation
        self.encoders = {layer for layer in flatten_layers(network) if isinstance(layer, HubEncoder)}
        for encoder in self.encoders:
            encoder.backend.require_native("--explain")
        tokens, number = tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None,), tf.int32)
        names = ("input_word_ids", "input_mask", "input_type_ids", "baseline_ids")
        signature = [dict.fromkeys(names, tokens), number, tf.TensorSpec((None,), tf.float32)]
        self._graph = tf.function(self._step, input_signature=signature, autograph=False)
        self._batches = 0

    def __call__(
        self, tokens: TokenRows, outputs: Sequence[int] | np.ndarray, max_steps: int | None = None
    ) -> Attributions:
        """Return the attributions of one output, by its index among the logits, for each row of tokens."""
        outputs = np.asarray(outputs, "int32")
        baseline_ids = np.where(is_special(tokens), tokens.word_ids, np.int32(self.mask_id))
        baseline = TokenRows(baseline_ids, tokens.type_ids, tokens.starts)
        paths = [_Path(int(length)) for length in tokens.lengths]
        values, pending, steps = np.zeros(len(tokens.word_ids)), np.arange(len(tokens)), FIRST_STEPS
        with matrix_products_in("float32", self.network):
            self._check(tokens, baseline, outputs)
            while len(pending) and steps <= (max_steps or MAX_STEPS):
                self._extend(paths, tokens, baseline, outputs, pending, steps)
                pending = np.array([row for row in pending if not paths[row].is_complete(steps)], int)
                steps *= 2
        for path, start, end in zip(paths, tokens.starts, tokens.starts[1:], strict=False):
            values[start:end] = path.attributions
        ends = np.array([(path.first, path.last, path.error) for path in paths]).reshape(-1, 3)
        return Attributions(values, ends[:, 1], ends[:, 0], ends[:, 2])

    def _extend(
        self,
        paths: "Sequence[_Path]",
        tokens: TokenRows,
        baseline: TokenRows,
        outputs: np.ndarray,
        rows: np.ndarray,
        steps: int,
    ) -> None:
        """Compute the attributions and outputs at the places of some rows' paths that are missing."""
        order = rows[np.argsort(-tokens.lengths[rows], kind="stable")]
        points = [(int(row), place) for row in order for place in paths[row].missing(steps)]
        start = 0
        while start < len(points):
            some = points[start : start + max(1, TOKENS_AT_ONCE // paths[points[start][0]].length)]
            batch_rows, places = np.array([row for row, _ in some]), np.array([place for _, place in some], "float32")
            batch = tokens.batch(batch_rows)
            batch["baseline_ids"] = baseline.batch(batch_rows)["input_word_ids"]
            parts, output = self._compute(batch, outputs[batch_rows], places)
            for (row, place), part, value in zip(some, parts.numpy(), output.numpy(), strict=True):
                paths[row].add(place, part, float(value))
            start += len(some)

    def _compute(self, *batch: Any) -> "tuple[tf.Tensor, tf.Tensor]":
        import tensorflow as tf

        self._batches += 1
        batch = tf.nest.map_structure(tf.convert_to_tensor, batch)
        return self._step(*batch) if self._batches <= EAGER_BATCHES else self._graph(*batch)

    def _step(
        self, batch: "dict[str, tf.Tensor]", outputs: "tf.Tensor", places: "tf.Tensor"
    ) -> "tuple[tf.Tensor, tf.Tensor]":
        """Return the attributions at a place of each row, float32 (rows, length), and the outputs there, (rows,)."""
        import tensorflow as tf

        (encoder,) = self.encoders
        assert isinstance(encoder.backend, NativeBackend)
        mask, shape = batch["input_mask"], tf.shape(batch["input_mask"])
        read = encoder.backend.read_word_vectors
        # The network gets the number of a token in the batch in place of its id, and reads the vector with this number:
        # a layer before the encoder may copy tokens and move them.
        numbers = (1 + tf.reshape(tf.range(tf.size(mask)), shape)) * mask
        baseline = read(batch["baseline_ids"])
        difference = read(batch["input_word_ids"]) - baseline
        vectors = baseline + places[:, None, None] * difference
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(vectors)
            size = vectors.shape[-1]
            table = tf.concat([read(tf.zeros((1,), tf.int32)), tf.reshape(vectors, (-1, size))], 0)
            with encoder.backend.reading_word_vectors(table):
                inputs = {name: batch[name] for name in self.network.input} | {"input_word_ids": numbers}
                output = _explained(self.network(inputs, training=False), outputs, self.activation)
        gradient = tf.convert_to_tensor(tape.gradient(output, vectors))
        return tf.reduce_sum(gradient * difference, -1), output

    def _check(self, tokens: TokenRows, baseline: TokenRows, outputs: np.ndarray) -> None:
        """Raise an InputError if the network computes something else from numbers of tokens than from their ids."""
        if self._batches or not len(tokens):
            return
        import tensorflow as tf

        row, fault = np.array([int(tokens.lengths.argmin())]), "not available, because the model reads token ids"
        batch = tokens.batch(row)
        expected = _explained(self.network(batch, training=False), tf.constant(outputs[row]), self.activation)
        try:
            batch["baseline_ids"] = baseline.batch(row)["input_word_ids"]
            _, (output,) = self._compute(batch, outputs[row], np.ones(1, "float32"))
        except tf.errors.InvalidArgumentError:
            raise InputError(f"--explain: {fault} outside its encoder") from None
        if abs(float(output) - float(expected[0])) > SAME_OUTPUT * max(1.0, abs(float(output))):
            raise InputError(f"--explain: {fault} outside its encoder")


class _Path:
    """What is known of a row between its baseline, place 0, and the row itself, place 1."""

    def __init__(self, length: int):
        self.length = length
        self.points: dict[float, tuple[np.ndarray, float]] = {}
        self.attributions = np.zeros(length)
        self.first = self.last = 0.0
        self.error = math.inf

    def missing(self, steps: int) -> list[float]:
        """Return the places without a point."""
        return [place for place in clenshaw_curtis(steps)[0] if place not in self.points]

    def add(self, place: float, attributions: np.ndarray, output: float) -> None:
        """Add the attributions of the tokens, (tokens or more,), and the output at a place."""
        self.points[place] = attributions[: self.length].astype("float64"), output

    def is_complete(self, steps: int) -> bool:
        """Integrate; return whether the attributions add up to the difference of the outputs within `TOLERANCE`."""
        places, weights = clenshaw_curtis(steps)
        (_, self.first), (_, self.last) = self.points[places[0]], self.points[places[-1]]
        attributions = sum(weight * self.points[place][0] for place, weight in zip(places, weights, strict=True))
        difference = self.last - self.first
        error = abs(float(np.sum(attributions)) - difference)
        if error < self.error:
            self.attributions, self.error = np.asarray(attributions), error
        if is_complete := self.error <= TOLERANCE * max(1.0, abs(difference)):
            self.points.clear()
        return is_complete


@functools.cache
def clenshaw_curtis(steps: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the places and weights of Clenshaw-Curtis quadrature from 0 to 1 with an even number of steps.

    The places are among those of twice the steps. Trefethen 2008, https://doi.org/10.1137/060659831
    """
    angles = np.pi * np.arange(steps + 1) / steps
    places = (1 - np.cos(angles)) / 2
    orders = np.arange(1, steps // 2 + 1)
    factors = np.where(orders == steps // 2, 1, 2) / (4 * orders**2 - 1)
    weights = (1 - np.cos(2 * np.outer(angles, orders)) @ factors) / steps
    weights[[0, -1]] /= 2
    # The same place has the same number, however many steps there are.
    return tuple(places.round(12).tolist()), tuple(weights.tolist())


def is_special(tokens: TokenRows) -> np.ndarray:
    """Return which tokens are [CLS] or [SEP], bool (tokens,): the first one, and the last one of each segment."""
    special = np.zeros(len(tokens.word_ids), bool)
    special[tokens.starts[:-1]] = special[tokens.starts[1:] - 1] = True
    special[:-1] |= tokens.type_ids[:-1] < tokens.type_ids[1:]
    return special


def _explained(logits: "tf.Tensor", outputs: "tf.Tensor", activation: str | None) -> "tf.Tensor":
    """Return the explained output of each row, float32 (rows,), from logits (rows, outputs)."""
    import tensorflow as tf

    logit = tf.gather(logits, outputs, batch_dims=1)
    if activation != "softmax":
        return logit
    others = tf.where(tf.one_hot(outputs, tf.shape(logits)[1], on_value=True, off_value=False), -1e9, logits)
    return logit - tf.reduce_logsumexp(others, -1)
