import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.encoders.bert_forward import Architecture, Dropout, activate, dense, encode, lora_dense, norm, role_of

ROUNDING = {"float32": 1e-5, "bfloat16": 3e-2, "float16": 4e-3}


def random(*shape, dtype="float32", seed=0):
    return tf.cast(np.random.default_rng(seed).normal(size=shape), dtype)


def value_and_gradients(function, *inputs):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = function(*inputs)
        loss = tf.reduce_sum(tf.cast(output, "float32") * random(*output.shape, seed=9))
    return [np.asarray(tf.cast(each, "float32")) for each in (output, *tape.gradient(loss, inputs))]


def assert_same(actual, reference, dtype):
    for value, expected in zip(actual, reference, strict=True):
        assert value.shape == expected.shape
        np.testing.assert_allclose(value, expected, atol=ROUNDING[dtype] * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 1, 1), (7, 5, 3), (33, 16, 48)])
def test_dense_gradients_match_the_plain_formula(dtype, rows, inputs, outputs):
    x, kernel, bias = random(rows, inputs, dtype=dtype), random(inputs, outputs, seed=1), random(outputs, seed=2)

    def plain(x, kernel, bias):
        return tf.matmul(x, tf.cast(kernel, dtype)) + tf.cast(bias, dtype)

    actual = value_and_gradients(lambda *each: dense(*each, training=True), x, kernel, bias)
    assert_same(actual, value_and_gradients(plain, x, kernel, bias), dtype)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize(("rows", "inputs", "outputs", "rank"), [(1, 4, 3, 1), (7, 5, 9, 2), (64, 48, 32, 8)])
def test_lora_dense_gradients_match_the_plain_formula(dtype, rows, inputs, outputs, rank):
    x, down, up = random(rows, inputs, dtype=dtype), random(inputs, rank, seed=1), random(rank, outputs, seed=2)
    kernel, bias = random(inputs, outputs, seed=3), random(outputs, seed=4)

    def plain(x, down, up):
        return tf.matmul(x, tf.cast(kernel + tf.matmul(down, up), dtype)) + tf.cast(bias, dtype)

    expected = value_and_gradients(plain, x, down, up)
    for training in (True, False):
        actual = value_and_gradients(
            lambda x, down, up, training=training: lora_dense(x, kernel, bias, down, up, training=training),
            x, down, up,
        )  # fmt: skip
        assert_same(actual, expected, dtype)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("shape", [(1, 4), (5, 7), (2, 3, 32)])
def test_norm_gradients_match_the_plain_formula(dtype, shape):
    x, gamma, beta = random(*shape, dtype=dtype), random(shape[-1], seed=1), random(shape[-1], seed=2)

    def plain(x, gamma, beta):
        wide = tf.cast(x, "float32")
        mean, variance = tf.nn.moments(wide, [-1], keepdims=True)
        return tf.cast(tf.nn.batch_normalization(wide, mean, variance, beta, gamma, 1e-6), dtype)

    actual = value_and_gradients(lambda *each: norm(*each, 1e-6, training=True), x, gamma, beta)
    assert_same(actual, value_and_gradients(plain, x, gamma, beta), dtype)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("training", [True, False])
def test_gelu_gradient_matches_tensorflow(dtype, training):
    x = 3 * random(9, 11, dtype=dtype)
    actual = value_and_gradients(lambda x: activate(x, "gelu", training), x)
    assert_same(actual, value_and_gradients(lambda x: tf.cast(tf.nn.gelu(tf.cast(x, "float32")), dtype), x), dtype)


@pytest.mark.parametrize("shape", [(1,), (3, 5), (40, 3, 25)])
def test_dropout_scales_kept_values_and_masks_gradients(shape):
    output, gradient = value_and_gradients(lambda x: Dropout(tf.constant([3, 4]))(x, 0.25, 0), tf.ones(shape))
    assert set(np.unique(output)) <= {0.0, np.float32(1 / 0.75)}
    np.testing.assert_allclose(gradient, output * random(*shape, seed=9), rtol=1e-6)
    if output.size > 1000:
        assert 0.2 < (output == 0).mean() < 0.3


def test_dropout_depends_on_the_seed_and_the_call():
    def masks(seed):
        drop = Dropout(tf.constant(seed))
        return [drop(tf.ones((20, 20)), 0.5, call_index).numpy() for call_index in range(2)]

    first, again, other = masks([1, 0]), masks([1, 0]), masks([1, 1000])
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[1]).any()
    assert (first[0] != other[0]).any()


def test_role_of_parses_names_of_tf_hub():
    assert role_of("bert/transformer/layer_3/self_attention/query/kernel") == "layer_3/self_attention/query/kernel"
    assert role_of("transformer/output/bias") == "layer_0/output/bias"
    assert role_of("word_embeddings/embeddings") == "word_embeddings/embeddings"
    assert role_of("pooler_transform/kernel") == "pooler_transform/kernel"
    assert role_of("cls/output/bias") is None
    assert role_of("Variable") is None


def tiny_weights(size=8, heads=2, words=11):
    shapes = {
        "word_embeddings/embeddings": (words, size),
        "position_embedding/embeddings": (9, size),
        "type_embeddings/embeddings": (2, size),
        "embeddings/layer_norm/gamma": (size,),
        "embeddings/layer_norm/beta": (size,),
        "pooler_transform/kernel": (size, size),
        "pooler_transform/bias": (size,),
    }
    for part in ("query", "key", "value"):
        shapes |= {f"layer_0/self_attention/{part}/kernel": (size, heads, size // heads)}
        shapes |= {f"layer_0/self_attention/{part}/bias": (heads, size // heads)}
    shapes |= {
        "layer_0/self_attention/attention_output/kernel": (heads, size // heads, size),
        "layer_0/self_attention/attention_output/bias": (size,),
        "layer_0/intermediate/kernel": (size, 16),
        "layer_0/intermediate/bias": (16,),
        "layer_0/output/kernel": (16, size),
        "layer_0/output/bias": (size,),
    }
    for part in ("self_attention_layer_norm", "output_layer_norm"):
        shapes |= {f"layer_0/{part}/gamma": (size,), f"layer_0/{part}/beta": (size,)}
    return {role: random(*shape, seed=number) for number, (role, shape) in enumerate(shapes.items())}


TOKENS = {
    "input_word_ids": tf.constant([[1, 2, 3, 0], [4, 5, 6, 7]]),
    "input_mask": tf.constant([[1, 1, 1, 0], [1, 1, 1, 1]]),
    "input_type_ids": tf.constant([[0, 0, 1, 0], [0, 1, 1, 1]]),
}


def test_encode_pools_the_first_token():
    weights = tiny_weights()
    outputs = encode(weights, Architecture(layers=1, shared=False, heads=2), TOKENS, dtype="float32")
    first = outputs["sequence_output"][:, 0] @ weights["pooler_transform/kernel"] + weights["pooler_transform/bias"]
    np.testing.assert_allclose(outputs["pooled_output"], tf.tanh(first), atol=1e-5)


def test_encode_ignores_padding():
    weights, architecture = tiny_weights(), Architecture(layers=1, shared=False, heads=2)
    padded = encode(weights, architecture, TOKENS, dtype="float32")
    alone = encode(weights, architecture, {name: ids[:1, :3] for name, ids in TOKENS.items()}, dtype="float32")
    np.testing.assert_allclose(padded["sequence_output"][:1, :3], alone["sequence_output"], atol=1e-5)
    np.testing.assert_allclose(padded["pooled_output"][:1], alone["pooled_output"], atol=1e-5)


@pytest.mark.parametrize("output", ["pooled_output", "sequence_output"])
def test_graphs_compute_the_last_block_once(output):
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    weights, architecture = tiny_weights(), Architecture(layers=1, shared=False, heads=2)
    graph = tf.function(lambda tokens: encode(weights, architecture, tokens, dtype="float32")[output])
    pruned = convert_variables_to_constants_v2(graph.get_concrete_function(TOKENS)).graph.as_graph_def()
    assert [node.op for node in pruned.node].count("Erf") == 1


@pytest.mark.parametrize("jit_compile", [False, True])
def test_blocks_are_traced_once_except_for_xla(jit_compile):
    @tf.function(jit_compile=jit_compile)
    def step(seed):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            dropout = Dropout(seed)
            architecture = Architecture(layers=1, shared=False, heads=2)
            outputs = encode(weights, architecture, TOKENS, dtype="float32", dropout=dropout)
        return tape.gradient(outputs["sequence_output"], weights["layer_0/output/kernel"])

    weights = tiny_weights()
    graph = step.get_concrete_function(tf.TensorSpec([2], tf.int32)).graph
    assert any("PartitionedCall" in op.type for op in graph.get_operations()) == (not jit_compile)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("output", ["pooled_output", "sequence_output"])
def test_recomputed_blocks_have_the_same_gradients(dtype, output):
    weights, architecture = tiny_weights(), Architecture(layers=1, shared=False, heads=2, dropout=0.2)
    names = [name for name in weights if "pooler" not in name or output == "pooled_output"]

    @tf.function
    def outputs_and_gradients(recompute):
        def function(*values):
            inputs = weights | dict(zip(names, values, strict=True))
            dropout = Dropout(tf.constant([1, 2]))
            return encode(inputs, architecture, TOKENS, dtype=dtype, dropout=dropout, recompute=recompute)[output]

        values = [weights[name] for name in names]
        with tf.GradientTape() as tape:
            tape.watch(values)
            result = function(*values)
        gradients = tape.gradient(result, values, unconnected_gradients="zero")
        return [result, *map(tf.convert_to_tensor, gradients)]

    stored, recomputed = outputs_and_gradients(False), outputs_and_gradients(True)
    for expected, actual in zip(stored, recomputed, strict=True):
        np.testing.assert_allclose(expected, actual, atol=ROUNDING[dtype] * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("parts", [("query",), ("key", "value"), ("query", "key", "value", "attention_output")])
def test_lora_gradients_match_updated_kernels(parts, recompute):
    weights, architecture = tiny_weights(), Architecture(layers=1, shared=False, heads=2)
    roles = [*(f"layer_0/self_attention/{part}/kernel" for part in parts), "layer_0/intermediate/kernel"]
    roles += ["layer_0/output/kernel", "pooler_transform/kernel"]
    factors = []
    for number, role in enumerate(roles):
        kernel, outputs = weights[role], weights[role.replace("kernel", "bias")].shape.num_elements()
        inputs = kernel.shape.num_elements() // outputs
        factors.append((random(inputs, 2, seed=number), random(2, outputs, seed=-number % 99)))

    def pooled(weights, **options):
        return encode(weights, architecture, TOKENS, dtype="float32", **options)["pooled_output"]

    def with_updates(*flat):
        lora_factors = dict(zip(roles, tf.nest.pack_sequence_as(factors, flat), strict=True))
        options = {"dropout": lambda x, rate, call_index: x, "recompute": recompute}
        return pooled(weights, lora_factors=lora_factors, **options)

    def added(*flat):
        pairs = zip(roles, tf.nest.pack_sequence_as(factors, flat), strict=True)
        updated = {role: weights[role] + tf.reshape(down @ up, weights[role].shape) for role, (down, up) in pairs}
        return pooled(weights | updated)

    flat = tf.nest.flatten(factors)
    reference = value_and_gradients(added, *flat)
    for actual, expected in zip(value_and_gradients(with_updates, *flat), reference, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * max(1, np.abs(expected).max()))
