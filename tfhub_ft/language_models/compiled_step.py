"""One token of one dialogue through a Llama or a Qwen, as one compiled program."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfhub_ft.utils.keras_compat import decoder_norms, flatten_layers


class CompiledStep:
    """What a Llama or a Qwen of KerasHub makes of one more token, in a program that XLA compiles.

    KerasHub's call of one token is some 2,000 small operations, and products of one row leave a processor waiting for
    weights. Here the products of a layer that read the same row are one, the scales of norms stand in the weights
    behind them, and weights lie as XLA reads them once, in order: `benchmarks/dialogue_generation.py` measures it.
    The weights are copied, in the model's compute dtype, as they are now.

    Args:
        causal_lm: one that `can_compile` takes.

    Example:
        step = CompiledStep(causal_lm)
        cache = step.cache_of(tf.zeros((1, 30, 2, 256, 3, 64)))
        logits = step(tf.constant([17]), cache, tf.constant(0))

    Reference:
        Touvron et al. 2023, https://arxiv.org/abs/2302.13971; Su et al. 2021, https://arxiv.org/abs/2104.09864
    """

    def __init__(self, causal_lm: Any):
        backbone = causal_lm.backbone
        self._embedding, self._dtype = backbone.token_embedding, causal_lm.compute_dtype
        self._heads, self._kept_heads = backbone.num_query_heads, backbone.num_key_value_heads
        self._width = backbone.hidden_dim // self._heads
        self._epsilon = backbone.layer_norm_epsilon
        self._rotary = backbone.transformer_layers[0]._self_attention_layer.rotary_embedding_layer
        self._layers = [self._matrices_of(layer) for layer in backbone.transformer_layers]
        self._vocabulary = self._matrix(self._output_kernel(), backbone.layer_norm.scale)

    @staticmethod
    def can_compile(causal_lm: Any) -> bool:
        """Whether a model is a Llama, or a Qwen that attends to all before: all others take KerasHub's own way."""
        from keras_hub.models import LlamaBackbone, QwenBackbone

        backbone = causal_lm.backbone
        if isinstance(backbone, QwenBackbone):
            return not backbone.use_sliding_window_attention
        return isinstance(backbone, LlamaBackbone)

    @staticmethod
    def cache_of(cache: Any) -> tf.Variable:
        """What KerasHub's cache of one row, (1, layers, 2, length, heads, width), is for the step: float32."""
        return tf.Variable(tf.cast(cache, tf.float32), trainable=False)

    def __call__(self, token: Any, cache: tf.Variable, place: Any) -> Any:
        """The logits behind a token, float32 (1, vocabulary); the cache gets its keys and values.

        Args:
            token: its id, int32 (1,).
            cache: what `cache_of` made, filled for the places before.
            place: the token's, int32 ().
        """
        before = tf.where(tf.range(cache.shape[3]) < place, 0.0, -1e9)
        logits, added = self._compiled(token, cache, *self._angles(place), before)
        cache[:, :, :, place].assign(added[None])
        return logits

    @tf.function(jit_compile=True, autograph=False)
    def _compiled(self, token: Any, cache: Any, cos: Any, sin: Any, before: Any) -> tuple[Any, Any]:
        x, added = tf.cast(self._embedding(token), tf.float32), []
        for number, (into_attention, bias, out_of_attention, into_gate, out_of_gate) in enumerate(self._layers):
            heads = self._normed_product(x, into_attention)
            heads = tf.reshape(heads if bias is None else heads + bias, (-1, 2, self._width // 2))
            turned, value = heads[: -self._kept_heads], heads[-self._kept_heads :]
            turned = turned * cos + turned[:, ::-1] * sin
            turned, value = (tf.reshape(each, (-1, self._width)) for each in (turned, value))
            query, key = turned[: self._heads], turned[self._heads :]
            x += _product(self._attended(query, key, value, cache[0, number], before), out_of_attention)
            gate, up = tf.split(self._normed_product(x, into_gate), 2, -1)
            x += _product(tf.nn.silu(gate) * up, out_of_gate)
            added.append(tf.stack([key, value]))
        return self._normed_product(x, self._vocabulary), tf.stack(added)

    def _attended(self, query: Any, key: Any, value: Any, cache: Any, before: Any) -> Any:
        """Values by the attention of a token to those before, in the cache, and to itself, float32 (1, width)."""
        query = tf.reshape(query, (self._kept_heads, -1, self._width)) * self._width**-0.5
        scores = tf.einsum("hqw,thw->hqt", query, cache[0]) + before
        own = tf.reduce_sum(query * key[:, None], -1, keepdims=True)
        most = tf.maximum(tf.reduce_max(scores, -1, keepdims=True), own)
        weights, own = tf.exp(scores - most), tf.exp(own - most)
        sums = tf.einsum("hqt,thw->hqw", weights, cache[1]) + own * value[:, None]
        return tf.reshape(sums / (tf.reduce_sum(weights, -1, keepdims=True) + own), (1, -1))

    def _normed_product(self, x: Any, matrix: Any) -> Any:
        """The norm's scale is in the matrix already, and what is left of it is one number."""
        return _product(x, matrix) * tf.math.rsqrt(tf.reduce_mean(x * x) + self._epsilon)

    def _matrices_of(self, layer: Any) -> tuple[Any, ...]:
        parts = {part.name: part for part in flatten_layers(layer, include_self=False)}
        norms = [norm.scale for norm in decoder_norms(layer)]

        def kernels(*names: str) -> Any:
            found = [keras.ops.convert_to_numpy(parts[name].kernel) for name in names]
            return np.concatenate([kernel.reshape(len(kernel), -1) for kernel in found], 1)

        heads = ("query", "key", "value")
        biases = [tf.reshape(parts[name].bias, [-1]) for name in heads if parts[name].bias is not None]
        out_of_attention = keras.ops.convert_to_numpy(parts["attention_output"].kernel)
        return (
            self._matrix(kernels(*heads), norms[0]),
            tf.concat(biases, 0) if biases else None,
            self._matrix(out_of_attention.reshape(-1, out_of_attention.shape[-1])),
            self._matrix(kernels("feedforward_gate_dense", "feedforward_intermediate_dense"), norms[1]),
            self._matrix(kernels("feedforward_output_dense")),
        )

    def _output_kernel(self) -> Any:
        if self._embedding.tie_weights:
            return keras.ops.convert_to_numpy(self._embedding.embeddings).T
        return keras.ops.convert_to_numpy(self._embedding.reverse_embeddings)

    def _matrix(self, kernel: np.ndarray, scale: Any = None) -> tf.Variable:
        """A kernel (in, out), each row of it times a norm's scale, as (out, in)."""
        if scale is not None:
            kernel = kernel * keras.ops.convert_to_numpy(scale)[:, None]
        return tf.Variable(tf.cast(np.ascontiguousarray(kernel.T), self._dtype), trainable=False)

    def _angles(self, place: Any) -> tuple[Any, Any]:
        """Cosines, and sines with their signs, of a place, float32 (2, half of a head's width).

        KerasHub's layer turns pairs (1, 0): so whatever scaling of angles it knows is in them.
        """
        pairs = tf.repeat(tf.constant([1.0, 0.0]), self._width // 2)
        turned = self._rotary(pairs[None, None, None], start_index=place)
        cos, sin = tf.split(tf.cast(turned[0, 0, 0], tf.float32), 2)
        return tf.stack([cos, cos]), tf.stack([-sin, sin])


def _product(row: Any, matrix: Any) -> Any:
    """XLA reads a matrix that lies (out, in) in its own dtype, and adds up in float32."""
    return tf.matmul(row, tf.cast(matrix, tf.float32), transpose_b=True)
