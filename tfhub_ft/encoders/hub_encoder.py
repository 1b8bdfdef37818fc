"""The Keras layer of a TF Hub text encoder."""

import random
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfhub_ft.encoders.backends import NativeBackend, backend_of_spec, read_backend
from tfhub_ft.encoders.default_names import DefaultNamed
from tfhub_ft.encoders.freezing import frozen_names
from tfhub_ft.encoders.lora import DEFAULT_TARGETS
from tfhub_ft.encoders.resolve import resolve_encoder
from tfhub_ft.utils.cache import load_cached
from tfhub_ft.utils.keras_compat import flatten_layers, input_operation, is_reading_legacy_file


@keras.saving.register_keras_serializable("tfhub_ft")
class HubEncoder(DefaultNamed):
    """A TF Hub text encoder whose variables are Keras weights.

    The layer's `backend` computes encoders of known families (BERT, DistilBERT, ELECTRA, ALBERT) natively, which is
    faster and follows Keras' dtype policy, and all others by the SavedModel's graph, the layer's `module`.

    A `.keras` file of the layer loads without the cache and without a network. A layer made by `from_config`, as in
    clones and `.h5` files, reads weights that it was not given from `encoder`, and refuses others than the original's.

    Args:
        encoder: a catalog name, a handle, a URL or a SavedModel folder.
        implementation: "native", "graph", or "auto": native where the family is known.
        freeze: the weights that do not train: "none", "embeddings", "N" (embeddings and the lowest N layers),
            "all-but-N" (the top N layers and the pooler train), "all-but-pooler" or "all".
        seed: of the encoder's dropout; drawn from `keras.utils.set_random_seed`'s generator by default.
        recompute: whether training recomputes each layer for its gradients: less memory, more time. Native only.

    Call arguments:
        inputs: {"input_word_ids", "input_mask", "input_type_ids"}, each int32 of shape (batch, length). Of a row with
            more tokens than the encoder reads, the first ones and the last one are read.
        training: whether dropout is active.

    Returns:
        {"pooled_output": float32 (batch, hidden), "sequence_output": float32 (batch, length, hidden),
        "encoder_outputs": a list of the layers' outputs, each like sequence_output, "word_embeddings": the weight,
        float32 (vocabulary, size)}, as far as the encoder has them. Hidden states of tokens that are not read are zero.

    Raises:
        InputError: the encoder does not exist, is not a text encoder or not of the family that `implementation` asks
            for; `freeze` does not fit it; or symbolic inputs have more tokens than it reads.

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
        spec: dict[str, Any] | None = None,
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
            make = load_cached(lambda: resolve_encoder(encoder), lambda folder: read_backend(folder, *options))
        else:
            make = backend_of_spec(spec, weights_sha256)
        self.backend = make(self)
        self.backend.update_trainable()
        self.built = True
        if lora:
            self.backend.add_updates(**lora)

    @property
    def spec(self) -> dict[str, Any]:
        """The encoder's inputs, outputs and variables, and how a native one is computed."""
        return self.backend.spec

    @property
    def is_native(self) -> bool:
        """Whether our own operations compute the encoder, not the SavedModel's graph."""
        return isinstance(self.backend, NativeBackend)

    @property
    def freeze(self) -> str:
        """The weights that do not train. Like `trainable`, it takes effect at the next `model.compile`."""
        return self._freeze

    @freeze.setter
    def freeze(self, freeze: str) -> None:
        frozen_names(self.backend.names, str(freeze))
        self._freeze = str(freeze)
        self.backend.update_trainable()

    @property
    def trainable(self) -> bool:
        """Whether the weights that `freeze` leaves, or with LoRA their updates, train."""
        return super().trainable

    @trainable.setter
    def trainable(self, trainable: bool) -> None:
        keras.layers.Layer.trainable.fset(self, trainable)
        self.backend.update_trainable()

    @property
    def max_seq_length(self) -> int | None:
        """The most tokens of a row, where the encoder's position embeddings set a limit."""
        return self.spec["max_seq_length"]

    @property
    def values(self) -> dict[str, np.ndarray]:
        """The current values of the weights, by their names in the SavedModel."""
        return self.backend.values

    def enable_lora(self, rank: int, *, alpha: float | None = None, targets: Sequence[str] = DEFAULT_TARGETS) -> None:
        """Train low-rank updates of matrices instead of the weights. Compile the model again afterwards.

        Args:
            rank: of the updates, from 1 to the encoder's width.
            alpha: an update is scaled by alpha / rank; twice the rank by default.
            targets: some of query, key, value, attention_output, intermediate, output and pooler. Matrices that
                `freeze` excludes now get no update, and an update whose matrix it excludes later does not train.

        Raises:
            InputError: the encoder is not native or has updates already, an argument does not fit it, or a tf.function
                of the caller has traced the layer.

        Reference:
            Hu et al. 2021, https://arxiv.org/abs/2106.09685
        """
        self.backend.enable_lora(rank, alpha, targets)

    def merge_lora(self) -> None:
        """Add the updates to the weights and remove them. Graphs that were traced before return the same outputs."""
        self.backend.merge_lora()

    def save_lora_weights(self, path: str | Path) -> None:
        """Write the updates alone into a safetensors file; raise an InputError where there are none."""
        self.backend.save_lora_weights(Path(path))

    def load_lora_weights(self, path: str | Path) -> None:
        """Replace the updates by those of a file that `save_lora_weights` wrote.

        Raises:
            InputError: the file is not an adapter or belongs to another encoder, or a tf.function of the caller has
                traced the layer.
        """
        self.backend.load_lora_weights(Path(path))

    def write_module(self, folder: Path) -> None:
        """Write a TF Hub SavedModel with the current weights into a folder that does not exist yet."""
        self.backend.write(folder)

    def compute_in(self, precision: str) -> AbstractContextManager:
        """Return a context in which matrix products are computed in "float32", "bfloat16" or "float16"."""
        return self.backend.compute_in(precision)

    def call(self, inputs: dict[str, Any], training: bool = False) -> dict[str, Any]:
        return self.backend.outputs(inputs, bool(training))

    def compute_output_spec(self, inputs: dict[str, Any], training: bool = False) -> dict[str, Any]:
        # Models of earlier versions, which layers without weights belong to, still load.
        if not self.backend.lacks_weights:
            length = inputs["input_word_ids"].shape[1]
            self.backend.check_length(length or getattr(input_operation(inputs["input_word_ids"]), "seq_length", 0))
        return self.backend.output_spec(inputs)

    def get_config(self) -> dict[str, Any]:
        own = {n: getattr(self, n) for n in ("encoder", "implementation", "freeze", "seed", "spec", "recompute")}
        lora = self.backend.lora and dict(self.backend.lora)
        return {**super().get_config(), **own, "lora": lora, "weights_sha256": self.backend.digest}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "HubEncoder":
        layer = super().from_config(config)
        if is_reading_legacy_file() and not layer.backend.is_loaded:
            # The file has its weights, but not its graph.
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
    """Return the encoder in a token model."""
    return next(layer for layer in flatten_layers(network) if isinstance(layer, HubEncoder))
