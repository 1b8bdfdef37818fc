"""Compile the generation step of Llama and Qwen models with XLA."""

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfhub_ft.utils.keras_compat import decoder_norms, flatten_layers

if TYPE_CHECKING:
    import keras
    import keras_hub

LayerMatrices = tuple[tf.Variable, tf.Tensor | None, tf.Variable, tf.Variable, tf.Variable]


class CompiledStep:
    """The step from one token of one dialogue to the logits of the next, compiled by XLA.

    KerasHub runs some 2,000 small operations for a token, and products of a single row wait for the weights. Here the
    products of a layer that read the same row are one product, kernels include the scales of the norms before them, and
    their memory layout lets XLA read them in order; see `benchmarks/dialogue_generation.py`. The kernels are copies in
    the model's compute dtype.

    Args:
        causal_lm: A model for which `can_compile` returns True.

    Reference:
        Touvron et al. 2023, https://arxiv.org/abs/2302.13971; Su et al. 2021, https://arxiv.org/abs/2104.09864
    """

    def __init__(self, causal_lm: "keras_hub.models.CausalLM"):
        backbone: Any = causal_lm.backbone
        self._embedding, self._dtype = backbone.token_embedding, causal_lm.compute_dtype
        self._heads, self._kv_heads = backbone.num_query_heads, backbone.num_key_value_heads
        self._width = backbone.hidden_dim // self._heads
        self._epsilon = backbone.layer_norm_epsilon
        self._rotary = backbone.transformer_layers[0]._self_attention_layer.rotary_embedding_layer
        self._layers = [self._layer_matrices(layer) for layer in backbone.transformer_layers]
        tied = self._embedding.tie_weights
        kernel = np.asarray(self._embedding.embeddings).T if tied else np.asarray(self._embedding.reverse_embeddings)
        self._vocabulary = self._matrix(kernel, backbone.layer_norm.scale)

    @staticmethod
    def can_compile(causal_lm: "keras_hub.models.CausalLM") -> bool:
        """Return whether a model is a Llama, or a Qwen without sliding-window attention."""
        from keras_hub.models import LlamaBackbone, QwenBackbone

        backbone = causal_lm.backbone
        if isinstance(backbone, QwenBackbone):
            return not backbone.use_sliding_window_attention
        return isinstance(backbone, LlamaBackbone)

    @staticmethod
    def cache_of(cache: tf.Tensor) -> tf.Variable:
        """Return KerasHub's cache of one row, (1, layers, 2, length, heads, width), as a float32 variable."""
        return tf.Variable(tf.cast(cache, tf.float32), trainable=False)

    def __call__(self, token: tf.Tensor, cache: tf.Variable, position: tf.Tensor) -> tf.Tensor:
        """Return the logits, float32 (1, vocabulary), after a token id, int32 (1,), and add it to the cache."""
        mask = tf.where(tf.range(cache.shape[3]) < position, 0.0, -1e9)
        logits, entry = self._compiled(token, cache, *self._angles(position), mask)
        cache[:, :, :, position].assign(entry[None])
        return logits

    @tf.function(jit_compile=True, autograph=False)
    def _compiled(
        self, token: tf.Tensor, cache: tf.Variable, cos: tf.Tensor, sin: tf.Tensor, mask: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        x, entries = tf.cast(self._embedding(token), tf.float32), []
        for number, (qkv, bias, attention_output, gate_up, down) in enumerate(self._layers):
            heads = self._normed_product(x, qkv)
            heads = tf.reshape(heads if bias is None else heads + bias, (-1, 2, self._width // 2))
            rotated, value = heads[: -self._kv_heads], heads[-self._kv_heads :]
            rotated = rotated * cos + rotated[:, ::-1] * sin
            rotated, value = (tf.reshape(each, (-1, self._width)) for each in (rotated, value))
            query, key = rotated[: self._heads], rotated[self._heads :]
            x += _product(self._attend(query, key, value, cache[0, number], mask), attention_output)
            gate, up = tf.split(self._normed_product(x, gate_up), 2, -1)
            x += _product(tf.nn.silu(gate) * up, down)
            entries.append(tf.stack([key, value]))
        return self._normed_product(x, self._vocabulary), tf.stack(entries)

    def _attend(
        self, query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, cache: tf.Tensor, mask: tf.Tensor
    ) -> tf.Tensor:
        """Return the attention of a token to itself and to the tokens in the cache, float32 (1, width)."""
        query = tf.reshape(query, (self._kv_heads, -1, self._width)) * self._width**-0.5
        scores = tf.einsum("hqw,thw->hqt", query, cache[0]) + mask
        own_score = tf.reduce_sum(query * key[:, None], -1, keepdims=True)
        highest = tf.maximum(tf.reduce_max(scores, -1, keepdims=True), own_score)
        weights, own_weight = tf.exp(scores - highest), tf.exp(own_score - highest)
        sums = tf.einsum("hqt,thw->hqw", weights, cache[1]) + own_weight * value[:, None]
        return tf.reshape(sums / (tf.reduce_sum(weights, -1, keepdims=True) + own_weight), (1, -1))

    def _normed_product(self, x: tf.Tensor, matrix: tf.Variable) -> tf.Tensor:
        """Return the product with the RMS norm of a row, whose scale is in the matrix."""
        return _product(x, matrix) * tf.math.rsqrt(tf.reduce_mean(x * x) + self._epsilon)

    def _layer_matrices(self, layer: "keras.layers.Layer") -> LayerMatrices:
        """Return the query, key and value matrix, its bias or None, and those of output, gate and up, and down."""
        parts = {part.name: part for part in flatten_layers(layer, include_self=False)}
        attention_norm, feedforward_norm = (norm.scale for norm in decoder_norms(layer))

        def kernels(*names: str) -> np.ndarray:
            arrays = [np.asarray(parts[name].kernel) for name in names]
            return np.concatenate([array.reshape(len(array), -1) for array in arrays], 1)

        heads = ("query", "key", "value")
        biases = [tf.reshape(parts[name].bias, [-1]) for name in heads if parts[name].bias is not None]
        attention_output = np.asarray(parts["attention_output"].kernel)
        return (
            self._matrix(kernels(*heads), attention_norm),
            tf.concat(biases, 0) if biases else None,
            self._matrix(attention_output.reshape(-1, attention_output.shape[-1])),
            self._matrix(kernels("feedforward_gate_dense", "feedforward_intermediate_dense"), feedforward_norm),
            self._matrix(kernels("feedforward_output_dense")),
        )

    def _matrix(self, kernel: np.ndarray, scale: "keras.Variable | None" = None) -> tf.Variable:
        """Return a kernel (in, out), multiplied by a norm's scale, as a variable (out, in)."""
        if scale is not None:
            kernel = kernel * np.asarray(scale)[:, None]
        return tf.Variable(tf.cast(np.ascontiguousarray(kernel.T), self._dtype), trainable=False)

    def _angles(self, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the cosines and the signed sines of a position, float32 (2, width / 2).

        KerasHub's layer rotates pairs (1, 0), so that its scaling of angles is included.
        """
        pairs = tf.repeat(tf.constant([1.0, 0.0]), self._width // 2)
        rotated = self._rotary(pairs[None, None, None], start_index=position)
        cos, sin = tf.split(tf.cast(rotated[0, 0, 0], tf.float32), 2)
        return tf.stack([cos, cos]), tf.stack([-sin, sin])


def _product(row: tf.Tensor, matrix: tf.Variable) -> tf.Tensor:
    """Return row times the transpose of a matrix, which XLA reads in its own dtype and sums in float32."""
    return tf.matmul(row, tf.cast(matrix, tf.float32), transpose_b=True)
