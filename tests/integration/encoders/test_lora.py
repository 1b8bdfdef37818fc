import keras
import pytest

from tests.unit.encoders.test_lora import LABELS, TOKENS, adapted, model_of, traced_predictions
from tfhub_ft import HubEncoder


def test_enable_lora_after_fit_needs_compile(tiny_pair):
    encoder = HubEncoder(str(tiny_pair))
    model = model_of(encoder)
    model.fit(TOKENS, LABELS, verbose=0)
    traced_predictions(model)
    encoder.enable_lora(4)
    with pytest.raises((ValueError, KeyError), match="(?i)optimizer"):
        model.fit(TOKENS, LABELS, verbose=0)
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(TOKENS, LABELS, epochs=2, verbose=0)
    assert all(weight.numpy().any() for weight in encoder.trainable_weights)
    traced_predictions(model)


def test_merge_lora_after_fit_needs_compile(tiny_pair):
    encoder = adapted(tiny_pair)
    model = model_of(encoder)
    model.fit(TOKENS, LABELS, verbose=0)
    encoder.merge_lora()
    with pytest.raises((ValueError, KeyError), match="(?i)optimizer"):
        model.fit(TOKENS, LABELS, verbose=0)
    traced_predictions(model)
