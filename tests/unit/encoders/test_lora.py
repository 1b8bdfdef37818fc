import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.unit.encoders.test_hub_export import TOKENS
from tfhub_ft import HubEncoder
from tfhub_ft.encoders.lora import updated_matrices
from tfhub_ft.utils.errors import InputError

LABELS = np.array([0, 1])
ALL = ("query", "key", "value", "attention_output", "intermediate", "output", "pooler")


def adapted(pair, *, trained=True, **options):
    encoder = HubEncoder(str(pair))
    encoder.enable_lora(**{"rank": 4, **options})
    if trained:
        random = np.random.default_rng(0)
        for weight in encoder.trainable_weights:
            weight.assign(random.normal(0, 0.1, weight.shape))
    return encoder


def test_untrained_updates_keep_the_outputs(tiny_pair):
    before, after = HubEncoder(str(tiny_pair)), adapted(tiny_pair, trained=False)
    np.testing.assert_array_equal(before(TOKENS)["pooled_output"], after(TOKENS)["pooled_output"])


@pytest.mark.parametrize(("targets", "matrices"), [(("query", "value"), 4), (ALL, 13), (("pooler",), 1)])
def test_only_the_updates_are_trainable(tiny_pair, targets, matrices):
    encoder = adapted(tiny_pair, targets=targets)
    assert len(encoder.trainable_weights) == 2 * matrices
    assert all(4 in weight.shape for weight in encoder.trainable_weights)


def test_toggling_trainable_trains_only_the_updates(tiny_pair):
    encoder = adapted(tiny_pair)
    expected = [weight.name for weight in encoder.trainable_weights]
    encoder.trainable = False
    assert encoder.trainable_weights == []
    encoder.trainable = True
    assert [weight.name for weight in encoder.trainable_weights] == expected


def test_lora_of_an_untrainable_encoder_can_become_trainable(tiny_pair):
    encoder = HubEncoder(str(tiny_pair), trainable=False)
    encoder.enable_lora(4)
    assert encoder.trainable_weights == []
    encoder.trainable = True
    assert len(encoder.trainable_weights) == 8
    encoder.merge_lora()
    assert len(encoder.trainable_weights) == len(HubEncoder(str(tiny_pair)).trainable_weights)


def test_freeze_after_enable_lora_freezes_the_updates(tiny_pair, tmp_path):
    encoder = adapted(tiny_pair)
    expected = encoder(TOKENS)["pooled_output"]
    encoder.freeze = "1"
    assert len(encoder.trainable_weights) == 4
    assert all("layer_1" in weight.name for weight in encoder.trainable_weights)
    np.testing.assert_array_equal(encoder(TOKENS)["pooled_output"], expected)
    encoder.freeze = "all"
    assert encoder.trainable_weights == []
    np.testing.assert_array_equal(encoder(TOKENS, training=True)["pooled_output"], expected)


@pytest.mark.parametrize("freeze", ["1", "all", "none"])
def test_keras_file_keeps_updates_after_freeze_changed(tiny_pair, tmp_path, freeze):
    encoder = HubEncoder(str(tiny_pair), freeze="embeddings" if freeze != "none" else "all-but-1")
    encoder.enable_lora(4)
    encoder.trainable_weights[1].assign(np.ones(encoder.trainable_weights[1].shape))
    encoder.freeze = freeze
    trained = [weight.name for weight in encoder.trainable_weights]
    tokens = {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in TOKENS}
    model = keras.Model(tokens, encoder(tokens)["pooled_output"])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert [weight.name for weight in again.trainable_weights] == trained
    np.testing.assert_array_equal(again(TOKENS), model(TOKENS))

    encoder.save_lora_weights(tmp_path / "adapter.safetensors")
    other = HubEncoder(str(tiny_pair))
    other.load_lora_weights(tmp_path / "adapter.safetensors")
    assert [weight.name for weight in other.trainable_weights] == trained
    np.testing.assert_array_equal(other(TOKENS)["pooled_output"], model(TOKENS))


def test_config_without_update_names_still_loads(tiny_pair):
    config = adapted(tiny_pair).get_config()
    del config["lora"]["names"]
    assert len(HubEncoder.from_config(config).trainable_weights) == 8


def test_frozen_layers_get_no_update(tiny_pair):
    encoder = HubEncoder(str(tiny_pair), freeze="all-but-1")
    encoder.enable_lora(2)
    assert len(encoder.trainable_weights) == 4
    assert all("layer_1" in weight.name for weight in encoder.trainable_weights)


@pytest.mark.parametrize("targets", [("query", "value"), ALL])
def test_values_include_the_updates(tiny_pair, targets):
    encoder = adapted(tiny_pair, targets=targets, alpha=3)
    base, values = HubEncoder(str(tiny_pair)), encoder.values
    name = "transformer/layer_0/self_attention/query/kernel"
    down, up = (np.asarray(weight) for weight in encoder.trainable_weights[:2])
    np.testing.assert_allclose(values[name] - base.values[name], (down @ up * 3 / 4).reshape(32, 2, 16), atol=1e-6)
    for variable, value in zip(base.weights, values.values(), strict=False):
        variable.assign(value)
    np.testing.assert_allclose(encoder(TOKENS)["pooled_output"], base(TOKENS)["pooled_output"], atol=1e-5)


def test_merge_lora_restores_a_plain_encoder(tiny_pair):
    encoder = adapted(tiny_pair, targets=ALL)
    expected = encoder(TOKENS)["sequence_output"]
    encoder.merge_lora()
    plain = HubEncoder(str(tiny_pair))
    assert [w.shape for w in encoder.weights] == [w.shape for w in plain.weights]
    assert len(encoder.trainable_weights) == len(plain.trainable_weights)
    np.testing.assert_allclose(encoder(TOKENS)["sequence_output"], expected, atol=1e-5)


def test_keras_file_keeps_the_updates(tiny_pair, tmp_path):
    encoder = adapted(tiny_pair)
    tokens = {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in TOKENS}
    model = keras.Model(tokens, encoder(tokens)["pooled_output"])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert [w.shape for w in again.trainable_weights] == [w.shape for w in model.trainable_weights]
    np.testing.assert_array_equal(again(TOKENS), model(TOKENS))


def test_adapter_is_small_and_loads_into_the_same_encoder(tiny_pair, tmp_path):
    encoder, other = adapted(tiny_pair, targets=ALL), HubEncoder(str(tiny_pair))
    encoder.save_lora_weights(tmp_path / "adapter.safetensors")
    assert (tmp_path / "adapter.safetensors").stat().st_size < sum(v.nbytes for v in encoder.values.values()) / 2
    for _ in range(2):
        other.load_lora_weights(tmp_path / "adapter.safetensors")
        np.testing.assert_array_equal(other(TOKENS)["pooled_output"], encoder(TOKENS)["pooled_output"])


def model_of(encoder):
    tokens = {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in TOKENS}
    model = keras.Model(tokens, keras.layers.Dense(2)(encoder(tokens)["pooled_output"]))
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def traced_predictions(model):
    """Return the eager predictions, after asserting that every function that Keras traces gives the same."""
    eager = model(TOKENS).numpy()
    np.testing.assert_allclose(model.predict(TOKENS, verbose=0), eager, atol=1e-5)
    np.testing.assert_allclose(model.predict_on_batch(TOKENS), eager, atol=1e-5)
    loss = keras.losses.sparse_categorical_crossentropy(LABELS, eager, from_logits=True).numpy().mean()
    np.testing.assert_allclose(model.evaluate(TOKENS, LABELS, verbose=0), loss, atol=1e-5)
    return eager


def test_merge_lora_keeps_traced_outputs(tiny_pair):
    encoder = adapted(tiny_pair, targets=ALL)
    model = model_of(encoder)
    function = tf.function(model)
    before, of_function = traced_predictions(model), function(TOKENS).numpy()
    encoder.merge_lora()
    np.testing.assert_allclose(traced_predictions(model), before, atol=1e-5)
    np.testing.assert_allclose(function(TOKENS), of_function, atol=1e-5)


def test_load_lora_weights_updates_traced_functions(tiny_pair, tmp_path):
    other = adapted(tiny_pair)
    other.save_lora_weights(tmp_path / "adapter.safetensors")
    encoder = HubEncoder(str(tiny_pair))
    model = model_of(encoder)
    before = traced_predictions(model)
    encoder.load_lora_weights(tmp_path / "adapter.safetensors")
    after = traced_predictions(model)
    assert np.abs(after - before).max() > 1e-3
    adapted(tiny_pair, rank=2).save_lora_weights(tmp_path / "smaller.safetensors")
    encoder.load_lora_weights(tmp_path / "smaller.safetensors")
    assert np.abs(traced_predictions(model) - after).max() > 1e-3
    encoder.load_lora_weights(tmp_path / "adapter.safetensors")
    np.testing.assert_allclose(traced_predictions(model), after, atol=1e-5)


@pytest.mark.parametrize("change", ["enable", "load"])
def test_traced_function_of_the_caller_is_refused(tiny_pair, tmp_path, change):
    adapted(tiny_pair).save_lora_weights(tmp_path / "adapter.safetensors")
    encoder = HubEncoder(str(tiny_pair))
    model = model_of(encoder)

    def change_lora():
        if change == "enable":
            encoder.enable_lora(4)
        else:
            encoder.load_lora_weights(tmp_path / "adapter.safetensors")

    function = tf.function(model)
    before = function(TOKENS).numpy()
    with pytest.raises(InputError, match="encoder: a tf.function that traced the layer"):
        change_lora()
    assert len(encoder.trainable_weights) == 39
    np.testing.assert_array_equal(function(TOKENS), before)
    del function
    change_lora()
    np.testing.assert_allclose(tf.function(model)(TOKENS), model(TOKENS), atol=1e-5)


def test_traced_training_step_of_the_caller_is_refused(tiny_pair):
    encoder = HubEncoder(str(tiny_pair))
    model = model_of(encoder)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(TOKENS, training=True))
        return tape.gradient(loss, model.trainable_weights)[0]

    step()
    with pytest.raises(InputError, match="delete the function, enable LoRA, then create the function again"):
        encoder.enable_lora(4)
    del step
    encoder.enable_lora(4)


def test_enable_lora_works_after_exports(tiny_pair, tmp_path):
    encoder = HubEncoder(str(tiny_pair))
    model = model_of(encoder)
    model.export(str(tmp_path / "export"), verbose=False)
    tf.saved_model.save(model, str(tmp_path / "saved"))
    model.save(tmp_path / "model.keras")
    encoder.enable_lora(4)
    traced_predictions(model)


def test_adapter_of_another_encoder_is_refused(tiny_pair, tmp_path):
    adapted(tiny_pair).save_lora_weights(tmp_path / "adapter.safetensors")
    other = HubEncoder(str(tiny_pair))
    other.weights[0].assign_add(tf.ones(other.weights[0].shape))
    with pytest.raises(InputError, match="trained for the weights of"):
        other.load_lora_weights(tmp_path / "adapter.safetensors")


@pytest.mark.parametrize("content", [None, b"", b"not an adapter"])
def test_other_files_are_refused_as_adapters(tiny_pair, tmp_path, content):
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError, match="file"):
        HubEncoder(str(tiny_pair)).load_lora_weights(tmp_path / "file")


def test_save_lora_weights_without_updates_is_refused(tiny_pair, tmp_path):
    with pytest.raises(InputError, match="LoRA is not enabled"):
        HubEncoder(str(tiny_pair)).save_lora_weights(tmp_path / "adapter.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "--lora-rank 0: must be from 1 to 32"),
        ({"rank": 33}, "--lora-rank 33: must be from 1 to 32"),
        (
            {"rank": 4, "targets": ("query", "quality")},
            "--lora-targets quality: expected a comma-separated list of query, key",
        ),
    ],
)
def test_invalid_arguments_are_refused(tiny_pair, options, message):
    with pytest.raises(InputError, match=message):
        HubEncoder(str(tiny_pair)).enable_lora(**options)


def test_enable_lora_twice_is_refused(tiny_pair):
    encoder = adapted(tiny_pair)
    with pytest.raises(InputError, match="already enabled"):
        encoder.enable_lora(2)
    encoder.merge_lora()
    encoder.enable_lora(2)
    assert len(encoder.trainable_weights) == 8


def test_frozen_targets_are_refused(tiny_pair):
    with pytest.raises(InputError, match="--freeze excludes all"):
        HubEncoder(str(tiny_pair), freeze="all-but-pooler").enable_lora(4)


def test_graph_encoder_is_refused(tiny_pair):
    with pytest.raises(InputError, match="computed by its graph"):
        HubEncoder(str(tiny_pair), implementation="graph").enable_lora(4)


def test_updated_matrices_merge_heads():
    shapes = {
        "transformer/layer_0/self_attention/query/kernel": (6, 2, 4),
        "transformer/layer_0/self_attention/attention_output/kernel": (2, 4, 6),
        "transformer/layer_0/intermediate/kernel": (6, 24),
        "transformer/layer_0/output/kernel": (24, 6),
    }
    assert list(updated_matrices(shapes, ALL, 2).values()) == [(6, 8), (8, 6), (6, 24), (24, 6)]
