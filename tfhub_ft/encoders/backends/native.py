"""Compute an encoder by our own BERT forward pass on the weights of its SavedModel."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfhub_ft.encoders.backends.base import Backend
from tfhub_ft.encoders.bert_forward import Architecture, Dropout, encode, role_of
from tfhub_ft.encoders.freezing import frozen_names
from tfhub_ft.encoders.hub_export import write_encoder
from tfhub_ft.encoders.lora import read_adapter, updated_matrices, write_adapter
from tfhub_ft.encoders.traced_graphs import TracedGraphs
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import sha256_of_arrays
from tfhub_ft.utils.keras_compat import untrack_variable
from tfhub_ft.utils.precision import layer_precision

CALLS_OF_DROPOUT = 1024


@dataclass(frozen=True)
class _Restriction:
    """A vocabulary restricted to some tokens: their ids, each token's row, and the embeddings of all tokens."""

    word_ids: np.ndarray
    rows: np.ndarray
    table: np.ndarray


class NativeBackend(Backend):
    """Computes a `HubEncoder` by TensorFlow operations, which follow the layer's dtype policy."""

    def __init__(self, layer: Any, **options: Any):
        super().__init__(layer, **options)
        self._graphs, self._restriction = TracedGraphs(), None
        layer.lora_factors = {}
        # Counts training steps: the masks of dropout follow from the seed and from it.
        layer.steps = layer.add_weight(
            shape=(),
            # An int32 stays in the processor's memory, where XLA does not reach it from a GPU.
            dtype="int64",
            initializer="zeros",
            trainable=False,
            name="steps",
            aggregation="only_first_replica",
        )

    def encode(self, tokens: dict[str, Any], training: bool) -> dict[str, Any]:
        import tensorflow as tf

        self._graphs.record()
        if self._restriction:
            tokens = {**tokens, "input_word_ids": tf.gather(self._restriction.rows, tokens["input_word_ids"])}
        return encode(
            {role_of(name): tf.convert_to_tensor(variable) for name, variable in self.variables.items()},
            self.architecture,
            tokens,
            dtype=self.layer.compute_dtype,
            drop=self._dropout() if training else None,
            recompute=training and self.layer.recompute,
            updates={role_of(name): self._scaled_factors(name) for name in self.factors},
        )

    def _dropout(self) -> Dropout:
        """This call's dropout, which differs by call and by replica."""
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
        """Set the dropout rate of hidden states and attention probabilities."""
        self.spec["architecture"] = {**self.spec["architecture"], "dropout": rate, "attention_dropout": rate}
        self._graphs.retrace()

    def write(self, folder: Path) -> None:
        write_encoder(folder, self.values, self.architecture)

    @property
    def state(self) -> list["keras.Variable"]:
        return [*self.layer.encoder_weights, self.layer.steps, *keras.tree.flatten(dict(self.factors))]

    def _updated(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return values | {name: values[name] + self._update(name) for name in self.factors}

    @property
    def factors(self) -> Mapping[str, Sequence["keras.Variable"]]:
        return self.layer.lora_factors

    def enable_lora(self, rank: int, alpha: float | None, targets: Sequence[str]) -> None:
        """Train low-rank updates; see `HubEncoder.enable_lora`."""
        if self.lora:
            raise InputError(f"{self.layer.name}: LoRA is enabled already; call merge_lora before enabling it again")
        self.add_updates(rank, 2 * rank if alpha is None else alpha, targets)

    def add_updates(self, rank: int, alpha: float, targets: Sequence[str], names: Sequence[str] | None = None) -> None:
        """Add the updates of the weights with these names, by default of all that `freeze` leaves."""
        allowed = set(self.names) - frozen_names(self.names, self.layer.freeze) if names is None else set(names)
        shapes = {v["name"]: v["shape"] for v in self.spec["variables"] if v["name"] in allowed}
        matrices = updated_matrices(shapes, targets, rank)
        self._graphs.retrace_all(self.layer.name)
        self._drop_updates()
        self.lora = {"rank": rank, "alpha": alpha, "targets": list(targets), "names": list(matrices)}
        self.layer.lora_factors = {
            name: self._new_factors(name, sizes, number) for number, (name, sizes) in enumerate(matrices.items())
        }
        self.update_trainable()

    def _new_factors(self, name: str, sizes: tuple[int, int], number: int) -> list["keras.Variable"]:
        """The factors of a matrix' update, of which the second is zero at first."""
        rank, (inputs, outputs), add = self.lora["rank"], sizes, self.layer.add_weight
        normal = keras.initializers.RandomNormal(inputs**-0.5, seed=self.layer.seed + number)
        name = name.replace("/", "_")
        return [
            add(shape=(inputs, rank), initializer=normal, autocast=False, name=f"{name}_down"),
            add(shape=(rank, outputs), initializer="zeros", autocast=False, name=f"{name}_up"),
        ]

    def _scaled_factors(self, name: str) -> tuple[Any, Any]:
        """Two matrices whose product is a weight's update, float32 (inputs, rank) and (rank, outputs)."""
        import tensorflow as tf

        down, up = map(tf.convert_to_tensor, self.factors[name])
        return down, up * (self.lora["alpha"] / self.lora["rank"])

    def _update(self, name: str) -> np.ndarray:
        down, up = self._scaled_factors(name)
        return keras.ops.convert_to_numpy(down @ up).reshape(self.variables[name].shape)

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
            # Graphs that were traced with the factors still add their product.
            factor.assign(np.zeros(factor.shape))
            untrack_variable(self.layer, factor)
        self.lora, self.layer.lora_factors = None, {}
        self.update_trainable()

    def save_lora_weights(self, path: Path) -> None:
        """Write the updates; see `HubEncoder.save_lora_weights`."""
        if not self.lora:
            raise InputError(f"{path}: the encoder has no adapter to be saved; call enable_lora and train it first")
        described = {name: json.dumps(self.lora[name]) for name in ("rank", "alpha", "targets")}
        described |= {"encoder": self.layer.encoder, "freeze": self.layer.freeze, "base_sha256": self._base_digest()}
        write_adapter(path, self.factors, described)

    def load_lora_weights(self, path: Path) -> None:
        """Load updates; see `HubEncoder.load_lora_weights`."""
        factors, described = read_adapter(path)
        if "base_sha256" not in described:
            raise InputError(f"{path} is not an adapter of tfhub_ft")
        if described["base_sha256"] != self._base_digest():
            encoder = self.layer.encoder
            raise InputError(f"{path} was trained over other weights than {encoder} has: {described['encoder']}'s")
        names = {tensor.rpartition("/")[0] for tensor in factors}
        self.add_updates(*(json.loads(described[name]) for name in ("rank", "alpha", "targets")), names=names)
        self.layer.freeze = described["freeze"]
        for name, (down, up) in self.factors.items():
            down.assign(factors[f"{name}/down"])
            up.assign(factors[f"{name}/up"])

    def _base_digest(self) -> str:
        self.require_weights()
        return sha256_of_arrays(self._own_values.values())

    def restrict_vocabulary(self, word_ids: np.ndarray) -> None:
        """Hold the embeddings of some tokens alone until `restore_vocabulary`, so that training updates fewer weights.

        Token ids stay. All other tokens must not occur meanwhile.

        Args:
            word_ids: of the tokens whose embeddings stay, int (tokens,), ascending, without repetition.
        """
        self.require_weights()
        table = keras.ops.convert_to_numpy(self.word_embeddings)
        rows = np.zeros(len(table), "int32")
        rows[word_ids] = np.arange(len(word_ids))
        self._restriction = _Restriction(word_ids, rows, table)
        self._replace(self.word_embeddings, table[word_ids])

    def restore_vocabulary(self, share: float = 1.0) -> None:
        """Hold the embeddings of all tokens again.

        Args:
            share: a factor of the embeddings that were left out, for the weight decay that they missed.
        """
        table = self._restriction.table * np.float32(share)
        table[self._restriction.word_ids] = keras.ops.convert_to_numpy(self.word_embeddings)
        self._restriction = None
        self._replace(self.word_embeddings, table)

    def cast_kernels(self, dtype: str) -> None:
        self.require_weights()
        for name, variable in self.variables.items():
            if name.endswith("kernel") and "pooler" not in name:
                self._replace(variable, variable.value, dtype)

    def _replace(self, old: "keras.Variable", value: Any, dtype: str | None = None) -> None:
        """Put a weight of another shape or dtype in place of one."""
        untrack_variable(self.layer, old)
        new = keras.Variable(
            value, shape=value.shape, dtype=dtype or old.dtype, trainable=old.trainable, autocast=False, name=old.name
        )
        self.layer.encoder_weights = [new if each is old else each for each in self.layer.encoder_weights]
        self._graphs.retrace()
