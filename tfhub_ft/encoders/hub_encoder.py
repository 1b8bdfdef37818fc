"""The Keras layer of a TF Hub text encoder."""

import random
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tfhub_ft.encoders.backends import NativeBackend, backend_of_spec, read_backend
from tfhub_ft.encoders.default_names import DefaultNamed
from tfhub_ft.encoders.freezing import frozen_names
from tfhub_ft.encoders.lora import DEFAULT_TARGETS
from tfhub_ft.encoders.resolve import resolve_encoder
from tfhub_ft.encoders.saved_module import EncoderSpec
from tfhub_ft.utils.cache import load_cached
from tfhub_ft.utils.keras_compat import flatten_layers, input_operation, is_reading_legacy_file

if TYPE_CHECKING:
    import tensorflow as tf


@keras.saving.register_keras_serializable("tfhub_ft")
class HubEncoder(DefaultNamed):
    """A TF Hub text encoder whose variables are Keras weights.

    Encoders of known families (BERT, DistilBERT, ELECTRA, ALBERT) are computed natively, which is faster and follows
    Keras' dtype policy, and all others by the SavedModel's graph.

    A `.keras` file with the layer loads without cache and network. A layer made by `from_config`, as in clones and
    `.h5` files, reads the weights that it does not get otherwise from `encoder`, if they are the original's.

    Args:
        encoder: string. A catalog name, a handle, a URL or a SavedModel folder.
        implementation: string. "native", "graph", or "auto": native if the family is known.
        freeze: string. The weights to freeze: "none", "embeddings", "N" (embeddings and the lowest N layers),
            "all-but-N" (train the top N layers and the pooler), "all-but-pooler" or "all".
        seed: int. Random seed of dropout, by default drawn from the generator of `keras.utils.set_random_seed`.
        recompute: boolean. Whether training computes each layer again for its gradients, which takes less memory and
            more time. Native only.

    Call arguments:
        inputs: dict with "input_word_ids", "input_mask" and "input_type_ids", int32 tensors of shape (batch, length).
            Rows longer than `max_seq_length` are truncated, and keep their last token.
        training: boolean. Whether dropout is active.

    Returns:
        A dict with those of these outputs that the encoder has: "pooled_output", float32 (batch, hidden),
        "sequence_output", float32 (batch, length, hidden), zero at truncated tokens, "encoder_outputs", the list of all
        layers' outputs, and "word_embeddings", the weight, float32 (vocabulary, size).

    Raises:
        InputError: The encoder is not found, is not a text encoder or not of a family that `implementation` supports,
            `freeze` or `recompute` does not match it, or symbolic inputs are longer than `max_seq_length`.

    Example:
        encoded = HubEncoder("minilm-l6", freeze="embeddings")(tokens)
        logits = keras.layers.Dense(2)(encoded["pooled_output"])

    Reference:
        https://www.tensorflow.org/hub/common_saved_model_apis/text#transformer-encoders
    """

    default_name = "encoder"

    def __init__(
        self,
        encoder: str = "minilm-l6",
        *,
        implementation: str = "auto",
        freeze: str = "none",
        seed: int | None = None,
        spec: EncoderSpec | None = None,
        lora: dict[str, Any] | None = None,
        recompute: bool = False,
        weights_sha256: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.encoder, self.implementation, self._freeze = str(encoder), implementation, str(freeze)
        self.seed = random.randrange(1, 2**31) if seed is None else seed
        self.recompute, self.module = recompute, None
        if spec is None:
            options = self.encoder, implementation, self.seed
            make_backend = load_cached(lambda: resolve_encoder(encoder), lambda folder: read_backend(folder, *options))
        else:
            make_backend = backend_of_spec(spec, weights_sha256)
        self.backend = make_backend(self)
        if recompute and spec is None:
            self.backend.require_native("recompute")
        self.backend.update_trainable()
        self.built = True
        if lora:
            self.backend.add_updates(**lora)

    @property
    def spec(self) -> EncoderSpec:
        """The encoder's inputs, outputs and variables, and the architecture of native encoders."""
        return self.backend.spec

    @property
    def is_native(self) -> bool:
        """Whether the encoder is computed natively, not by the SavedModel's graph."""
        return isinstance(self.backend, NativeBackend)

    @property
    def freeze(self) -> str:
        """The frozen weights. Like `trainable`, a change takes effect at the next `model.compile`."""
        return self._freeze

    @freeze.setter
    def freeze(self, freeze: str) -> None:
        frozen_names(self.backend.names, str(freeze))
        self._freeze = str(freeze)
        self.backend.update_trainable()

    @property
    def trainable(self) -> bool:
        """Whether the weights that `freeze` does not exclude, or their LoRA updates, are trainable."""
        return super().trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        keras.layers.Layer.trainable.__set__(self, value)
        self.backend.update_trainable()

    @property
    def max_seq_length(self) -> int | None:
        """Maximum sequence length, if the encoder has position embeddings."""
        return self.spec["max_seq_length"]

    @property
    def values(self) -> dict[str, np.ndarray]:
        """The current values of the weights, by their names in the SavedModel."""
        return self.backend.values

    def enable_lora(self, rank: int, *, alpha: float | None = None, targets: Sequence[str] = DEFAULT_TARGETS) -> None:
        """Train low-rank updates of matrices instead of the weights. Compile the model again afterwards.

        Args:
            rank: int. Rank of the updates, from 1 to the encoder's width.
            alpha: float. Updates are scaled by `alpha / rank`. Defaults to twice the rank.
            targets: sequence of strings: "query", "key", "value", "attention_output", "intermediate", "output" or
                "pooler". Matrices that `freeze` excludes get no update.

        Raises:
            InputError: The encoder is not native, LoRA is already enabled, an argument is invalid, or a tf.function of
                the caller has traced the layer.

        Reference:
            https://arxiv.org/abs/2106.09685
        """
        self.backend.enable_lora(rank, alpha, targets)

    def merge_lora(self) -> None:
        """Add the LoRA updates to the weights, and disable LoRA."""
        self.backend.merge_lora()

    def save_lora_weights(self, path: str | Path) -> None:
        """Write the LoRA updates into a safetensors file; raise an InputError if LoRA is not enabled."""
        self.backend.save_lora_weights(Path(path))

    def load_lora_weights(self, path: str | Path) -> None:
        """Load LoRA updates from a file of `save_lora_weights`, in place of current ones.

        Raises:
            InputError: The file is not an adapter or belongs to other weights, or a tf.function of the caller has
                traced the layer.
        """
        self.backend.load_lora_weights(Path(path))

    def write_module(self, folder: Path) -> None:
        """Write a TF Hub SavedModel with the current weights into a new folder."""
        self.backend.write(folder)

    def compute_in(self, precision: str) -> AbstractContextManager:
        """Return a context in which matrix products are computed in "float32", "bfloat16" or "float16"."""
        return self.backend.compute_in(precision)

    def call(self, inputs: "dict[str, tf.Tensor]", training: bool = False) -> dict[str, Any]:
        return self.backend.outputs(inputs, bool(training))

    def compute_output_spec(self, inputs: dict[str, keras.KerasTensor], training: bool = False) -> dict[str, Any]:
        # A layer without weights may be part of a model of an earlier version, which did not check the length.
        if not self.backend.lacks_weights:
            length = inputs["input_word_ids"].shape[1]
            self.backend.check_length(length or getattr(input_operation(inputs["input_word_ids"]), "seq_length", 0))
        return self.backend.output_spec(inputs)

    def get_config(self) -> dict[str, Any]:
        options = {n: getattr(self, n) for n in ("encoder", "implementation", "freeze", "seed", "spec", "recompute")}
        lora = self.backend.lora and dict(self.backend.lora)
        return {**super().get_config(), **options, "lora": lora, "weights_sha256": self.backend.digest}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "HubEncoder":
        layer = super().from_config(config)
        if is_reading_legacy_file() and not layer.backend.is_loaded:
            # The file has the weights, but not the graph.
            layer.backend.load_assets(resolve_encoder(layer.encoder))
        return layer

    def save_own_variables(self, store: dict[str, Any]) -> None:
        self.backend.save_variables(store)

    def load_own_variables(self, store: dict[str, Any]) -> None:
        self.backend.load_variables(store)

    def save_assets(self, dir_path: str) -> None:
        self.backend.save_assets(dir_path)

    def load_assets(self, dir_path: str) -> None:
        self.backend.load_assets(dir_path, f"the layer {self.name}")


def encoder_of(network: keras.Model) -> HubEncoder:
    """Return the encoder of a token model."""
    return next(layer for layer in flatten_layers(network) if isinstance(layer, HubEncoder))
