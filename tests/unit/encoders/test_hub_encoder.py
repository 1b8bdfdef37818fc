import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.encoders import HubEncoder
from tfhub_ft.utils.errors import InputError

TOKENS = {
    "input_word_ids": np.array([[3, 90, 91, 4, 0], [3, 92, 93, 94, 4]], "int32"),
    "input_mask": np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], "int32"),
    "input_type_ids": np.zeros((2, 5), "int32"),
}


@pytest.fixture(params=["native", "graph"])
def implementation(request):
    return request.param


def token_inputs():
    return {name: keras.Input((None,), dtype="int32", name=name) for name in TOKENS}


def build(encoder, **options):
    inputs = token_inputs()
    return keras.Model(inputs, keras.layers.Dense(2)(HubEncoder(encoder, **options)(inputs)["pooled_output"]))


def test_outputs_match_the_module(tiny_pair, implementation):
    module = tf.saved_model.load(str(tiny_pair / "encoder"))
    expected = module({name: tf.constant(ids) for name, ids in TOKENS.items()}, training=False)
    encoded = HubEncoder(str(tiny_pair), implementation=implementation)(TOKENS)
    np.testing.assert_allclose(encoded["pooled_output"], expected["pooled_output"], atol=1e-6)
    np.testing.assert_allclose(encoded["sequence_output"], expected["sequence_output"], atol=1e-6)
    assert len(encoded["encoder_outputs"]) == 2
    np.testing.assert_allclose(encoded["encoder_outputs"][-1], encoded["sequence_output"], atol=1e-6)


def test_symbolic_shapes_match_the_outputs(tiny_pair, implementation):
    encoded = HubEncoder(str(tiny_pair), implementation=implementation)(token_inputs())
    assert encoded["pooled_output"].shape == (None, 32)
    assert encoded["sequence_output"].shape == (None, None, 32)
    assert [each.shape for each in encoded["encoder_outputs"]] == [(None, None, 32)] * 2


def test_fit_trains_the_variables(tiny_pair, implementation):
    model = build(str(tiny_pair), implementation=implementation)
    before = [w.numpy() for w in model.trainable_weights]
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(TOKENS, np.array([0, 1]), verbose=0)
    names = [w.path for w in model.trainable_weights]
    moved = {name for name, old, new in zip(names, before, model.trainable_weights) if (old != new.numpy()).any()}
    # The bias of the key adds the same to all scores of a query: its gradient is zero.
    assert {name for name in names if name not in moved} <= {name for name in names if name.endswith("key_bias")}
    assert len(names) == 5 + 2 * 16 + 2 + 2


def test_freeze_all_leaves_the_head_trainable(tiny_pair):
    model = build(str(tiny_pair), freeze="all")
    assert [w.path.split("/")[-1] for w in model.trainable_weights] == ["kernel", "bias"]
    assert build(str(tiny_pair), trainable=False).count_params() == model.count_params()
    assert len(build(str(tiny_pair), trainable=False).trainable_weights) == 2


def trained(layer):
    return {weight.name for weight in layer.trainable_weights}


def test_freeze_and_trainable_combine_in_any_order(tiny_pair, implementation):
    expected = trained(HubEncoder(str(tiny_pair), implementation=implementation, freeze="1"))
    layer = HubEncoder(str(tiny_pair), implementation=implementation, trainable=False)
    layer.freeze = "1"
    assert trained(layer) == set()
    layer.trainable = True
    assert trained(layer) == expected
    layer.freeze = "all"
    layer.trainable = True
    assert trained(layer) == set()
    layer.freeze = "1"
    assert trained(layer) == expected


def test_untrainable_variables_of_the_module_stay_frozen(tiny_pair):
    layer = HubEncoder(str(tiny_pair), implementation="graph")
    spec = {**layer.spec, "variables": [{**v, "trainable": "bias" not in v["name"]} for v in layer.spec["variables"]]}
    layer = HubEncoder(str(tiny_pair), implementation="graph", spec=spec)
    layer.trainable = False
    layer.trainable = True
    assert layer.trainable_weights
    assert not any("bias" in name for name in trained(layer))


def test_invalid_freeze_is_refused_without_changes(tiny_pair):
    layer = HubEncoder(str(tiny_pair), freeze="1")
    expected = trained(layer)
    with pytest.raises(InputError, match="--freeze 3: the encoder has 2 layers"):
        layer.freeze = "3"
    assert layer.freeze == "1"
    assert trained(layer) == expected


def test_dropout_depends_on_training_and_seed(tiny_pair, implementation):
    def trained_outputs(seed):
        layer = HubEncoder(str(tiny_pair), seed=seed, implementation=implementation)
        return [layer(TOKENS, training=True)["pooled_output"].numpy() for _ in range(2)]

    first, again, other = trained_outputs(1), trained_outputs(1), trained_outputs(2)
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[1]).any()
    assert (first[0] != other[0]).any()
    layer = HubEncoder(str(tiny_pair))
    np.testing.assert_array_equal(layer(TOKENS)["pooled_output"], layer(TOKENS)["pooled_output"])


def test_seed_is_drawn_from_the_generator_of_keras(tiny_pair):
    keras.utils.set_random_seed(3)
    first = HubEncoder(str(tiny_pair)).seed
    keras.utils.set_random_seed(3)
    assert HubEncoder(str(tiny_pair)).seed == first


@pytest.mark.parametrize("freeze", ["all", "all-but-pooler"])
def test_frozen_body_has_no_dropout(tiny_pair, implementation, freeze):
    layer = HubEncoder(str(tiny_pair), implementation=implementation, freeze=freeze)
    np.testing.assert_array_equal(layer(TOKENS, training=True)["pooled_output"], layer(TOKENS)["pooled_output"])


def test_native_encoder_follows_the_dtype_policy(tiny_pair):
    expected = HubEncoder(str(tiny_pair), implementation="native")(TOKENS)["pooled_output"]
    half = HubEncoder(str(tiny_pair), implementation="native", dtype="mixed_bfloat16")
    rounded = half(TOKENS)["pooled_output"]
    assert {weight.dtype for weight in half.trainable_weights} == {"float32"}
    assert rounded.dtype == tf.float32
    assert 1e-6 < np.abs(rounded - expected).max() < 0.05


def test_weights_have_no_int32_for_gpus(tiny_pair):
    assert {weight.dtype for weight in HubEncoder(str(tiny_pair)).weights} == {"float32", "int64"}


def test_unknown_implementation_is_refused(tiny_pair):
    with pytest.raises(InputError, match="--implementation fast: not one of"):
        HubEncoder(str(tiny_pair), implementation="fast")


@pytest.mark.parametrize(
    ("change", "arguments"),
    [
        ("enable_lora", (4, None, ("query",))),
        ("load_lora_weights", ("adapter.safetensors",)),
        ("save_lora_weights", ("adapter.safetensors",)),
        ("set_dropout", (0.1,)),
        ("restrict_vocabulary", (np.arange(3),)),
        ("require_native", ("--recompute",)),
    ],
)
def test_graph_refuses_native_options(tiny_pair, change, arguments):
    encoder = HubEncoder(str(tiny_pair), implementation="graph")
    before = encoder(TOKENS)["pooled_output"]
    with pytest.raises(InputError, match="^[^\n]*not supported, because [^\n]* is computed by its graph$"):
        getattr(encoder.backend, change)(*arguments)
    encoder.backend.cast_kernels("bfloat16")
    encoder.merge_lora()
    np.testing.assert_array_equal(encoder(TOKENS)["pooled_output"], before)


def test_preprocessor_is_refused(tiny_pair):
    with pytest.raises(InputError, match="not a TF Hub text encoder"):
        HubEncoder(str(tiny_pair / "preprocessor"))


def test_encoder_needs_no_preprocessor(tiny_pair, tmp_path):
    (tmp_path / "alone").symlink_to(tiny_pair / "encoder")
    assert HubEncoder(str(tmp_path / "alone")).max_seq_length == 64


def test_restricted_vocabulary_keeps_the_outputs(tiny_pair):
    encoder = HubEncoder(str(tiny_pair))
    before, expected = encoder.backend.word_embeddings.numpy(), encoder(TOKENS)["sequence_output"].numpy()
    ids = np.unique(TOKENS["input_word_ids"])
    encoder.backend.restrict_vocabulary(ids)
    assert [w.shape for w in encoder.trainable_weights if "word_embeddings" in w.path] == [(len(ids), 32)]
    np.testing.assert_array_equal(encoder(TOKENS)["sequence_output"], expected)

    encoder.backend.word_embeddings.assign_add(np.ones((len(ids), 32)))
    encoder.backend.restore_vocabulary(share=0.5)
    after = encoder.backend.word_embeddings.numpy()
    np.testing.assert_array_equal(after[ids], before[ids] + 1)
    others = np.setdiff1d(np.arange(len(before)), ids)
    np.testing.assert_array_equal(after[others], before[others] / 2)
    assert len(encoder.weights) == len(encoder.spec["variables"]) + 1


def test_predict_follows_a_restricted_vocabulary(tiny_pair):
    model = build(str(tiny_pair))
    encoder = next(layer for layer in model.layers if isinstance(layer, HubEncoder))
    before = model.predict(TOKENS, verbose=0)
    ids = np.unique(TOKENS["input_word_ids"])
    encoder.backend.restrict_vocabulary(ids)
    encoder.backend.word_embeddings.assign_add(np.zeros((len(ids), 32)) + np.arange(32))
    restricted = model.predict(TOKENS, verbose=0)
    assert np.abs(restricted - before).max() > 1e-3
    np.testing.assert_allclose(restricted, model(TOKENS), atol=1e-5)
    encoder.backend.restore_vocabulary()
    encoder.backend.word_embeddings.assign_sub(np.zeros(encoder.backend.word_embeddings.shape) + np.arange(32))
    np.testing.assert_allclose(model.predict(TOKENS, verbose=0), before, atol=1e-5)


def float_operations(function):
    """Return the number of additions and multiplications in a graph of TOKENS."""
    from tensorflow.compat.v1 import profiler
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = tf.function(function, autograph=False).get_concrete_function(
        {name: tf.TensorSpec(ids.shape, ids.dtype) for name, ids in TOKENS.items()}
    )
    graph = convert_variables_to_constants_v2(function).graph
    options = {**profiler.ProfileOptionBuilder.float_operation(), "output": "none"}
    return profiler.profile(graph, options=options).total_float_ops


def test_first_token_needs_fewer_operations(tiny_pair, implementation):
    encoder = HubEncoder(str(tiny_pair), implementation=implementation)
    hidden = encoder(TOKENS)["sequence_output"]
    np.testing.assert_allclose(encoder.backend.first_token(TOKENS), hidden[:, 0], atol=1e-5)
    if implementation == "native":
        assert float_operations(encoder.backend.first_token) < 0.8 * float_operations(
            lambda t: encoder(t)["sequence_output"]
        )


def test_cast_kernels_keeps_the_outputs(tiny_pair):
    encoder = HubEncoder(str(tiny_pair), dtype="mixed_bfloat16")
    before = encoder(TOKENS)
    encoder.backend.cast_kernels("bfloat16")
    after = encoder(TOKENS)
    for output in ("pooled_output", "sequence_output"):
        np.testing.assert_allclose(after[output], before[output], atol=0.05)
    kernels = [weight for weight in encoder.weights if weight.name.endswith("kernel")]
    assert {kernel.dtype for kernel in kernels if "pooler" not in kernel.name} == {"bfloat16"}


def test_recompute_requires_the_native_implementation(tiny_pair):
    with pytest.raises(InputError, match="recompute: not supported"):
        HubEncoder(str(tiny_pair), implementation="graph", recompute=True)
    assert HubEncoder(str(tiny_pair), implementation="native", recompute=True).recompute
