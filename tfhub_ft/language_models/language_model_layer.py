"""A causal language model of KerasHub as a Keras layer that reads several dialogues in one sequence."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfhub_ft.encoders.lora import read_adapter, write_adapter
from tfhub_ft.encoders.traced_graphs import TracedGraphs
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.keras_compat import flatten_layers, own_kernel, untrack_variable
from tfhub_ft.utils.precision import layer_precision

CHECKED_TOKENS, TOLERANCE = 24, 1e-4


@keras.saving.register_keras_serializable("tfhub_ft")
class LanguageModel(keras.layers.Layer):
    """A KerasHub causal language model that tells how well it predicts replies, of several dialogues in one sequence.

    KerasHub's own model reads one text a sequence. Here its layers are called one after the other with a mask that
    parts the dialogues; `check` refuses a model whose layers cannot be put together so.

    Args:
        causal_lm: a `keras_hub.models.CausalLM`.
        source: what to call it in an error: its name, folder or handle.

    Call arguments:
        tokens: {"token_ids"; "dialogue", the dialogue of each token, from 1, and 0 for padding; "learnt", 1 for the
            tokens that are to be predicted}, each int32 (batch, length).

    Returns:
        For each sequence the sums of cross-entropy, of right guesses and of guesses, float32 (batch, 3).

    Example:
        LanguageModel(load_causal_lm("smollm2-135m-instruct"), source="smollm2-135m-instruct")
    """

    def __init__(self, causal_lm: Any, *, source: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.causal_lm, self.encoder = causal_lm, source
        self._has_lora = False
        self._graphs = TracedGraphs()

    @property
    def backbone(self) -> Any:
        """KerasHub's model without its way back to tokens."""
        return self.causal_lm.backbone

    @property
    def metrics(self) -> list[Any]:
        """None: those that KerasHub compiles its model with do not belong to a network that holds it."""
        return []

    @property
    def max_seq_length(self) -> int | None:
        """The most tokens that there are positions for; None where there is no such bound."""
        return getattr(self.backbone, "max_sequence_length", None)

    @property
    def trainable(self) -> bool:
        """Whether the layer trains: all its weights or, with LoRA, the updates alone."""
        return super().trainable

    @trainable.setter
    def trainable(self, trainable: bool) -> None:
        keras.layers.Layer.trainable.fset(self, trainable)
        if self._has_lora:
            updates = set(map(id, self._updates()))
            for weight in self.causal_lm.weights:
                weight.trainable = trainable and id(weight) in updates

    @property
    def dtype_policy(self) -> Any:
        """How it computes, with all layers within, such as by mixed_bfloat16; the weights stay as they are."""
        return super().dtype_policy

    @dtype_policy.setter
    def dtype_policy(self, policy: Any) -> None:
        keras.layers.Layer.dtype_policy.fset(self, policy)
        for layer in flatten_layers(self, include_self=False):
            layer.dtype_policy = policy

    def compute_in(self, precision: str) -> AbstractContextManager:
        """Return a context in which matrix products are computed in "float32", "bfloat16" or "float16"."""
        return layer_precision(self, precision)

    def build(self, shapes: Any = None) -> None:
        self.built = True

    def call(self, tokens: dict[str, Any], training: bool = False) -> Any:
        import tensorflow as tf

        self._graphs.record()
        hidden = self.hidden_states(tokens["token_ids"], tokens["dialogue"], training=training)[:, :-1]
        following, learnt = tokens["token_ids"][:, 1:], tokens["learnt"][:, 1:]
        if learnt.shape.is_fully_defined():
            # Where shapes are fixed, as TPUs need them, the places that are learnt cannot be picked out.
            counted = tf.cast(learnt, tf.float32)
            entropy, right = self._guesses(hidden, following)
            return tf.stack([tf.reduce_sum(each * counted, 1) for each in (entropy, right, counted)], 1)
        places = tf.where(learnt > 0)
        entropy, right = self._guesses(tf.gather_nd(hidden, places), tf.gather_nd(following, places))
        sums = tf.stack([entropy, right, tf.ones_like(entropy)], 1)
        return tf.math.unsorted_segment_sum(sums, places[:, 0], tf.shape(learnt)[0])

    def compute_output_spec(self, tokens: dict[str, Any], training: bool = False) -> keras.KerasTensor:
        return keras.KerasTensor((tokens["token_ids"].shape[0], 3))

    def hidden_states(self, token_ids: Any, dialogue: Any, training: bool = False) -> Any:
        """What the last layer gives, (batch, length, width), of int32 (batch, length); see the call."""
        ops, backbone = keras.ops, self.backbone
        together = ops.equal(dialogue[:, :, None], dialogue[:, None, :])
        x = backbone.token_embedding(token_ids)
        if hasattr(backbone, "position_embedding"):
            places = ops.sum(ops.tril(ops.cast(together, "int32")), -1) - 1
            x = x + backbone.position_embedding(x, positions=places)
            x = backbone.embeddings_dropout(x, training=training)
        for layer in backbone.transformer_layers:
            x = layer(x, decoder_attention_mask=together, training=training)
        return backbone.layer_norm(x)

    def _guesses(self, hidden: Any, following: Any) -> tuple[Any, Any]:
        import tensorflow as tf

        logits = tf.cast(self.backbone.token_embedding(hidden, reverse=True), tf.float32)
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=following, logits=logits)
        return entropy, tf.cast(tf.argmax(logits, -1, tf.int32) == following, tf.float32)

    def check(self) -> None:
        """Compare the hidden states with those of KerasHub's own call, on tokens drawn at random.

        Raises:
            InputError: they differ.
        """
        ids = np.random.default_rng(0).integers(0, self.backbone.vocabulary_size, (1, CHECKED_TOKENS), "int32")
        ones = np.ones_like(ids)
        try:
            ours = keras.ops.convert_to_numpy(self.hidden_states(ids, ones)).astype("float32")
        except (AttributeError, TypeError, ValueError) as error:
            raise self._refusal() from error
        theirs = keras.ops.convert_to_numpy(self.backbone({"token_ids": ids, "padding_mask": ones})).astype("float32")
        if np.abs(ours - theirs).max() > TOLERANCE * max(1.0, np.abs(theirs).max()):
            raise self._refusal()

    def _refusal(self) -> InputError:
        family = type(self.backbone).__name__.removesuffix("Backbone")
        return InputError(
            f"{self.encoder}: dialogues cannot be packed for KerasHub's {family} models; Llama, Mistral, Qwen and GPT-2"
            " are among those that they can be packed for"
        )

    def enable_lora(self, rank: int, *, alpha: float | None = None, targets: Sequence[str]) -> None:
        """Train low-rank updates of some matrices in place of all weights.

        Until they are merged, weights that are saved of this layer are the updates alone, and so are those that are
        loaded: KerasHub's layers would write what they are with them, and forget them.

        Args:
            rank: of the updates.
            alpha: an update is scaled by this, divided by the rank; twice the rank by default.
            targets: what KerasHub calls the layers that hold the matrices, such as query and value.

        Raises:
            InputError: a target is not there, the rank does not fit, or a tf.function of the caller has traced the
                layer.

        Reference:
            Hu et al. 2021, https://arxiv.org/abs/2106.09685
        """
        layers = self._dense_layers()
        names = sorted({layer.name for layer in layers})
        if unknown := [target for target in targets if target not in names]:
            raise InputError(f"--lora-targets {unknown[0]}: must be some of {', '.join(names)}, with commas between")
        if not 1 <= rank <= self.backbone.hidden_dim:
            raise InputError(f"--lora-rank {rank}: must be from 1 to {self.backbone.hidden_dim}, the model's width")
        self._graphs.retrace_all(self.name)
        for layer in layers:
            if layer.name in targets:
                layer.enable_lora(rank, lora_alpha=alpha or 2 * rank)
        self._set_lora(True)

    def _set_lora(self, has_lora: bool) -> None:
        self._has_lora = has_lora
        type(self).trainable.fset(self, self.trainable)

    def merge_lora(self) -> None:
        """Add the updates to the weights that they belong to, and remove them."""
        for layer in self._with_lora():
            own_kernel(layer).assign(layer.kernel)
            layer.lora_enabled = False
            for factor in (layer.lora_kernel_a, layer.lora_kernel_b):
                # Graphs that were traced with the factors still add their product.
                factor.assign(np.zeros(factor.shape))
                untrack_variable(layer, factor)
        self._set_lora(False)
        self._graphs.retrace()

    def save_lora_weights(self, path: Path) -> None:
        """Write the updates alone, a few MB, into a safetensors file."""
        updates = {layer.path: (layer.lora_kernel_a, layer.lora_kernel_b) for layer in self._with_lora()}
        scale = str(next(layer.lora_alpha / layer.lora_rank for layer in self._with_lora()))
        write_adapter(path, updates, {"language_model": self.encoder, "scale": scale})

    def load_lora_weights(self, path: Path) -> None:
        """Read updates that `save_lora_weights` wrote into a model of the same shape, and merge them.

        Raises:
            InputError: the file is no adapter, or one of another model.
        """
        tensors, described = read_adapter(path)
        layers = {layer.path: layer for layer in self._dense_layers()}
        for name in sorted({tensor.rpartition("/")[0] for tensor in tensors}):
            down, up = tensors[f"{name}/down"], tensors[f"{name}/up"]
            if name not in layers or (*down.shape[:-1], up.shape[-1]) != tuple(layers[name].kernel.shape):
                raise InputError(f"{path} does not fit {self.encoder}: it was made for another model")
            own_kernel(layers[name]).assign_add(float(described["scale"]) * (down @ up))

    def __dir__(self) -> list[str]:
        # Keras saves the layers that it finds here.
        return [] if getattr(self, "_has_lora", False) else [*super().__dir__()]

    def save_own_variables(self, store: Any) -> None:
        for number, weight in enumerate(self._updates()):
            store[str(number)] = keras.ops.convert_to_numpy(weight)

    def load_own_variables(self, store: Any) -> None:
        for number, weight in enumerate(self._updates()):
            weight.assign(store[str(number)])

    def _updates(self) -> list[Any]:
        """The factors of the LoRA updates, in the order of the layer's weights."""
        factors = {id(f) for layer in self._with_lora() for f in (layer.lora_kernel_a, layer.lora_kernel_b)}
        return [weight for weight in self.weights if id(weight) in factors]

    def _dense_layers(self) -> list[Any]:
        dense = (keras.layers.Dense, keras.layers.EinsumDense)
        return [
            each
            for layer in self.backbone.transformer_layers
            for each in flatten_layers(layer)
            if isinstance(each, dense)
        ]

    def _with_lora(self) -> list[Any]:
        return [layer for layer in self._dense_layers() if layer.lora_enabled]

    def get_config(self) -> dict[str, Any]:
        causal_lm = keras.saving.serialize_keras_object(self.causal_lm)
        # How KerasHub compiles its model is not for others to repeat.
        causal_lm.pop("compile_config", None)
        return {**super().get_config(), "causal_lm": causal_lm, "source": self.encoder}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LanguageModel":
        import keras_hub  # noqa: F401  its classes register themselves

        return cls(**{**config, "causal_lm": keras.saving.deserialize_keras_object(config["causal_lm"])})
