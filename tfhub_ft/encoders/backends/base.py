"""The interface of the backends of `HubEncoder`, and what they share: the weights."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfhub_ft.encoders.architecture_detection import read_values
from tfhub_ft.encoders.bert_forward import Architecture
from tfhub_ft.encoders.freezing import frozen_names, top_layers
from tfhub_ft.encoders.packing import TOKEN_INPUTS
from tfhub_ft.encoders.resolve import resolve_encoder
from tfhub_ft.encoders.truncation import pad_hidden_states, rows_are_cut, truncate
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import sha256_of_arrays
from tfhub_ft.utils.keras_compat import is_building


class Backend:
    """Computes a `HubEncoder`.

    Its variables are attributes of the layer: Keras and TensorFlow look for them nowhere else.

    Args:
        layer: the layer.
        spec: what `describe` returns.
        values: of the variables, in the order of `spec`. Without them they are read when they are needed first.
        digest: the SHA-256 of the values that are to be read then.
    """

    # The settings of LoRA, and the factors of the updates by the name of their weight.
    lora: dict[str, Any] | None = None
    factors: Mapping[str, Sequence["keras.Variable"]] = {}

    def __init__(
        self,
        layer: keras.layers.Layer,
        *,
        spec: dict[str, Any],
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
                spec["variables"], map(_unset, spec["variables"]) if values is None else values, strict=True
            )
        ]

    def outputs(self, inputs: dict[str, Any], training: bool) -> dict[str, Any]:
        """Return what the layer returns; see `HubEncoder`."""
        import tensorflow as tf

        self.require_weights()
        outputs = self.encode(self._tokens(inputs), training and not self.body_is_frozen)
        outputs = {name: outputs[name] for name in self.spec["outputs"]}
        if self._may_be_too_long(inputs):
            outputs = pad_hidden_states(outputs, tf.shape(inputs["input_word_ids"])[1])
        table = self.word_embeddings
        return outputs if table is None else {**outputs, "word_embeddings": tf.convert_to_tensor(table)}

    def output_spec(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the symbolic outputs of the layer."""
        outputs = self._map_outputs(keras.KerasTensor, *inputs["input_word_ids"].shape)
        table = self.word_embeddings
        return outputs if table is None else {**outputs, "word_embeddings": keras.KerasTensor(table.shape, table.dtype)}

    def first_token(self, inputs: dict[str, Any]) -> Any:
        """Return the last hidden state of each row's first token, float32 (batch, hidden), as the pooler reads it.

        In a graph a native encoder's last layer then computes no other token.
        """
        self.require_weights()
        outputs = self.encode(self._tokens(inputs), training=False)
        return outputs["first_token"] if "first_token" in outputs else outputs["sequence_output"][:, 0]

    def encode(self, tokens: dict[str, Any], training: bool) -> dict[str, Any]:
        """Return the encoder's outputs by name for tokens as `HubEncoder` takes them, int32; `training` is dropout."""

    def compute_in(self, precision: str) -> contextlib.AbstractContextManager:
        """Return a context in which matrix products are computed in "float32", "bfloat16" or "float16"."""

    def cast_kernels(self, dtype: str) -> None:
        """Hold matrices in the dtype of their products, for prediction alone. The dtypes of a graph are fixed.

        Casting them in each call takes 2 of the 15 ms of one text.
        """

    def require_native(self, option: str) -> None:
        """Raise an InputError where the graph computes the encoder, for an option that only native ones have."""
        raise InputError(f"{option}: {self.layer.encoder} is computed by its graph, as it was saved")

    @property
    def architecture(self) -> Architecture:
        """The encoder without its weights; an `UnknownFamily` where it cannot be computed natively."""

    def write(self, folder: Path) -> None:
        """Write a SavedModel with the current weights into a folder that does not exist yet."""

    def save_assets(self, folder: str | Path) -> None:
        """Write what a `.keras` file needs besides weights."""

    def load_assets(self, folder: str | Path, name: str | None = None) -> None:
        """Load what `save_assets` wrote, or the SavedModel itself."""

    def save_variables(self, store: dict[str, Any]) -> None:
        """Write all variables under their numbers into a Keras weights file."""
        self.require_weights()
        for number, variable in enumerate(self.state):
            store[str(number)] = to_numpy(variable)

    def load_variables(self, store: dict[str, Any]) -> None:
        """Read what `save_variables` wrote."""
        if len(store) != len(self.state):
            raise ValueError(f"layer {self.layer.name} has {len(self.state)} weights, and the file {len(store)}")
        for number, variable in enumerate(self.state):
            variable.assign(store[str(number)])
        self.lacks_weights = not self.is_loaded

    @property
    def is_loaded(self) -> bool:
        """Whether there is all but the values of the weights."""
        return True

    @property
    def names(self) -> list[str]:
        """The names of the weights in the SavedModel."""
        return [variable["name"] for variable in self.spec["variables"]]

    @property
    def variables(self) -> dict[str, "keras.Variable"]:
        """The weights by their names in the SavedModel."""
        return dict(zip(self.names, self.layer.encoder_weights, strict=True))

    @property
    def state(self) -> list["keras.Variable"]:
        """All variables, in an order that does not depend on which of them train."""
        return self.layer.encoder_weights

    @property
    def word_embeddings(self) -> "keras.Variable | None":
        """The word embeddings, float32 (vocabulary, size); None where no weight has that name."""
        named = (v for v in self.layer.encoder_weights if "word_embedding" in v.name and len(v.shape) == 2)
        return next(named, None)

    @property
    def values(self) -> dict[str, np.ndarray]:
        """The current values of the weights by their names in the SavedModel."""
        self.require_weights()
        return self._updated(self._own_values)

    @property
    def _own_values(self) -> dict[str, np.ndarray]:
        return {name: to_numpy(variable) for name, variable in self.variables.items()}

    def _updated(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The values with their LoRA updates."""
        return values

    @property
    def digest(self) -> str | None:
        """The SHA-256 of the values, or of those that are still to be read."""
        is_incomplete = self.lacks_weights and self._unset_variables
        return self._expected_digest if is_incomplete else sha256_of_arrays(self.values.values())

    @property
    def trained_names(self) -> set[str]:
        """The names of the weights that train, directly or through a LoRA update."""
        return {
            name
            for name, variable in self.variables.items()
            if any(each.trainable for each in (variable, *self.factors.get(name, ())))
        }

    @property
    def body_is_frozen(self) -> bool:
        """Whether nothing below the pooler trains. Dropout is off then."""
        return all("pooler" in name for name in self.trained_names)

    def update_trainable(self) -> None:
        """Let those weights train that the layer's `trainable` and `freeze` say, or their LoRA updates."""
        frozen = frozen_names(self.names, self.layer.freeze)
        for described, variable in zip(self.spec["variables"], self.layer.encoder_weights, strict=True):
            trains = self.layer.trainable and described["trainable"] and described["name"] not in frozen
            variable.trainable = trains and not self.lora
            for factor in self.factors.get(described["name"], ()):
                factor.trainable = trains

    def reinitialize(self, layers: int) -> None:
        """Draw the weights of the top layers and of the pooler again.

        Args:
            layers: the number of layers; 0 is the pooler alone.

        Raises:
            InputError: the encoder has fewer layers.

        Reference:
            Zhang et al. 2021, https://arxiv.org/abs/2006.05987
        """
        names = top_layers(self.names, layers, "--reinit-layers")
        self.require_weights()
        for number, (name, variable) in enumerate(self.variables.items()):
            if name not in names:
                continue
            kind = name.rsplit("/", 1)[-1]
            normal = keras.initializers.TruncatedNormal(0.02, seed=self.layer.seed + number)
            initial = {"kernel": normal, "gamma": keras.initializers.Ones()}.get(kind, keras.initializers.Zeros())
            variable.assign(initial(variable.shape))

    def _tokens(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs as int32, truncated to the tokens that the encoder reads."""
        import tensorflow as tf

        tokens = {name: tf.cast(inputs[name], tf.int32) for name in TOKEN_INPUTS if name in inputs}
        return truncate(tokens, self.spec["max_seq_length"]) if self._may_be_too_long(inputs) else tokens

    def _may_be_too_long(self, inputs: dict[str, Any]) -> bool:
        length, most = inputs["input_word_ids"].shape[1], self.spec["max_seq_length"]
        return bool(most) and not rows_are_cut() and (length is None or length > most)

    def check_length(self, seq_length: int) -> None:
        """Raise an InputError where rows may have more tokens than the encoder reads."""
        most = self.spec["max_seq_length"]
        if most and seq_length > most:
            raise InputError(f"--seq-length {seq_length}: the encoder {self.layer.encoder} reads at most {most} tokens")

    def _map_outputs(self, make: Callable[[tuple], Any], batch: Any, length: Any) -> dict[str, Any]:
        """Make something of each output's shape."""

        def of(shape: list[int | None]) -> Any:
            return make((batch, shape[-1]) if len(shape) == 2 else (batch, length, shape[-1]))

        return {
            name: [of(each) for each in shape] if name == "encoder_outputs" else of(shape)
            for name, shape in self.spec["outputs"].items()
        }

    def require_weights(self) -> None:
        """Read the weights that a layer made from its config lacks, or raise an InputError where they do not fit."""
        if not self.lacks_weights or is_building():
            return
        import tensorflow as tf

        with tf.init_scope():
            unset = self._unset_variables
            if unset or not self.is_loaded:
                self._read(unset)
            self.lacks_weights = False

    def _read(self, unset: dict[str, "keras.Variable"]) -> None:
        name, encoder = self.layer.name, self.layer.encoder
        remedy = "copy the weights by set_weights, or load the model from a .keras file"
        try:
            folder = resolve_encoder(encoder)
            source = {each: value for each, value in read_values(folder).items() if each in unset} if unset else {}
            if missing := unset.keys() - source.keys():
                raise InputError(f"{folder}: has no weight {min(missing)}")
            if not self.is_loaded:
                self.load_assets(folder)
        except (InputError, ValueError) as error:
            raise InputError(f"{name}: was made without its weights ({error}); {remedy}") from None
        values = self._updated({**self._own_values, **source})
        if unset and self._expected_digest not in (None, sha256_of_arrays(values.values())):
            raise InputError(
                f"{name}: was made from the config of a layer with other weights than {encoder} has; {remedy}"
            )
        for each, value in source.items():
            unset[each].assign(value)

    @property
    def _unset_variables(self) -> dict[str, "keras.Variable"]:
        """The variables that have no value yet, by name."""
        unset = {name: variable for name, variable in self.variables.items() if _is_unset(variable)}
        # Booleans and integers do not show it.
        others = {name: variable for name, variable in self.variables.items() if "float" not in variable.dtype}
        return unset | others if unset else {}


def to_numpy(variable: "keras.Variable") -> np.ndarray:
    """Return a variable's value."""
    # np.asarray fails on a scalar variable of several replicas within their strategy's scope.
    return np.asarray(variable.numpy())


def _unset(variable: dict[str, Any]) -> Any:
    """A tf.Variable of NaN, so that it shows whether it was given a value."""
    import tensorflow as tf

    dtype = tf.as_dtype(variable["dtype"])
    value = tf.fill(variable["shape"], tf.cast(float("nan") if dtype.is_floating else 0, dtype))
    return tf.Variable(value, trainable=variable["trainable"], name=variable["name"])


def _is_unset(variable: "keras.Variable") -> bool:
    import tensorflow as tf

    value = tf.convert_to_tensor(variable)
    return value.dtype.is_floating and bool(tf.reduce_all(tf.math.is_nan(value)))
