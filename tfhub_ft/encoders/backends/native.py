"""Compute an encoder with `bert_forward` on the weights of its SavedModel."""

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tfhub_ft.encoders.backends.base import Backend, to_numpy
from tfhub_ft.encoders.bert_forward import Architecture, Dropout, encode, role_of
from tfhub_ft.encoders.freezing import frozen_names
from tfhub_ft.encoders.hub_export import write_encoder
from tfhub_ft.encoders.lora import read_adapter, updated_matrices, write_adapter
from tfhub_ft.encoders.traced_graphs import TracedGraphs
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import sha256_of_arrays
from tfhub_ft.utils.keras_compat import untrack_variable
from tfhub_ft.utils.precision import layer_precision

if TYPE_CHECKING:
    import tensorflow as tf

# More than the calls of dropout in a training step.
CALLS_OF_DROPOUT = 1024


@dataclass(frozen=True)
class _Restriction:
    """A vocabulary restricted to some tokens."""

    word_ids: np.ndarray
    # The row of each token id in the restricted embeddings.
    rows: np.ndarray
    # The embeddings of all tokens.
    table: np.ndarray


class NativeBackend(Backend):
    """Computes a `HubEncoder` with TensorFlow operations that follow the layer's dtype policy."""

    # Multiplies the product of LoRA factors.
    _lora_scale = 1.0

    def __init__(self, layer: keras.layers.Layer, **options: Any):
        super().__init__(layer, **options)
        self._graphs = TracedGraphs()
        self._restriction: _Restriction | None = None
        self._word_vectors: tf.Tensor | None = None
        layer.lora_factors = {}
        # Counts training steps: dropout masks depend on it and on the seed.
        layer.steps = layer.add_weight(
            shape=(),
            # TensorFlow keeps int32 variables in host memory, which XLA cannot access from a GPU.
            dtype="int64",
            initializer="zeros",
            trainable=False,
            name="steps",
            aggregation="only_first_replica",
        )

    def encode(self, tokens: "dict[str, tf.Tensor]", training: bool) -> dict[str, Any]:
        import tensorflow as tf

        self._graphs.record()
        roles, variables = self._roles, self.variables
        weights = {role: tf.convert_to_tensor(variables[name]) for name, role in roles.items()}
        if self._word_vectors is not None:
            weights["word_embeddings/embeddings"] = self._word_vectors
        elif self._restriction:
            tokens = {**tokens, "input_word_ids": tf.gather(self._restriction.rows, tokens["input_word_ids"])}
        return encode(
            weights,
            self.architecture,
            tokens,
            dtype=self.layer.compute_dtype,
            dropout=self._dropout() if training else None,
            recompute=training and self.layer.recompute,
            lora_factors={roles[name]: self._scaled_factors(name) for name in self.factors},
        )

    @property
    def _roles(self) -> dict[str, str]:
        return {name: role for name in self.names if (role := role_of(name))}

    @property
    def word_embeddings(self) -> keras.Variable:
        return next(self.variables[name] for name, role in self._roles.items() if role == "word_embeddings/embeddings")

    def read_word_vectors(self, token_ids: "tf.Tensor") -> "tf.Tensor":
        """Return the word embeddings of token ids, float32 (..., size)."""
        import tensorflow as tf

        if self._restriction:
            token_ids = tf.gather(self._restriction.rows, token_ids)
        return tf.gather(tf.convert_to_tensor(self.word_embeddings), token_ids)

    @contextlib.contextmanager
    def reading_word_vectors(self, vectors: "tf.Tensor") -> Iterator[None]:
        """Read token ids as rows of `vectors`, float32 (vectors, size), instead of the word embeddings."""
        self._word_vectors = vectors
        try:
            yield
        finally:
            self._word_vectors = None

    def _dropout(self) -> Dropout:
        """Return the dropout of this call and replica."""
        import tensorflow as tf

        step = tf.cast(self.layer.steps.value, tf.int32)
        self.layer.steps.assign_add(1)
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group if context else 0
        return Dropout(tf.stack([self.layer.seed + replica, step * CALLS_OF_DROPOUT]))

    def compute_in(self, precision: str) -> contextlib.AbstractContextManager:
        return layer_precision(self.layer, precision)

    def require_native(self, option: str) -> None:
        pass

    @property
    def architecture(self) -> Architecture:
        return Architecture(**self.spec["architecture"])

    def set_dropout(self, rate: float) -> None:
        """Set the dropout rates of hidden states and attention probabilities."""
        self.spec["architecture"] = {**self.spec["architecture"], "dropout": rate, "attention_dropout": rate}
        self._graphs.retrace()

    def write(self, folder: Path) -> None:
        write_encoder(folder, self.values, self.architecture)

    @property
    def state(self) -> list[keras.Variable]:
        return [*self.layer.encoder_weights, self.layer.steps, *keras.tree.flatten(dict(self.factors))]

    def _updated(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return values | {name: values[name] + self._update(name) for name in self.factors}

    @property
    def factors(self) -> Mapping[str, Sequence[keras.Variable]]:
        return self.layer.lora_factors

    def enable_lora(self, rank: int, alpha: float | None, targets: Sequence[str]) -> None:
        """Train low-rank updates; see `HubEncoder.enable_lora`."""
        if self.lora:
            raise InputError(f"{self.layer.name}: LoRA is already enabled; call merge_lora before enabling it again")
        self.add_updates(rank, 2 * rank if alpha is None else alpha, targets)

    def add_updates(
        self, rank: int, alpha: float, targets: Sequence[str], names: Collection[str] | None = None
    ) -> None:
        """Add updates of the weights with these names, by default of all that `freeze` leaves trainable."""
        allowed = set(self.names) - frozen_names(self.names, self.layer.freeze) if names is None else set(names)
        shapes = {v["name"]: v["shape"] for v in self.spec["variables"] if v["name"] in allowed}
        matrices = updated_matrices(shapes, targets, rank)
        self._graphs.retrace_all(self.layer.name)
        self._drop_updates()
        self.lora = {"rank": rank, "alpha": alpha, "targets": list(targets), "names": list(matrices)}
        self._lora_scale = alpha / rank
        self.layer.lora_factors = {
            name: self._new_factors(name, sizes, rank, number) for number, (name, sizes) in enumerate(matrices.items())
        }
        self.update_trainable()

    def _new_factors(self, name: str, sizes: tuple[int, int], rank: int, number: int) -> list[keras.Variable]:
        """Return the factors of a matrix' update, with zeros in the second."""
        (inputs, outputs), add = sizes, self.layer.add_weight
        normal = keras.initializers.RandomNormal(inputs**-0.5, seed=self.layer.seed + number)
        name = name.replace("/", "_")
        return [
            add(shape=(inputs, rank), initializer=normal, autocast=False, name=f"{name}_down"),
            add(shape=(rank, outputs), initializer="zeros", autocast=False, name=f"{name}_up"),
        ]

    def _scaled_factors(self, name: str) -> "tuple[tf.Tensor, tf.Tensor]":
        """Return two matrices whose product is a weight's update, float32 (inputs, rank) and (rank, outputs)."""
        import tensorflow as tf

        down, up = map(tf.convert_to_tensor, self.factors[name])
        return down, up * self._lora_scale

    def _update(self, name: str) -> np.ndarray:
        down, up = self._scaled_factors(name)
        return np.asarray(down @ up).reshape(self.variables[name].shape)

    def merge_lora(self) -> None:
        """Add the updates to the weights; see `HubEncoder.merge_lora`."""
        if not self.lora:
            return
        values = self.values
        for name in self.factors:
            self.variables[name].assign(values[name])
        self._drop_updates()
        self._graphs.retrace()

    def _drop_updates(self) -> None:
        for factor in keras.tree.flatten(dict(self.factors)):
            # Graphs traced with the factors still add their product.
            factor.assign(np.zeros(factor.shape))
            untrack_variable(self.layer, factor)
        self.lora, self.layer.lora_factors = None, {}
        self.update_trainable()

    def save_lora_weights(self, path: Path) -> None:
        """Write the updates; see `HubEncoder.save_lora_weights`."""
        if not self.lora:
            raise InputError(f"{path}: LoRA is not enabled, so nothing to save; call enable_lora and train first")
        metadata = {name: json.dumps(self.lora[name]) for name in ("rank", "alpha", "targets")}
        metadata |= {"encoder": self.layer.encoder, "freeze": self.layer.freeze, "base_sha256": self._base_digest()}
        write_adapter(path, self.factors, metadata)

    def load_lora_weights(self, path: Path) -> None:
        """Load updates; see `HubEncoder.load_lora_weights`."""
        factors, metadata = read_adapter(path)
        if "base_sha256" not in metadata:
            raise InputError(f"{path}: not an adapter of tfhub_ft")
        if metadata["base_sha256"] != self._base_digest():
            raise InputError(
                f"{path}: trained for the weights of {metadata['encoder']}, which differ from those of"
                f" {self.layer.encoder}"
            )
        names = {tensor.rpartition("/")[0] for tensor in factors}
        self.add_updates(*(json.loads(metadata[name]) for name in ("rank", "alpha", "targets")), names=names)
        self.layer.freeze = metadata["freeze"]
        for name, (down, up) in self.factors.items():
            down.assign(factors[f"{name}/down"])
            up.assign(factors[f"{name}/up"])

    def _base_digest(self) -> str:
        self.require_weights()
        return sha256_of_arrays(self._base_values.values())

    def restrict_vocabulary(self, word_ids: np.ndarray) -> None:
        """Keep only the embeddings of some tokens until `restore_vocabulary`, so that training updates fewer weights.

        `word_ids` are distinct and ascending, int (tokens,). Inputs keep their token ids and must not contain others.
        """
        self.require_weights()
        table = to_numpy(self.word_embeddings)
        rows = np.zeros(len(table), "int32")
        rows[word_ids] = np.arange(len(word_ids))
        self._restriction = _Restriction(word_ids, rows, table)
        self._replace(self.word_embeddings, table[word_ids])

    def restore_vocabulary(self, share: float = 1.0) -> None:
        """Restore the embeddings of all tokens; multiply the others by `share`, for the weight decay they missed."""
        if self._restriction is None:
            return
        table = self._restriction.table * np.float32(share)
        table[self._restriction.word_ids] = to_numpy(self.word_embeddings)
        self._restriction = None
        self._replace(self.word_embeddings, table)

    def cast_kernels(self, dtype: str) -> None:
        self.require_weights()
        for name, variable in self.variables.items():
            if name.endswith("kernel") and "pooler" not in name:
                self._replace(variable, variable.value, dtype)

    def _replace(self, old: keras.Variable, value: Any, dtype: str | None = None) -> None:
        """Replace a weight by one of another shape or dtype."""
        untrack_variable(self.layer, old)
        new = keras.Variable(
            value, shape=value.shape, dtype=dtype or old.dtype, trainable=old.trainable, autocast=False, name=old.name
        )
        self.layer.encoder_weights = [new if variable is old else variable for variable in self.layer.encoder_weights]
        self._graphs.retrace()
