"""The interface of the backends of `HubEncoder`, and their weights."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tfhub_ft.encoders.architecture_detection import read_values
from tfhub_ft.encoders.bert_forward import Architecture
from tfhub_ft.encoders.freezing import frozen_names, top_layers
from tfhub_ft.encoders.packing import TOKEN_INPUTS
from tfhub_ft.encoders.resolve import resolve_encoder
from tfhub_ft.encoders.saved_module import EncoderSpec
from tfhub_ft.encoders.truncation import pad_hidden_states, rows_are_truncated, truncate
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import sha256_of_arrays
from tfhub_ft.utils.keras_compat import is_building

if TYPE_CHECKING:
    import tensorflow as tf


class Backend:
    """Computes a `HubEncoder` with weights that are attributes of the layer, where Keras looks for them.

    Without `values` the weights are read when they are first needed, and compared with `digest`.
    """

    # The arguments of `NativeBackend.add_updates`; None without LoRA.
    lora: dict[str, Any] | None = None

    def __init__(
        self,
        layer: keras.layers.Layer,
        *,
        spec: EncoderSpec,
        values: Sequence[Any] | None = None,
        digest: str | None = None,
    ):
        self.layer, self.spec, self._expected_digest = layer, spec, digest
        self.lacks_weights = values is None
        layer.encoder_weights = [
            keras.Variable(
                initializer=value,
                shape=variable["shape"],
                dtype=variable["dtype"],
                trainable=variable["trainable"],
                autocast=False,
                name=variable["name"].replace("/", "_"),
            )
            for variable, value in zip(
                spec["variables"], map(_nan_variable, spec["variables"]) if values is None else values, strict=True
            )
        ]

    def outputs(self, inputs: "dict[str, tf.Tensor]", training: bool) -> dict[str, Any]:
        """Return the layer's outputs; see `HubEncoder`."""
        import tensorflow as tf

        self.require_weights()
        outputs = self.encode(self._tokens(inputs), training and not self.body_is_frozen)
        outputs = {name: outputs[name] for name in self.spec["outputs"]}
        if self._may_be_too_long(inputs):
            outputs = pad_hidden_states(outputs, tf.shape(inputs["input_word_ids"])[1])
        table = self.word_embeddings
        return outputs if table is None else {**outputs, "word_embeddings": tf.convert_to_tensor(table)}

    def output_spec(self, inputs: dict[str, keras.KerasTensor]) -> dict[str, Any]:
        """Return the symbolic outputs of the layer."""
        outputs = self._map_outputs(keras.KerasTensor, *inputs["input_word_ids"].shape)
        table = self.word_embeddings
        return outputs if table is None else {**outputs, "word_embeddings": keras.KerasTensor(table.shape, table.dtype)}

    def first_token(self, inputs: "dict[str, tf.Tensor]") -> "tf.Tensor":
        """Return the last hidden state of each row's first token, float32 (batch, hidden), the pooler's input."""
        self.require_weights()
        outputs = self.encode(self._tokens(inputs), training=False)
        return outputs["first_token"] if "first_token" in outputs else outputs["sequence_output"][:, 0]

    @property
    def factors(self) -> Mapping[str, Sequence[keras.Variable]]:
        """The factors of the LoRA updates, by the names of their weights."""
        return {}

    def encode(self, tokens: "dict[str, tf.Tensor]", training: bool) -> dict[str, Any]:
        """Return the encoder's outputs by name for int32 tokens; with `training`, with dropout."""
        raise NotImplementedError

    def compute_in(self, precision: str) -> contextlib.AbstractContextManager:
        """Return a context in which matrix products are computed in "float32", "bfloat16" or "float16"."""
        raise NotImplementedError

    def cast_kernels(self, dtype: str) -> None:
        """Store kernels in the dtype of their products, for prediction only; ignored by graphs.

        Casting them in each call takes 2 of the 15 ms of one text.
        """

    def require_native(self, option: str) -> None:
        """Raise an InputError for an option that only native encoders support."""
        raise InputError(f"{option}: not supported, because the encoder {self.layer.encoder} is computed by its graph")

    @property
    def architecture(self) -> Architecture:
        """The encoder's architecture; raises an `UnknownFamily` if it cannot be computed natively."""
        raise NotImplementedError

    def write(self, folder: Path) -> None:
        """Write a SavedModel with the current weights into a new folder."""
        raise NotImplementedError

    def save_assets(self, folder: str | Path) -> None:
        """Write everything but the weights that a `.keras` file needs."""

    def load_assets(self, folder: str | Path, name: str | None = None) -> None:
        """Load the files of `save_assets` or of the SavedModel."""

    def save_variables(self, store: dict[str, Any]) -> None:
        """Write all variables into a Keras weights file, by index."""
        self.require_weights()
        for number, variable in enumerate(self.state):
            store[str(number)] = to_numpy(variable)

    def load_variables(self, store: dict[str, Any]) -> None:
        """Read the variables of a Keras weights file."""
        if len(store) != len(self.state):
            raise ValueError(
                f"layer {self.layer.name}: expected {len(self.state)} weights in the file, got {len(store)}"
            )
        for number, variable in enumerate(self.state):
            variable.assign(store[str(number)])
        self.lacks_weights = not self.is_loaded

    @property
    def is_loaded(self) -> bool:
        """Whether everything but the weights is loaded."""
        return True

    @property
    def names(self) -> list[str]:
        """The names of the weights in the SavedModel."""
        return [variable["name"] for variable in self.spec["variables"]]

    @property
    def variables(self) -> dict[str, keras.Variable]:
        """The weights by their names in the SavedModel."""
        return dict(zip(self.names, self.layer.encoder_weights, strict=True))

    @property
    def state(self) -> list[keras.Variable]:
        """All variables, in an order that does not depend on which of them are trainable."""
        return self.layer.encoder_weights

    @property
    def word_embeddings(self) -> keras.Variable | None:
        """The word embeddings, float32 (vocabulary, size), if any."""
        tables = (v for v in self.layer.encoder_weights if "word_embedding" in v.name and len(v.shape) == 2)
        return next(tables, None)

    @property
    def values(self) -> dict[str, np.ndarray]:
        """The current values of the weights by their names in the SavedModel."""
        self.require_weights()
        return self._updated(self._base_values)

    @property
    def _base_values(self) -> dict[str, np.ndarray]:
        return {name: to_numpy(variable) for name, variable in self.variables.items()}

    def _updated(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the values with their LoRA updates."""
        return values

    @property
    def digest(self) -> str | None:
        """The SHA-256 of the values, or the expected one before they are read."""
        is_incomplete = self.lacks_weights and self._unset_variables
        return self._expected_digest if is_incomplete else sha256_of_arrays(self.values.values())

    @property
    def trained_names(self) -> set[str]:
        """The names of the weights that are trained, directly or through a LoRA update."""
        return {
            name
            for name, variable in self.variables.items()
            if any(v.trainable for v in (variable, *self.factors.get(name, ())))
        }

    @property
    def body_is_frozen(self) -> bool:
        """Whether everything below the pooler is frozen. Then dropout is off, too."""
        return all("pooler" in name for name in self.trained_names)

    def update_trainable(self) -> None:
        """Set which weights, or LoRA updates, are trainable, from the layer's `trainable` and `freeze`."""
        frozen = frozen_names(self.names, self.layer.freeze)
        for spec, variable in zip(self.spec["variables"], self.layer.encoder_weights, strict=True):
            trainable = self.layer.trainable and spec["trainable"] and spec["name"] not in frozen
            variable.trainable = trainable and not self.lora
            for factor in self.factors.get(spec["name"], ()):
                factor.trainable = trainable

    def reinitialize(self, layers: int) -> None:
        """Initialize the weights of the pooler and the top `layers` layers again (https://arxiv.org/abs/2006.05987)."""
        names = top_layers(self.names, layers, "--reinit-layers")
        self.require_weights()
        for number, (name, variable) in enumerate(self.variables.items()):
            if name not in names:
                continue
            kind = name.rsplit("/", 1)[-1]
            normal = keras.initializers.TruncatedNormal(0.02, seed=self.layer.seed + number)
            initial = {"kernel": normal, "gamma": keras.initializers.Ones()}.get(kind, keras.initializers.Zeros())
            variable.assign(initial(variable.shape))

    def _tokens(self, inputs: "dict[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
        """Return the inputs as int32, truncated to the encoder's maximum length."""
        import tensorflow as tf

        tokens = {name: tf.cast(inputs[name], tf.int32) for name in TOKEN_INPUTS if name in inputs}
        return truncate(tokens, self.spec["max_seq_length"]) if self._may_be_too_long(inputs) else tokens

    def _may_be_too_long(self, inputs: "dict[str, tf.Tensor]") -> bool:
        length, limit = inputs["input_word_ids"].shape[1], self.spec["max_seq_length"]
        return bool(limit) and not rows_are_truncated() and (length is None or length > limit)

    def check_length(self, seq_length: int) -> None:
        """Raise an InputError if rows may have more tokens than the encoder reads."""
        limit = self.spec["max_seq_length"]
        if limit and seq_length > limit:
            raise InputError(
                f"--seq-length {seq_length}: the encoder {self.layer.encoder} reads at most {limit} tokens"
            )

    def _map_outputs(self, make: Callable[[tuple], Any], batch: object, length: object) -> dict[str, Any]:
        """Call `make` with the shape of each output."""

        def output(shape: list[int | None]) -> Any:
            return make((batch, shape[-1]) if len(shape) == 2 else (batch, length, shape[-1]))

        return {
            name: list(map(output, shape)) if name == "encoder_outputs" else output(shape)
            for name, shape in self.spec["outputs"].items()
        }

    def require_weights(self) -> None:
        """Read the weights of a layer made from its config; raise an InputError if they are not the original's."""
        if not self.lacks_weights or is_building():
            return
        import tensorflow as tf

        with tf.init_scope():
            unset = self._unset_variables
            if unset or not self.is_loaded:
                self._read(unset)
            self.lacks_weights = False

    def _read(self, unset: dict[str, keras.Variable]) -> None:
        layer, encoder = self.layer.name, self.layer.encoder
        remedy = "call set_weights, or load the model from a .keras file"
        try:
            folder = resolve_encoder(encoder)
            source = {name: value for name, value in read_values(folder).items() if name in unset} if unset else {}
            if missing := unset.keys() - source.keys():
                raise InputError(f"{folder}: weight {min(missing)} not found")
            if not self.is_loaded:
                self.load_assets(folder)
        except (InputError, ValueError) as error:
            raise InputError(f"{layer}: created without its weights ({error}); {remedy}") from None
        values = self._updated({**self._base_values, **source})
        if unset and self._expected_digest not in (None, sha256_of_arrays(values.values())):
            raise InputError(f"{layer}: created from the config of a layer with other weights than {encoder}; {remedy}")
        for name, value in source.items():
            unset[name].assign(value)

    @property
    def _unset_variables(self) -> dict[str, keras.Variable]:
        """The variables without a value, by name."""
        unset = {name: variable for name, variable in self.variables.items() if _is_unset(variable)}
        # Booleans and integers cannot be NaN.
        others = {name: variable for name, variable in self.variables.items() if "float" not in variable.dtype}
        return unset | others if unset else {}


def to_numpy(variable: keras.Variable) -> np.ndarray:
    """Return a variable's value."""
    # np.asarray(variable) fails on a mirrored scalar within its strategy's scope.
    return np.asarray(variable.numpy())


def _nan_variable(spec: dict[str, Any]) -> "tf.Variable":
    """Return a variable filled with NaN, which marks it as unset."""
    import tensorflow as tf

    dtype = tf.as_dtype(spec["dtype"])
    value = tf.fill(spec["shape"], tf.cast(float("nan") if dtype.is_floating else 0, dtype))
    return tf.Variable(value, trainable=spec["trainable"], name=spec["name"])


def _is_unset(variable: keras.Variable) -> bool:
    import tensorflow as tf

    value = tf.convert_to_tensor(variable)
    return value.dtype.is_floating and bool(tf.reduce_all(tf.math.is_nan(value)))
