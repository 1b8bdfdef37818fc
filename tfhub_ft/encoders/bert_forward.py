"""BERT's forward pass in TensorFlow operations, on the weights of a TF Hub encoder."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from tfhub_ft.utils.keras_compat import is_traced_for_xla

# The parts of tf-models' encoders, of which TF Hub's BERT, DistilBERT, ELECTRA and ALBERT were made.
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
# Far below every score, and yet within the range of float16 and of what int8 calibration can bear.
MASKED = -1e4


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What a BERT is besides its weights.

    Args:
        layers: how many blocks there are.
        shared: whether they share one block's weights, as ALBERT's do.
        heads: attention heads.
        activation: of the feed-forward blocks: "gelu", "gelu_tanh", "relu" or "silu".
        epsilon: of the norms.
        dropout: of hidden states.
        attention_dropout: of attention probabilities.
    """

    layers: int
    shared: bool
    heads: int
    activation: str = "gelu"
    epsilon: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1


def role_of(name: str) -> str | None:
    """What a variable of a SavedModel is in a BERT, such as "layer_3/self_attention/query/kernel"; None if nothing."""
    found = _NAME.search(name)
    if not found:
        return None
    layer, part, kind = found.groups()
    if (part in _IN_LAYER) != (layer is not None or "transformer/" in name):
        return None
    return f"layer_{layer or 0}/{part}/{kind}" if part in _IN_LAYER else f"{part}/{kind}"


def encode(
    weights: Mapping[str, Any],
    architecture: Architecture,
    tokens: Mapping[str, Any],
    *,
    dtype: Any,
    drop: Callable[[Any, float, int], Any] | None = None,
    own_gradients: bool = True,
    recompute: bool = False,
    updates: Mapping[str, tuple[Any, Any]] | None = None,
) -> dict[str, Any]:
    """The outputs of a BERT, by the names of the TF Hub text API.

    Args:
        weights: tensors by role; see `role_of`.
        architecture: of the encoder.
        tokens: {"input_word_ids", "input_mask", "input_type_ids"}, each int32 (batch, length).
        dtype: what matrix products are computed in and hidden states are kept in. Norms and weights are float32.
        drop: dropout: takes a tensor, the share that is set to zero, and the number of the place, which no other call
            has. Without it there is none.
        own_gradients: whether training takes gradients by formulas of our own, which SavedModels cannot hold.
        recompute: whether a gradient computes each block again, instead of keeping all that was computed in it.
        updates: LoRA's factors of kernels by role, float32 (inputs, rank) and (rank, outputs), whose products are added
            to the kernels, and which are trained in their place.

    Returns:
        {"first_token": its last hidden state, float32 (batch, hidden), "pooled_output": the same through the pooler,
        "sequence_output": float32 (batch, length, hidden), "encoder_outputs": a list with each block's, like
        sequence_output}. In a graph only those that are asked for are computed; for the first two alone the last block
        computes the first token alone.

    Reference:
        Devlin et al. 2019, https://arxiv.org/abs/1810.04805; Lan et al. 2020 (ALBERT),
        https://arxiv.org/abs/1909.11942; Clark et al. 2020 (ELECTRA), https://arxiv.org/abs/2003.10555;
        Chen et al. 2016 (recomputation), https://arxiv.org/abs/1604.06174
    """
    import tensorflow as tf

    fast, updates = drop is not None and own_gradients, updates or {}
    batch, length = tf.unstack(tf.shape(tokens["input_word_ids"]))
    size = weights["layer_0/output_layer_norm/gamma"].shape[0]
    block = _Block(architecture, batch, length, drop, fast)
    call = _recomputed(block) if recompute else _traced_once(block) if fast and not is_traced_for_xla() else block

    word = tf.gather(weights["word_embeddings/embeddings"], tokens["input_word_ids"])
    # Gathered, not sliced: TFLite quantizes tables that are gathered from.
    x = word + tf.gather(weights["position_embedding/embeddings"], tf.range(length))
    if "type_embeddings/embeddings" in weights:
        x += tf.gather(weights["type_embeddings/embeddings"], tokens["input_type_ids"])
    x = block.drop(norm(x, *_pair(weights, "embeddings/layer_norm"), architecture.epsilon, fast), 0)
    x = tf.cast(tf.reshape(x, (-1, x.shape[-1])), dtype)
    if "embedding_projection/kernel" in weights:
        x = dense(x, *_pair(weights, "embedding_projection"), fast)
    bias = tf.reshape(tf.cast(1 - tokens["input_mask"], dtype) * MASKED, (batch, 1, 1, length))

    outputs, first = [], None
    for number in range(architecture.layers):
        own = _of_layer(weights, updates, 0 if architecture.shared else number)
        if number == architecture.layers - 1:
            first = call(x, own, bias, architecture.layers, first_only=True)
        x = call(x, own, bias, number)
        outputs.append(tf.cast(tf.reshape(x, (batch, length, size)), "float32"))
    first = tf.cast(first, "float32")
    pooled = first
    if "pooler_transform/kernel" in weights:
        pooled = tf.tanh(updated_dense(first, *_updated(weights, updates, "pooler_transform"), training=fast))
    return {
        "first_token": first,
        "pooled_output": pooled,
        "sequence_output": outputs[-1],
        "encoder_outputs": outputs,
    }


class _Block:
    """A transformer block: attention and a feed-forward network, each followed by a norm."""

    def __init__(self, architecture: Architecture, batch: Any, length: Any, dropout: Any, fast: bool):
        self.architecture, self.batch, self.length = architecture, batch, length
        self.dropout, self.fast = dropout, fast

    def __call__(self, x: Any, own: dict[str, tuple], bias: Any, number: Any, first_only: bool = False) -> Any:
        """From hidden states (batch * length, hidden) to the next ones, or to each row's first: (batch, hidden)."""
        place = 1 + 3 * number
        attended = self._attend(x, own, bias, place, first_only)
        x = self._first(x) if first_only else x
        attended = self.drop(self._dense(attended, own, "self_attention/attention_output"), place + 1)
        x = self._normed(x + attended, own, "self_attention_layer_norm")
        inner = activate(self._dense(x, own, "intermediate"), self.architecture.activation, self.fast)
        return self._normed(x + self.drop(self._dense(inner, own, "output"), place + 2), own, "output_layer_norm")

    def drop(self, x: Any, place: int) -> Any:
        """Hidden states with dropout, in training."""
        return self.dropout(x, self.architecture.dropout, place) if self.dropout else x

    def _attend(self, x: Any, own: dict[str, tuple], bias: Any, place: int, first_only: bool) -> Any:
        import tensorflow as tf

        kernel, query_bias, *factors = own["self_attention/query"]
        (heads, size), scale = kernel.shape[1:], kernel.shape[-1] ** -0.5
        scaled = (kernel * scale, query_bias * scale, *factors[:1], *(up * scale for up in factors[1:]))
        # One matrix product in place of three reads the hidden states once.
        if first_only:
            query = self._heads(self._product(self._first(x), [scaled]), 1, 1, heads, size)[0]
            key, value = self._heads(
                self._product(x, [own["self_attention/key"], own["self_attention/value"]]), self.length, 2, heads, size
            )
        else:
            parts = [scaled, own["self_attention/key"], own["self_attention/value"]]
            query, key, value = self._heads(self._product(x, parts), self.length, 3, heads, size)
        weights = tf.nn.softmax(tf.matmul(query, key, transpose_b=True) + bias)
        if self.dropout:
            # By this name `architecture_detection.py` tells its rate from that of hidden states.
            with tf.name_scope("self_attention"):
                weights = self.dropout(weights, self.architecture.attention_dropout, place)
        return tf.reshape(tf.transpose(tf.matmul(weights, value), (0, 2, 1, 3)), (-1, heads * size))

    def _product(self, x: Any, parts: list[tuple[Any, ...]]) -> Any:
        return updated_dense(x, *_joined(parts), training=self.fast)

    def _heads(self, x: Any, length: Any, parts: int, heads: int, size: int) -> list[Any]:
        """(batch * length, parts * heads * size) as a list of (batch, heads, length, size)."""
        import tensorflow as tf

        x = tf.reshape(x, (self.batch, length, parts, heads, size))
        return tf.unstack(tf.transpose(x, (2, 0, 3, 1, 4)))

    def _dense(self, x: Any, own: dict[str, tuple], name: str) -> Any:
        import tensorflow as tf

        kernel, bias, *factors = own[name]
        return updated_dense(x, tf.reshape(kernel, (-1, bias.shape[-1])), bias, *factors, training=self.fast)

    def _normed(self, x: Any, own: dict[str, tuple], name: str) -> Any:
        return norm(x, *own[name], self.architecture.epsilon, self.fast)

    def _first(self, x: Any) -> Any:
        """Each row's first hidden state, (batch, hidden)."""
        import tensorflow as tf

        return tf.gather(x, tf.range(self.batch) * self.length)


def _traced_once(block: _Block) -> Callable[..., Any]:
    """The block as one function of all layers, so that a model of many layers begins to train sooner.

    XLA would take the shapes that a function's gradient needs for numbers of that step, and compile every step.
    """
    import tensorflow as tf

    traced = tf.function(block, autograph=False)
    return lambda x, own, bias, number, first_only=False: traced(x, own, bias, tf.constant(number), first_only)


def _recomputed(block: _Block) -> Callable[..., Any]:
    import tensorflow as tf

    def call(x: Any, own: dict[str, tuple], bias: Any, number: int, first_only: bool = False) -> Any:
        def compute(x: Any, *flat: Any) -> Any:
            return block(x, tf.nest.pack_sequence_as(own, flat), bias, number, first_only)

        @tf.custom_gradient
        def compute_twice(*inputs: Any) -> Any:
            def gradient(upstream: Any) -> Any:
                # Otherwise TensorFlow would notice that it has computed this before, and keep it.
                with tf.control_dependencies([upstream]):
                    again = [tf.identity(each) for each in inputs]
                with tf.GradientTape() as tape:
                    tape.watch(again)
                    output = compute(*again)
                return tape.gradient(output, again, upstream)

            return compute(*inputs), gradient

        return compute_twice(x, *tf.nest.flatten(own))

    return call


def _pair(weights: Mapping[str, Any], part: str) -> tuple[Any, Any]:
    kernel = weights.get(f"{part}/kernel")
    if kernel is None:
        return weights[f"{part}/gamma"], weights[f"{part}/beta"]
    return kernel, weights[f"{part}/bias"]


def _updated(weights: Mapping[str, Any], updates: Mapping[str, tuple[Any, Any]], part: str) -> tuple[Any, ...]:
    """The two weights of a part, and the factors of its kernel's update where there is one."""
    return *_pair(weights, part), *updates.get(f"{part}/kernel", ())


def _of_layer(
    weights: Mapping[str, Any], updates: Mapping[str, tuple[Any, Any]], number: int
) -> dict[str, tuple[Any, ...]]:
    return {part: _updated(weights, updates, f"layer_{number}/{part}") for part in _IN_LAYER}


def _joined(parts: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Dense layers that read the same hidden states, as one."""
    import tensorflow as tf

    kernels = [tf.reshape(kernel, (kernel.shape[0], -1)) for kernel, *_ in parts]
    biases = [tf.reshape(bias, (-1,)) for _, bias, *_ in parts]
    sizes = [bias.shape[0] for bias in biases]
    downs, ups = [], []
    for number, (_, _, *factors) in enumerate(parts):
        if factors:
            downs.append(factors[0])
            ups.append(tf.pad(factors[1], [(0, 0), (sum(sizes[:number]), sum(sizes[number + 1 :]))]))
    factors = (tf.concat(downs, 1), tf.concat(ups, 0)) if downs else ()
    return tf.concat(kernels, 1), tf.concat(biases, 0), *factors


def dense(x: Any, kernel: Any, bias: Any, training: bool = False) -> Any:
    """x @ kernel + bias in x's type, the weights being float32.

    Args:
        x: float (rows, inputs).
        kernel: float32 (inputs, outputs).
        bias: float32 (outputs,).
        training: whether gradients are taken by a formula of our own: the bias's as a matrix product with ones, as
            TensorFlow's own operation for it is slow in bfloat16.
    """
    import tensorflow as tf

    def plain(x: Any, kernel: Any, bias: Any) -> Any:
        return tf.nn.bias_add(tf.matmul(x, tf.cast(kernel, x.dtype)), tf.cast(bias, x.dtype))

    @tf.custom_gradient
    def with_gradient(x: Any, kernel: Any, bias: Any) -> Any:
        def gradient(upstream: Any) -> tuple[Any, Any, Any]:
            ones = tf.ones((1, tf.shape(upstream)[0]), upstream.dtype)
            return (
                tf.matmul(upstream, tf.cast(kernel, upstream.dtype), transpose_b=True),
                tf.cast(tf.matmul(x, upstream, transpose_a=True), kernel.dtype),
                tf.cast(tf.matmul(ones, upstream)[0], bias.dtype),
            )

        return plain(x, kernel, bias), gradient

    return (with_gradient if training else plain)(x, kernel, bias)


def updated_dense(x: Any, kernel: Any, bias: Any, down: Any = None, up: Any = None, training: bool = False) -> Any:
    """`dense` by kernel + down @ up, of which the factors alone are trained.

    Args:
        x, kernel, bias: as of `dense`.
        down, up: float32 (inputs, rank) and (rank, outputs); none of them, and it is `dense`.
        training: whether gradients are taken by a formula of our own: that of the factors, without that of their
            product, which is as large as the kernel's.

    Reference:
        Hu et al. 2021, https://arxiv.org/abs/2106.09685
    """
    import tensorflow as tf

    if down is None:
        return dense(x, kernel, bias, training)
    if not training:
        return dense(x, kernel + tf.matmul(down, up), bias)

    @tf.custom_gradient
    def with_gradient(x: Any, down: Any, up: Any) -> Any:
        whole = tf.cast(kernel + tf.matmul(down, up), x.dtype)

        def gradient(upstream: Any) -> tuple[Any, Any, Any]:
            above = tf.matmul(upstream, tf.cast(up, x.dtype), transpose_b=True)
            below = tf.matmul(x, tf.cast(down, x.dtype))
            return (
                tf.matmul(upstream, whole, transpose_b=True),
                tf.cast(tf.matmul(x, above, transpose_a=True), down.dtype),
                tf.cast(tf.matmul(below, upstream, transpose_a=True), up.dtype),
            )

        return dense(x, whole, bias), gradient

    return with_gradient(x, down, up)


def norm(x: Any, gamma: Any, beta: Any, epsilon: float, training: bool = False) -> Any:
    """Layer normalization, computed in float32.

    Args:
        x: float (..., hidden).
        gamma: float32 (hidden,).
        beta: float32 (hidden,).
        epsilon: added to the variance.
        training: whether the gradient is taken by the closed formula, in fewer passes.

    Reference:
        Ba et al. 2016, https://arxiv.org/abs/1607.06450
    """
    import tensorflow as tf

    def standardized(x: Any) -> tuple[Any, Any]:
        x = tf.cast(x, "float32")
        centred = x - tf.reduce_mean(x, -1, keepdims=True)
        scale = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), -1, keepdims=True) + epsilon)
        return centred * scale, scale

    def plain(x: Any, gamma: Any, beta: Any) -> Any:
        return tf.cast(standardized(x)[0] * gamma + beta, x.dtype)

    @tf.custom_gradient
    def with_gradient(x: Any, gamma: Any, beta: Any) -> Any:
        def gradient(upstream: Any) -> tuple[Any, Any, Any]:
            unit, scale = standardized(x)
            above = tf.cast(upstream, "float32")
            axes = list(range(len(x.shape) - 1))
            inner = above * gamma
            mean = tf.reduce_mean(inner, -1, keepdims=True)
            along = tf.reduce_mean(inner * unit, -1, keepdims=True)
            down = scale * (inner - mean - unit * along)
            return tf.cast(down, x.dtype), tf.reduce_sum(above * unit, axes), tf.reduce_sum(above, axes)

        return plain(x, gamma, beta), gradient

    return (with_gradient if training else plain)(x, gamma, beta)


def activate(x: Any, name: str, training: bool = False) -> Any:
    """The activation of that name; GELU by the error function has a gradient of its own in training.

    Reference:
        Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415
    """
    import tensorflow as tf

    if name == "gelu":
        return (_gelu_with_gradient if training else _gelu)(x)
    if name == "gelu_tanh":
        return tf.nn.gelu(x, approximate=True)
    return {"relu": tf.nn.relu, "silu": tf.nn.silu}[name](x)


def _gelu(x: Any) -> Any:
    import tensorflow as tf

    # tf.nn.gelu takes erfc, which is not vectorized; TFLite's converter knows GELU by the formula in just this form. So
    # does oneDNN, which computes it in float32 with the product before it, if nothing stands between them, no cast.
    return 0.5 * x * (1.0 + tf.math.erf(x / math.sqrt(2)))


def _gelu_with_gradient(x: Any) -> Any:
    import tensorflow as tf

    @tf.custom_gradient
    def with_gradient(x: Any) -> Any:
        def gradient(upstream: Any) -> Any:
            wide = tf.cast(x, "float32")
            density = tf.exp(-0.5 * wide * wide) * (1 / math.sqrt(2 * math.pi))
            slope = 0.5 + 0.5 * tf.math.erf(wide * math.sqrt(0.5)) + wide * density
            return tf.cast(tf.cast(upstream, "float32") * slope, x.dtype)

        return tf.cast(_gelu(tf.cast(x, "float32")), x.dtype), gradient

    return with_gradient(x)


class Dropout:
    """Dropout whose masks follow from a seed and the number of the training step alone.

    Args:
        seed: int32 (2,), the same in every call of a step and another in each step.

    Call arguments:
        x: float tensor.
        rate: share of its values that are set to zero, in steps of 1/65,536.
        place: a number that no other call of the step has.

    Reference:
        Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html
    """

    def __init__(self, seed: Any):
        self.seed = seed

    def __call__(self, x: Any, rate: float, place: int) -> Any:
        """`x` with a share of its values set to zero and the others scaled up."""
        import tensorflow as tf

        if not rate:
            return x
        kept = _random_bits(tf.size(x), self.seed + [0, place]) >= tf.constant(round(rate * 2**16), tf.uint16)
        return _masked(x, tf.reshape(kept, tf.shape(x)), 1 / (1 - rate))


def _random_bits(count: Any, seed: Any) -> Any:
    """`count` random numbers of 16 bits, uint16 (count,): half of the work of random float32."""
    import tensorflow as tf

    words = tf.random.stateless_uniform(((count + 1) // 2,), seed, minval=None, maxval=None, dtype=tf.int32)
    return tf.reshape(tf.bitcast(words, tf.uint16), (-1,))[:count]


def _masked(x: Any, kept: Any, scale: float) -> Any:
    import tensorflow as tf

    @tf.custom_gradient
    def masked(x: Any) -> Any:
        factor = tf.cast(kept, x.dtype) * tf.cast(scale, x.dtype)
        return x * factor, lambda upstream: upstream * factor

    return masked(x)
