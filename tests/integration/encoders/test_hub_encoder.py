import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.unit.encoders.test_hub_encoder import TOKENS, build, token_inputs
from tfhub_ft.encoders import HubEncoder


@pytest.fixture(params=["native", "graph"])
def implementation(request):
    return request.param


@pytest.mark.parametrize(
    ("freeze", "trained", "implementation"),
    [
        ("none", 39, "native"),
        ("embeddings", 34, "graph"),
        ("1", 18, "native"),
        ("all-but-1", 18, "graph"),
        ("all-but-pooler", 2, "native"),
    ],
)
def test_frozen_weights_do_not_change(tiny_pair, implementation, freeze, trained):
    model = build(str(tiny_pair), freeze=freeze, implementation=implementation)
    encoder = next(layer for layer in model.layers if isinstance(layer, HubEncoder))
    assert len(encoder.trainable_weights) == trained
    frozen = {w.path: w.numpy() for w in encoder.non_trainable_weights}
    model.compile(keras.optimizers.AdamW(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(TOKENS, np.array([0, 1]), verbose=0)
    for weight in encoder.non_trainable_weights:
        if weight.name == "steps":
            continue
        np.testing.assert_array_equal(weight, frozen[weight.path])


def trained(layer):
    return {weight.name for weight in layer.trainable_weights}


def switched_off_and_on(model):
    model.trainable = False
    assert model.trainable_weights == []
    model.trainable = True
    return model


def saved_while_off(model, folder):
    model.trainable = False
    model.save(folder / "model.keras")
    model = keras.models.load_model(folder / "model.keras")
    assert model.trainable_weights == []
    model.trainable = True
    return model


def switched_in_an_outer_model(model):
    inputs = token_inputs()
    outer = keras.Model(inputs, model(inputs))
    outer.trainable = False
    outer.trainable = True
    return model


@pytest.mark.parametrize("freeze", ["none", "embeddings", "1", "all-but-1", "all-but-pooler", "all"])
@pytest.mark.parametrize("switch", [switched_off_and_on, saved_while_off, switched_in_an_outer_model])
def test_toggling_trainable_respects_freeze(tiny_pair, implementation, freeze, switch, tmp_path):
    model = build(str(tiny_pair), freeze=freeze, implementation=implementation)
    expected = trained(model)
    model = switch(model, tmp_path) if switch is saved_while_off else switch(model)
    assert trained(model) == expected
    assert next(layer for layer in model.layers if isinstance(layer, HubEncoder)).freeze == freeze


@pytest.mark.parametrize("other", ["none", "all"])
def test_weights_files_load_with_other_freeze(tiny_pair, implementation, other, tmp_path):
    model = build(str(tiny_pair), freeze="1", implementation=implementation)
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(TOKENS, np.array([0, 1]), verbose=0)
    model.save_weights(tmp_path / "model.weights.h5")
    again = build(str(tiny_pair), freeze=other, implementation=implementation)
    again.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(again.predict(TOKENS, verbose=0), model.predict(TOKENS, verbose=0), atol=1e-6)


def test_keras_file_reloads_without_the_encoder_and_trains(tiny_pair, tmp_path, implementation):
    pair = shutil.copytree(tiny_pair, tmp_path / "pair")
    model = build(str(pair), freeze="1", implementation=implementation)
    model.compile(keras.optimizers.AdamW(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(TOKENS, np.array([0, 1]), verbose=0)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "expected.npz", expected=model.predict(TOKENS, verbose=0), **TOKENS)
    script = f"""
import keras, numpy as np, tfhub_ft.encoders.hub_encoder
tokens = dict(np.load({str(tmp_path / "expected.npz")!r}))
expected = tokens.pop("expected")
model = keras.models.load_model({str(tmp_path / "model.keras")!r})
np.testing.assert_allclose(model.predict(tokens, verbose=0), expected, atol=1e-6)
steps = int(model.optimizer.iterations)
model.fit(tokens, np.array([0, 1]), verbose=0)
assert int(model.optimizer.iterations) == steps + 1
assert len(model.layers[-2].trainable_weights) == 18
model.save({str(tmp_path / "again.keras")!r})
np.testing.assert_allclose(
    keras.models.load_model({str(tmp_path / "again.keras")!r}).predict(tokens, verbose=0),
    model.predict(tokens, verbose=0), atol=1e-6)
"""
    environment = {"TFHUB_FT_CACHE": str(tmp_path / "empty"), "TFHUB_FT_MIRROR": "http://127.0.0.1:9"}
    shutil.rmtree(pair)
    environment = {**os.environ, **environment}
    process = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]
