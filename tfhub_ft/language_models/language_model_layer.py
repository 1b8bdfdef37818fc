"""A KerasHub causal language model as a Keras layer for packed dialogues."""

from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from tfhub_ft.encoders.lora import read_adapter, write_adapter
from tfhub_ft.encoders.traced_graphs import TracedGraphs
from tfhub_ft.language_models.packing import INPUTS
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.keras_compat import flatten_layers, own_kernel, untrack_variable
from tfhub_ft.utils.precision import layer_precision

if TYPE_CHECKING:
    import keras_hub

CHECKED_TOKENS, TOLERANCE = 24, 1e-4


@keras.saving.register_keras_serializable("tfhub_ft")
class LanguageModel(keras.layers.Layer):
    """Scores how well a causal language model predicts replies, with several dialogues in one sequence.

    KerasHub's model reads one text in a sequence. Here its layers are called one by one with a mask that separates the
    dialogues. A call returns the sums of cross-entropy, of correct predictions and of predictions of each sequence,
    float32 (batch, 3).

    Args:
        causal_lm: A KerasHub model.
        source: The model's name, folder or handle, for errors.

    Call arguments:
        tokens: int32 (batch, length) by `INPUTS`: token ids; the number of each token's dialogue from 1, and 0 for
            padding; 1 for tokens to predict, and 0 for others.
    """

    def __init__(self, causal_lm: "keras_hub.models.CausalLM", *, source: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.causal_lm, self.encoder = causal_lm, source
        self._has_lora = False
        self._graphs = TracedGraphs()

    @property
    def backbone(self) -> Any:
        """KerasHub's backbone."""
        return self.causal_lm.backbone

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Empty: the metrics that KerasHub compiles its model with are not those of the network."""
        return []

    @property
    def max_seq_length(self) -> int | None:
        """Maximum sequence length; None without position embeddings."""
        return getattr(self.backbone, "max_sequence_length", None)

    @property
    def trainable(self) -> bool:
        """Whether the weights, or with LoRA their updates, train."""
        return super().trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        keras.layers.Layer.trainable.__set__(self, value)
        if self._has_lora:
            update_ids = set(map(id, self._updates()))
            for weight in self.causal_lm.weights:
                weight.trainable = value and id(weight) in update_ids

    @property
    def dtype_policy(self) -> keras.DTypePolicy:
        """The dtype policy of the layer and of all layers within; the weights keep their dtype."""
        return super().dtype_policy

    @dtype_policy.setter
    def dtype_policy(self, value: keras.DTypePolicy) -> None:
        keras.layers.Layer.dtype_policy.__set__(self, value)
        for layer in flatten_layers(self, include_self=False):
            layer.dtype_policy = value

    def compute_in(self, precision: str) -> AbstractContextManager[None]:
        """Return a context that computes matrix products in "float32", "bfloat16" or "float16"."""
        return layer_precision(self, precision)

    def build(self, input_shape: object = None) -> None:
        self.built = True

    def call(self, tokens: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        self._graphs.record()
        token_ids, dialogue, is_target = (tokens[name] for name in INPUTS)
        hidden = self.hidden_states(token_ids, dialogue, training=training)[:, :-1]
        next_ids, is_target = token_ids[:, 1:], is_target[:, 1:]
        if is_target.shape.is_fully_defined():
            # Keep static shapes for TPUs: score all positions and mask the sums.
            weights = tf.cast(is_target, tf.float32)
            entropy, correct = self._score(hidden, next_ids)
            return tf.stack([tf.reduce_sum(each * weights, 1) for each in (entropy, correct, weights)], 1)
        positions = tf.where(is_target > 0)
        entropy, correct = self._score(tf.gather_nd(hidden, positions), tf.gather_nd(next_ids, positions))
        scores = tf.stack([entropy, correct, tf.ones_like(entropy)], 1)
        return tf.math.unsorted_segment_sum(scores, positions[:, 0], tf.shape(is_target)[0])

    def compute_output_spec(self, tokens: dict[str, keras.KerasTensor], training: bool = False) -> keras.KerasTensor:
        return keras.KerasTensor((tokens[INPUTS[0]].shape[0], 3))

    def hidden_states(self, token_ids: tf.Tensor, dialogue: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the last layer's outputs, (batch, length, width), for int32 (batch, length); see the call."""
        ops, backbone = keras.ops, self.backbone
        same_dialogue = ops.equal(dialogue[:, :, None], dialogue[:, None, :])
        x = backbone.token_embedding(token_ids)
        if hasattr(backbone, "position_embedding"):
            positions = ops.sum(ops.tril(ops.cast(same_dialogue, "int32")), -1) - 1
            x = x + backbone.position_embedding(x, positions=positions)
            x = backbone.embeddings_dropout(x, training=training)
        for layer in backbone.transformer_layers:
            x = layer(x, decoder_attention_mask=same_dialogue, training=training)
        return backbone.layer_norm(x)

    def _score(self, hidden: tf.Tensor, next_ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the cross-entropy of the next tokens, and 1 where they are the most likely ones."""
        logits = tf.cast(self.backbone.token_embedding(hidden, reverse=True), tf.float32)
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=next_ids, logits=logits)
        return entropy, tf.cast(tf.argmax(logits, -1, tf.int32) == next_ids, tf.float32)

    def check(self) -> None:
        """Raise an InputError if the hidden states of random tokens differ from those of KerasHub's call."""
        ids = np.random.default_rng(0).integers(0, self.backbone.vocabulary_size, (1, CHECKED_TOKENS), "int32")
        ones = np.ones_like(ids)
        family = type(self.backbone).__name__.removesuffix("Backbone")
        error = InputError(
            f"{self.encoder}: dialogues cannot be packed for KerasHub's {family} models; use another family, such as"
            " Llama, Mistral, Qwen or GPT-2"
        )
        try:
            hidden = np.asarray(self.hidden_states(tf.constant(ids), tf.constant(ones)), "float32")
        except (AttributeError, TypeError, ValueError) as cause:
            raise error from cause
        expected = np.asarray(self.backbone({"token_ids": ids, "padding_mask": ones}), "float32")
        if np.abs(hidden - expected).max() > TOLERANCE * max(1.0, np.abs(expected).max()):
            raise error

    def enable_lora(self, rank: int, *, alpha: float | None = None, targets: Sequence[str]) -> None:
        """Train updates of rank `rank`, scaled by `alpha / rank`, of the layers named `targets` instead of all weights.

        Until they are merged, only the updates are saved and loaded as weights of this layer. Source: Hu et al. 2021,
        https://arxiv.org/abs/2106.09685
        """
        layers = self._dense_layers()
        names = sorted({layer.name for layer in layers})
        if unknown := [target for target in targets if target not in names]:
            raise InputError(f"--lora-targets {unknown[0]}: must be some of {', '.join(names)}, separated by commas")
        if not 1 <= rank <= self.backbone.hidden_dim:
            raise InputError(f"--lora-rank {rank}: must be from 1 to {self.backbone.hidden_dim}, the model's width")
        self._graphs.retrace_all(self.name)
        for layer in layers:
            if layer.name in targets:
                layer.enable_lora(rank, lora_alpha=alpha or 2 * rank)
        self._set_lora(True)

    def _set_lora(self, has_lora: bool) -> None:
        self._has_lora = has_lora
        # TensorFlow ignores the assignment of an equal value.
        LanguageModel.trainable.__set__(self, self.trainable)

    def merge_lora(self) -> None:
        """Add the updates to their weights, and remove them."""
        for layer in self._lora_layers():
            own_kernel(layer).assign(layer.kernel)
            layer.lora_enabled = False
            for factor in (layer.lora_kernel_a, layer.lora_kernel_b):
                # Graphs that were traced with the factors still add their product.
                factor.assign(np.zeros(factor.shape))
                untrack_variable(layer, factor)
        self._set_lora(False)
        self._graphs.retrace()

    def save_lora_weights(self, path: Path) -> None:
        """Write the updates, a few MB, to a safetensors file."""
        layers = list(self._lora_layers())
        updates = {layer.path: (layer.lora_kernel_a, layer.lora_kernel_b) for layer in layers}
        scale = str(layers[0].lora_alpha / layers[0].lora_rank)
        write_adapter(path, updates, {"language_model": self.encoder, "scale": scale})

    def load_lora_weights(self, path: Path) -> None:
        """Merge the updates of a file that `save_lora_weights` wrote for a model of the same shape."""
        tensors, metadata = read_adapter(path)
        layers = {layer.path: layer for layer in self._dense_layers()}
        for name in sorted({tensor.rpartition("/")[0] for tensor in tensors}):
            down, up = tensors[f"{name}/down"], tensors[f"{name}/up"]
            if name not in layers or (*down.shape[:-1], up.shape[-1]) != tuple(layers[name].kernel.shape):
                raise InputError(f"{path}: adapter of another model; it does not fit {self.encoder}")
            own_kernel(layers[name]).assign_add(float(metadata["scale"]) * (down @ up))

    def __dir__(self) -> list[str]:
        # Keras saves the layers that it finds here.
        return [] if getattr(self, "_has_lora", False) else [*super().__dir__()]

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        for number, weight in enumerate(self._updates()):
            store[str(number)] = np.asarray(weight)

    def load_own_variables(self, store: MutableMapping[str, Any]) -> None:
        for number, weight in enumerate(self._updates()):
            weight.assign(store[str(number)])

    def _updates(self) -> list[keras.Variable]:
        """Return the LoRA factors, in the order of the layer's weights."""
        factor_ids = {
            id(factor) for layer in self._lora_layers() for factor in (layer.lora_kernel_a, layer.lora_kernel_b)
        }
        return [weight for weight in self.weights if id(weight) in factor_ids]

    def _dense_layers(self) -> list[Any]:
        layers = (each for layer in self.backbone.transformer_layers for each in flatten_layers(layer))
        return [layer for layer in layers if isinstance(layer, keras.layers.Dense | keras.layers.EinsumDense)]

    def _lora_layers(self) -> Iterator[Any]:
        return (layer for layer in self._dense_layers() if layer.lora_enabled)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "causal_lm": keras.saving.serialize_keras_object(self.causal_lm)}
        # The network is not compiled as KerasHub compiles its model.
        config["causal_lm"].pop("compile_config", None)
        return {**config, "source": self.encoder}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LanguageModel":
        import keras_hub  # noqa: F401  its classes register themselves

        return cls(**{**config, "causal_lm": keras.saving.deserialize_keras_object(config["causal_lm"])})
