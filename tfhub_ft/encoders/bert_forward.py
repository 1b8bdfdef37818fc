"""BERT's forward pass in TensorFlow, on weights of TF Hub encoders."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tfhub_ft.utils.keras_compat import is_traced_for_xla

if TYPE_CHECKING:
    import tensorflow as tf

    # Takes a tensor, a rate, and a number that differs by call.
    DropoutFunction = Callable[[tf.Tensor, float, int | tf.Tensor], tf.Tensor]

# The parts of tf-models' encoders, which TF Hub's BERT, DistilBERT, ELECTRA and ALBERT were made with.
PARTS = (
    "word_embeddings",
    "position_embedding",
    "type_embeddings",
    "embeddings/layer_norm",
    "embedding_projection",
    "self_attention/query",
    "self_attention/key",
    "self_attention/value",
    "self_attention/attention_output",
    "self_attention_layer_norm",
    "intermediate",
    "output",
    "output_layer_norm",
    "pooler_transform",
)
OPTIONAL_PARTS = ("type_embeddings", "embedding_projection", "pooler_transform")
_NAME = re.compile(
    rf"(?:^|/)(?:transformer/)?(?:layer_(\d+)/)?({'|'.join(PARTS)})/(kernel|bias|embeddings|gamma|beta)$"
)
_IN_LAYER = PARTS[5:13]
# Far below every attention score, but within the range of float16 and of int8 calibration.
MASKED = -1e4

# The kernel and bias of each part of a layer (or gamma and beta), then the factors of its LoRA update, if any.
LayerWeights = dict[str, "tuple[tf.Tensor, ...]"]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A BERT's architecture: everything but its weights."""

    layers: int
    # Whether all layers share their weights, as in ALBERT.
    shared: bool
    heads: int
    # "gelu", "gelu_tanh", "relu" or "silu".
    activation: str = "gelu"
    # Added to the variance in layer normalizations.
    epsilon: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1


def role_of(name: str) -> str | None:
    """Return a variable's role in a BERT, such as "layer_3/self_attention/query/kernel"; None if it has none."""
    match = _NAME.search(name)
    if not match:
        return None
    layer, part, kind = match.groups()
    if (part in _IN_LAYER) != (layer is not None or "transformer/" in name):
        return None
    return f"layer_{layer or 0}/{part}/{kind}" if part in _IN_LAYER else f"{part}/{kind}"


def encode(
    weights: "Mapping[str, tf.Tensor]",
    architecture: Architecture,
    tokens: "Mapping[str, tf.Tensor]",
    *,
    dtype: str,
    dropout: "DropoutFunction | None" = None,
    custom_gradients: bool = True,
    recompute: bool = False,
    lora_factors: "Mapping[str, tuple[tf.Tensor, tf.Tensor]] | None" = None,
) -> dict[str, Any]:
    """Return a BERT's outputs by their names in the TF Hub text API, and "first_token".

    Weights and LoRA factors, float32, are given by role. Tokens are int32 (batch, length). `dtype` is that of matrix
    products and hidden states. Training uses custom gradients, which SavedModels cannot hold, and with `recompute`
    computes each block again for its gradient. Graphs that use only the pooled output or the first token compute the
    last block for one token.

    BERT: https://arxiv.org/abs/1810.04805; ALBERT: https://arxiv.org/abs/1909.11942; ELECTRA:
    https://arxiv.org/abs/2003.10555; recomputation: https://arxiv.org/abs/1604.06174
    """
    import tensorflow as tf

    use_gradients, lora_factors = dropout is not None and custom_gradients, lora_factors or {}
    batch, length = tf.unstack(tf.shape(tokens["input_word_ids"]))
    size = weights["layer_0/output_layer_norm/gamma"].shape[0]
    block = _Block(architecture, batch, length, dropout, use_gradients)
    call = block
    if recompute:
        call = _recomputed(block)
    elif use_gradients and not is_traced_for_xla():
        call = _traced_once(block)

    x = tf.gather(weights["word_embeddings/embeddings"], tokens["input_word_ids"])
    # Gathered, not sliced: TFLite quantizes only tables that are gathered from.
    x += tf.gather(weights["position_embedding/embeddings"], tf.range(length))
    if "type_embeddings/embeddings" in weights:
        x += tf.gather(weights["type_embeddings/embeddings"], tokens["input_type_ids"])
    x = block.drop(norm(x, *_pair(weights, "embeddings/layer_norm"), architecture.epsilon, use_gradients), 0)
    x = tf.cast(tf.reshape(x, (-1, x.shape[-1])), dtype)
    if "embedding_projection/kernel" in weights:
        x = dense(x, *_pair(weights, "embedding_projection"), use_gradients)
    bias = tf.reshape(tf.cast(1 - tokens["input_mask"], dtype) * MASKED, (batch, 1, 1, length))

    outputs, first = [], x
    for number in range(architecture.layers):
        layer = 0 if architecture.shared else number
        layer_weights = {part: _part(weights, lora_factors, f"layer_{layer}/{part}") for part in _IN_LAYER}
        if number == architecture.layers - 1:
            first = call(x, layer_weights, bias, architecture.layers, first_only=True)
        x = call(x, layer_weights, bias, number)
        outputs.append(tf.cast(tf.reshape(x, (batch, length, size)), "float32"))
    first = tf.cast(first, "float32")
    pooled = first
    if "pooler_transform/kernel" in weights:
        pooled = tf.tanh(lora_dense(first, *_part(weights, lora_factors, "pooler_transform"), training=use_gradients))
    return {
        "first_token": first,
        "pooled_output": pooled,
        "sequence_output": outputs[-1],
        "encoder_outputs": outputs,
    }


class _Block:
    """A transformer block: attention and a feed-forward network, each followed by a norm."""

    def __init__(
        self,
        architecture: Architecture,
        batch: "tf.Tensor",
        length: "tf.Tensor",
        dropout: "DropoutFunction | None",
        use_gradients: bool,
    ):
        self.architecture, self.batch, self.length = architecture, batch, length
        self.dropout, self.use_gradients = dropout, use_gradients

    def __call__(
        self,
        x: "tf.Tensor",
        weights: LayerWeights,
        bias: "tf.Tensor",
        number: "int | tf.Tensor",
        first_only: bool = False,
    ) -> "tf.Tensor":
        """Return the next hidden states (batch * length, hidden), or each row's first one (batch, hidden)."""
        call_index = 1 + 3 * number
        attention = self._attention(x, weights, bias, call_index, first_only)
        x = self._first(x) if first_only else x
        attention = self.drop(self._dense(attention, weights, "self_attention/attention_output"), call_index + 1)
        x = self._norm(x + attention, weights, "self_attention_layer_norm")
        inner = activate(self._dense(x, weights, "intermediate"), self.architecture.activation, self.use_gradients)
        inner = self.drop(self._dense(inner, weights, "output"), call_index + 2)
        return self._norm(x + inner, weights, "output_layer_norm")

    def drop(self, x: "tf.Tensor", call_index: "int | tf.Tensor") -> "tf.Tensor":
        """Apply dropout to hidden states in training."""
        return self.dropout(x, self.architecture.dropout, call_index) if self.dropout else x

    def _attention(
        self, x: "tf.Tensor", weights: LayerWeights, bias: "tf.Tensor", call_index: "int | tf.Tensor", first_only: bool
    ) -> "tf.Tensor":
        import tensorflow as tf

        kernel, query_bias, *factors = weights["self_attention/query"]
        heads = self.architecture.heads
        size = query_bias.shape.num_elements() // heads
        scale = size**-0.5
        query_part = (kernel * scale, query_bias * scale, *factors[:1], *(up * scale for up in factors[1:]))
        key_value_parts = [weights["self_attention/key"], weights["self_attention/value"]]
        # One matrix product in place of three reads the hidden states once.
        if first_only:
            (query,) = self._heads(self._product(self._first(x), [query_part]), 1, 1, heads, size)
            key, value = self._heads(self._product(x, key_value_parts), self.length, 2, heads, size)
        else:
            product = self._product(x, [query_part, *key_value_parts])
            query, key, value = self._heads(product, self.length, 3, heads, size)
        probabilities = tf.nn.softmax(tf.matmul(query, key, transpose_b=True) + bias)
        if self.dropout:
            # architecture_detection.py identifies the rate by this name.
            with tf.name_scope("self_attention"):
                probabilities = self.dropout(probabilities, self.architecture.attention_dropout, call_index)
        return tf.reshape(tf.transpose(tf.matmul(probabilities, value), (0, 2, 1, 3)), (-1, heads * size))

    def _product(self, x: "tf.Tensor", parts: "list[tuple[tf.Tensor, ...]]") -> "tf.Tensor":
        return lora_dense(x, *_concatenated(parts), training=self.use_gradients)

    def _heads(self, x: "tf.Tensor", length: "tf.Tensor | int", parts: int, heads: int, size: int) -> "list[tf.Tensor]":
        """Split (batch * length, parts * heads * size) into a list of (batch, heads, length, size)."""
        import tensorflow as tf

        x = tf.reshape(x, (self.batch, length, parts, heads, size))
        return tf.unstack(tf.transpose(x, (2, 0, 3, 1, 4)))

    def _dense(self, x: "tf.Tensor", weights: LayerWeights, part: str) -> "tf.Tensor":
        import tensorflow as tf

        kernel, bias, *factors = weights[part]
        return lora_dense(x, tf.reshape(kernel, (-1, bias.shape[-1])), bias, *factors, training=self.use_gradients)

    def _norm(self, x: "tf.Tensor", weights: LayerWeights, part: str) -> "tf.Tensor":
        gamma, beta = weights[part]
        return norm(x, gamma, beta, self.architecture.epsilon, self.use_gradients)

    def _first(self, x: "tf.Tensor") -> "tf.Tensor":
        """Return each row's first hidden state, (batch, hidden)."""
        import tensorflow as tf

        return tf.gather(x, tf.range(self.batch) * self.length)


def _traced_once(block: _Block) -> "Callable[..., tf.Tensor]":
    """Return the block as one tf.function for all layers, so that deep models start to train sooner.

    Not for XLA: it would treat the shapes that the function's gradient needs as constants and compile every step.
    """
    import tensorflow as tf

    traced = tf.function(block, autograph=False)
    return lambda x, weights, bias, number, first_only=False: traced(x, weights, bias, tf.constant(number), first_only)


def _recomputed(block: _Block) -> "Callable[..., tf.Tensor]":
    """Return the block with a gradient that computes the block again instead of storing its intermediate results."""
    import tensorflow as tf

    def call(
        x: "tf.Tensor", weights: LayerWeights, bias: "tf.Tensor", number: int, first_only: bool = False
    ) -> "tf.Tensor":
        def compute(x: "tf.Tensor", *flat_weights: "tf.Tensor") -> "tf.Tensor":
            return block(x, tf.nest.pack_sequence_as(weights, flat_weights), bias, number, first_only)

        @tf.custom_gradient
        def compute_twice(*inputs: "tf.Tensor") -> Any:
            def gradient(upstream: "tf.Tensor") -> "list[tf.Tensor | tf.IndexedSlices]":
                # The dependency keeps TensorFlow from reusing the first computation.
                with tf.control_dependencies([upstream]):
                    copies = [tf.identity(tensor) for tensor in inputs]
                with tf.GradientTape() as tape:
                    tape.watch(copies)
                    output = compute(*copies)
                return tape.gradient(output, copies, [upstream])

            return compute(*inputs), gradient

        return compute_twice(x, *tf.nest.flatten(weights))

    return call


def _pair(weights: "Mapping[str, tf.Tensor]", part: str) -> "tuple[tf.Tensor, tf.Tensor]":
    kernel = weights.get(f"{part}/kernel")
    if kernel is None:
        return weights[f"{part}/gamma"], weights[f"{part}/beta"]
    return kernel, weights[f"{part}/bias"]


def _part(
    weights: "Mapping[str, tf.Tensor]", lora_factors: "Mapping[str, tuple[tf.Tensor, tf.Tensor]]", part: str
) -> "tuple[tf.Tensor, ...]":
    """Return the two weights of a part, and the factors of its LoRA update, if any."""
    return *_pair(weights, part), *lora_factors.get(f"{part}/kernel", ())


def _concatenated(parts: "list[tuple[tf.Tensor, ...]]") -> "tuple[tf.Tensor, ...]":
    """Concatenate dense layers with the same inputs into one."""
    import tensorflow as tf

    kernels = [tf.reshape(kernel, (kernel.shape[0], -1)) for kernel, *_ in parts]
    biases = [tf.reshape(bias, (-1,)) for _, bias, *_ in parts]
    sizes = [bias.shape.num_elements() for bias in biases]
    downs, ups = [], []
    for number, (_, _, *factors) in enumerate(parts):
        if factors:
            downs.append(factors[0])
            ups.append(tf.pad(factors[1], [(0, 0), (sum(sizes[:number]), sum(sizes[number + 1 :]))]))
    factors = (tf.concat(downs, 1), tf.concat(ups, 0)) if downs else ()
    return tf.concat(kernels, 1), tf.concat(biases, 0), *factors


def dense(x: "tf.Tensor", kernel: "tf.Tensor", bias: "tf.Tensor", training: bool = False) -> "tf.Tensor":
    """Return x @ kernel + bias in the dtype of x (rows, inputs), with float32 weights.

    The gradient of the bias is a matrix product with ones, because TensorFlow's is slow in bfloat16.
    """
    import tensorflow as tf

    def plain(x: "tf.Tensor", kernel: "tf.Tensor", bias: "tf.Tensor") -> "tf.Tensor":
        return tf.nn.bias_add(tf.matmul(x, tf.cast(kernel, x.dtype)), tf.cast(bias, x.dtype))

    @tf.custom_gradient
    def with_gradient(x: "tf.Tensor", kernel: "tf.Tensor", bias: "tf.Tensor") -> Any:
        def gradient(upstream: "tf.Tensor") -> "tuple[tf.Tensor, ...]":
            ones = tf.ones((1, tf.shape(upstream)[0]), upstream.dtype)
            return (
                tf.matmul(upstream, tf.cast(kernel, upstream.dtype), transpose_b=True),
                tf.cast(tf.matmul(x, upstream, transpose_a=True), kernel.dtype),
                tf.cast(tf.matmul(ones, upstream)[0], bias.dtype),
            )

        return plain(x, kernel, bias), gradient

    return (with_gradient if training else plain)(x, kernel, bias)


def lora_dense(
    x: "tf.Tensor",
    kernel: "tf.Tensor",
    bias: "tf.Tensor",
    down: "tf.Tensor | None" = None,
    up: "tf.Tensor | None" = None,
    training: bool = False,
) -> "tf.Tensor":
    """Apply a dense layer with the kernel kernel + down @ up, of which only the factors are trained.

    The gradients of the factors are computed without that of their product, which is as large as the kernel's.

    Hu et al. 2021, https://arxiv.org/abs/2106.09685
    """
    import tensorflow as tf

    if down is None or up is None:
        return dense(x, kernel, bias, training)
    if not training:
        return dense(x, kernel + tf.matmul(down, up), bias)

    @tf.custom_gradient
    def with_gradient(x: "tf.Tensor", down: "tf.Tensor", up: "tf.Tensor") -> Any:
        updated_kernel = tf.cast(kernel + tf.matmul(down, up), x.dtype)

        def gradient(upstream: "tf.Tensor") -> "tuple[tf.Tensor, ...]":
            down_upstream = tf.matmul(upstream, tf.cast(up, x.dtype), transpose_b=True)
            down_output = tf.matmul(x, tf.cast(down, x.dtype))
            return (
                tf.matmul(upstream, updated_kernel, transpose_b=True),
                tf.cast(tf.matmul(x, down_upstream, transpose_a=True), down.dtype),
                tf.cast(tf.matmul(down_output, upstream, transpose_a=True), up.dtype),
            )

        return dense(x, updated_kernel, bias), gradient

    return with_gradient(x, down, up)


def norm(x: "tf.Tensor", gamma: "tf.Tensor", beta: "tf.Tensor", epsilon: float, training: bool = False) -> "tf.Tensor":
    """Apply layer normalization in float32; in training with a closed-form gradient, which needs fewer passes.

    Ba et al. 2016, https://arxiv.org/abs/1607.06450
    """
    import tensorflow as tf

    def standardized(x: "tf.Tensor") -> "tuple[tf.Tensor, tf.Tensor]":
        x = tf.cast(x, "float32")
        centered = x - tf.reduce_mean(x, -1, keepdims=True)
        scale = tf.math.rsqrt(tf.reduce_mean(tf.square(centered), -1, keepdims=True) + epsilon)
        return centered * scale, scale

    def plain(x: "tf.Tensor", gamma: "tf.Tensor", beta: "tf.Tensor") -> "tf.Tensor":
        return tf.cast(standardized(x)[0] * gamma + beta, x.dtype)

    @tf.custom_gradient
    def with_gradient(x: "tf.Tensor", gamma: "tf.Tensor", beta: "tf.Tensor") -> Any:
        def gradient(upstream: "tf.Tensor") -> "tuple[tf.Tensor, ...]":
            unit, scale = standardized(x)
            upstream = tf.cast(upstream, "float32")
            axes = list(range(len(x.shape) - 1))
            unit_gradient = upstream * gamma
            mean = tf.reduce_mean(unit_gradient, -1, keepdims=True)
            projection = tf.reduce_mean(unit_gradient * unit, -1, keepdims=True)
            x_gradient = scale * (unit_gradient - mean - unit * projection)
            return tf.cast(x_gradient, x.dtype), tf.reduce_sum(upstream * unit, axes), tf.reduce_sum(upstream, axes)

        return plain(x, gamma, beta), gradient

    return (with_gradient if training else plain)(x, gamma, beta)


def activate(x: "tf.Tensor", name: str, training: bool = False) -> "tf.Tensor":
    """Apply an activation of `Architecture`; GELU: https://arxiv.org/abs/1606.08415."""
    import tensorflow as tf

    if name == "gelu":
        return (_gelu_with_gradient if training else _gelu)(x)
    if name == "gelu_tanh":
        return tf.nn.gelu(x, approximate=True)
    return {"relu": tf.nn.relu, "silu": tf.nn.silu}[name](x)


def _gelu(x: "tf.Tensor") -> "tf.Tensor":
    import tensorflow as tf

    # Not tf.nn.gelu: its erfc is not vectorized. TFLite's converter and oneDNN recognize GELU in exactly this form, and
    # oneDNN fuses it in float32 with the product before it, unless there is a cast between them.
    return 0.5 * x * (1.0 + tf.math.erf(x / math.sqrt(2)))


def _gelu_with_gradient(x: "tf.Tensor") -> "tf.Tensor":
    import tensorflow as tf

    @tf.custom_gradient
    def with_gradient(x: "tf.Tensor") -> Any:
        def gradient(upstream: "tf.Tensor") -> "tf.Tensor":
            x32 = tf.cast(x, "float32")
            density = tf.exp(-0.5 * x32 * x32) * (1 / math.sqrt(2 * math.pi))
            slope = 0.5 + 0.5 * tf.math.erf(x32 * math.sqrt(0.5)) + x32 * density
            return tf.cast(tf.cast(upstream, "float32") * slope, x.dtype)

        return tf.cast(_gelu(tf.cast(x, "float32")), x.dtype), gradient

    return with_gradient(x)


class Dropout:
    """Dropout with masks that depend only on a seed, int32 (2,), and a number that differs by call.

    The rate is rounded to a multiple of 1/65,536.

    Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html
    """

    def __init__(self, seed: "tf.Tensor"):
        self.seed = seed

    def __call__(self, x: "tf.Tensor", rate: float, call_index: "int | tf.Tensor") -> "tf.Tensor":
        """Set a fraction of the values of `x` to zero and scale up the others."""
        import tensorflow as tf

        if not rate:
            return x
        is_kept = _random_bits(tf.size(x), self.seed + [0, call_index]) >= tf.constant(round(rate * 2**16), tf.uint16)
        is_kept = tf.reshape(is_kept, tf.shape(x))

        @tf.custom_gradient
        def masked(x: "tf.Tensor") -> Any:
            factor = tf.cast(is_kept, x.dtype) * tf.cast(1 / (1 - rate), x.dtype)
            return x * factor, lambda upstream: upstream * factor

        return masked(x)


def _random_bits(count: "tf.Tensor", seed: "tf.Tensor") -> "tf.Tensor":
    """Return random uint16 numbers (count,), which take half of the time of random float32."""
    import tensorflow as tf

    # Without bounds the numbers cover the full range of int32.
    numbers = tf.random.stateless_uniform(((count + 1) // 2,), seed, None, None, tf.int32)  # pyright: ignore[reportArgumentType]
    return tf.reshape(tf.bitcast(numbers, tf.uint16), (-1,))[:count]
