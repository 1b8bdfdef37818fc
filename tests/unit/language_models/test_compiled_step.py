"""The compiled step equals KerasHub's call, for each kind of Llama."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.language_models.compiled_step import CompiledStep
from tfhub_ft.language_models.presets import load_causal_lm

ARCHITECTURES = {
    "Qwen": {"family": "Qwen", "num_query_heads": 4, "num_key_value_heads": 2},
    "grouped heads": {"num_query_heads": 4, "num_key_value_heads": 2},
    "untied output layer": {"num_query_heads": 2, "num_key_value_heads": 2, "tie_word_embeddings": False},
    "scaled angles": {
        "num_query_heads": 2,
        "num_key_value_heads": 1,
        "rope_frequency_adjustment_factor": 8.0,
        "rope_low_freq_factor": 1.0,
        "rope_high_freq_factor": 4.0,
        "rope_pretraining_sequence_length": 16,
    },
}


def make_model(family="Llama", **settings):
    import keras_hub

    sizes = {"vocabulary_size": 50, "num_layers": 2, "hidden_dim": 32, "intermediate_dim": 48}
    backbone = getattr(keras_hub.models, f"{family}Backbone")(**sizes, rope_max_wavelength=100, **settings)
    rng = np.random.default_rng(0)
    for weight in backbone.weights:
        weight.assign(rng.normal(1.0 if "norm" in weight.path else 0.0, 0.3, weight.shape))
    return getattr(keras_hub.models, f"{family}CausalLM")(backbone)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_step_equals_kerashub(architecture):
    causal_lm, ids = make_model(**ARCHITECTURES[architecture]), np.random.default_rng(1).integers(0, 50, 20)
    backbone = causal_lm.backbone
    empty = tf.zeros((1, 2, 2, 32, backbone.num_key_value_heads, 32 // backbone.num_query_heads))
    expected, _, expected_cache = causal_lm.call_with_cache(ids[None], empty, 0)
    step, cache = CompiledStep(causal_lm), CompiledStep.cache_of(empty)
    actual = [step(tf.constant([token]), cache, tf.constant(position))[0] for position, token in enumerate(ids)]
    np.testing.assert_allclose(actual, expected[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(cache, expected_cache, rtol=1e-4, atol=1e-4)


def test_step_copies_weights_in_the_compute_dtype(tiny_preset):
    causal_lm = load_causal_lm(str(tiny_preset))
    logits = {}
    for policy in ("float32", "mixed_bfloat16"):
        for layer in (causal_lm, *causal_lm.backbone._flatten_layers()):
            layer.dtype_policy = keras.DTypePolicy(policy)
        step = CompiledStep(causal_lm)
        backbone = causal_lm.backbone
        shape = (backbone.num_layers, 2, 8, backbone.num_key_value_heads)
        cache = CompiledStep.cache_of(tf.zeros((1, *shape, backbone.hidden_dim // backbone.num_query_heads)))
        logits[policy] = step(tf.constant([5]), cache, tf.constant(0)).numpy()
    assert logits["mixed_bfloat16"].dtype == "float32"
    difference = np.abs(logits["float32"] - logits["mixed_bfloat16"]).max()
    assert 0 < difference < 0.05 * np.abs(logits["float32"]).max()


def test_can_compile_rejects_other_models(tiny_preset, tiny_gpt2_preset):
    heads = {"num_query_heads": 2, "num_key_value_heads": 1}
    assert not CompiledStep.can_compile(make_model("Qwen", use_sliding_window_attention=True, **heads))
    assert not CompiledStep.can_compile(make_model("Mistral", **heads))
    assert CompiledStep.can_compile(load_causal_lm(str(tiny_preset)))
    assert not CompiledStep.can_compile(load_causal_lm(str(tiny_gpt2_preset)))
