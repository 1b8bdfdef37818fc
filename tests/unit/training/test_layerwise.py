import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft import HubEncoder
from tfhub_ft.training.layerwise import Unfreezing, layer_rates, unfreezing_stages
from tfhub_ft.training.optimizer import build_optimizer
from tfhub_ft.utils.errors import InputError

NAMES = ["word_embeddings/embeddings", *(f"transformer/layer_{i}/output/kernel" for i in range(6)), "pooler/kernel"]
TOKENS = {
    "input_word_ids": tf.constant([[3, 70, 80, 4], [3, 90, 4, 0]] * 8),
    "input_mask": tf.constant([[1, 1, 1, 1], [1, 1, 1, 0]] * 8),
    "input_type_ids": tf.zeros((16, 4), tf.int32),
}
TARGETS = tf.constant([[1.0], [-1.0]] * 8)


def model_of(encoder):
    tokens = {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in TOKENS}
    return keras.Model(tokens, keras.layers.Dense(1, name="layer_0")(encoder(tokens)["pooled_output"]))


def fit(model, optimizer, epochs=1, callbacks=(), initial_epoch=0):
    model.compile(optimizer, "mse", jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices((TOKENS, TARGETS)).batch(8)
    model.fit(data, epochs=epochs, initial_epoch=initial_epoch, callbacks=list(callbacks), verbose=0)


def optimizer_of(rates=None, weight_decay=0.0):
    return build_optimizer(
        learning_rate=1e-2, warmup=0, total_steps=1000, weight_decay=weight_decay, clip_norm=0, rates=rates
    )


def test_layer_rates_decay_from_the_top(tiny_pair):
    rates = layer_rates(HubEncoder(str(tiny_pair)), 0.5)
    assert rates["transformer_layer_1_output_kernel"] == 0.5
    assert rates["transformer_layer_0_output_kernel"] == 0.25
    assert rates["word_embeddings_embeddings"] == rates["embeddings_layer_norm_gamma"] == 0.125
    assert not any("pooler" in path for path in rates)
    assert layer_rates(HubEncoder(str(tiny_pair)), 1.0) == {}


def test_layer_rates_include_lora_updates(tiny_pair):
    encoder = HubEncoder(str(tiny_pair))
    encoder.enable_lora(2)
    rates = layer_rates(encoder, 0.5)
    assert len(rates) == 8
    assert set(rates.values()) == {0.5, 0.25}


def test_layer_rates_scale_the_first_step(tiny_pair):
    encoder = HubEncoder(str(tiny_pair), seed=0)
    model = model_of(encoder)
    before = [np.asarray(w.value) for w in model.trainable_weights]
    rates = layer_rates(encoder, 0.5)
    model.compile(optimizer_of(rates), "mse", jit_compile=False)
    model.train_on_batch(TOKENS, TARGETS)
    for weight, old in zip(model.trainable_weights, before, strict=True):
        moved = np.abs(np.asarray(weight.value) - old).max()
        # Adam's first step is the learning rate, wherever there is a gradient.
        if not weight.path.endswith(("key_bias", "type_embeddings_embeddings")):
            assert moved == pytest.approx(1e-2 * rates.get(weight.path, 1.0), rel=0.05), weight.path


def test_weight_decay_follows_the_rate_of_a_layer():
    weights = [keras.Variable(np.ones(3, "float32"), name=name) for name in ("low", "high")]
    optimizer = optimizer_of({weights[0].path: 0.5}, weight_decay=0.1)
    optimizer.build(weights)
    optimizer.apply([tf.zeros(3), tf.zeros(3)], weights)
    np.testing.assert_allclose(weights[0], 1 - 0.5 * 1e-2 * 0.1, rtol=1e-6)
    np.testing.assert_allclose(weights[1], 1 - 1e-2 * 0.1, rtol=1e-6)


@pytest.mark.parametrize(
    ("unfreeze", "stages"),
    [
        ("0", ["all-but-pooler"]),
        ("0,2,6", ["all-but-pooler", "all-but-2", "all-but-6"]),
        ("1, 1, all", ["all-but-1", "all-but-1", "none"]),
    ],
)
def test_unfreezing_stages_name_frozen_layers(unfreeze, stages):
    assert unfreezing_stages(unfreeze, NAMES) == stages


@pytest.mark.parametrize(
    ("unfreeze", "message"),
    [
        ("0,7", "--unfreeze 7: the encoder has 6 layers"),
        ("4,2", "must not decrease"),
        ("all,2", "must not decrease"),
        ("0,,2", "must be numbers of top layers"),
        ("-1", "must be numbers of top layers"),
        ("half", "must be numbers of top layers"),
    ],
)
def test_unfreezing_stages_refuse_invalid_schedules(unfreeze, message):
    with pytest.raises(InputError, match=message):
        unfreezing_stages(unfreeze, NAMES)


class RecordChanges(keras.callbacks.Callback):
    """Record the largest change of each weight in each epoch."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.changes = encoder, []

    def on_epoch_begin(self, epoch, logs=None):
        self.before = self.encoder.values

    def on_epoch_end(self, epoch, logs=None):
        self.changes.append({n: np.abs(v - self.before[n]).max() for n, v in self.encoder.values.items()})


def test_unfreezing_starts_layers_in_their_epoch(tiny_pair):
    encoder = HubEncoder(str(tiny_pair), seed=0)
    model, optimizer, record = model_of(encoder), optimizer_of(), RecordChanges(encoder)
    optimizer.build(model.trainable_variables)
    stages = unfreezing_stages("0,1,all", list(encoder.values))
    fit(model, optimizer, 4, [record, Unfreezing(encoder, stages, optimizer, steps=2)])
    top, low = "transformer/layer_1/output/kernel", "transformer/layer_0/output/kernel"
    assert record.changes[0]["pooler_transform/kernel"] > 0
    assert [changes[top] > 0 for changes in record.changes] == [False, True, True, True]
    assert [changes[low] > 0 for changes in record.changes] == [False, False, True, True]
    assert record.changes[1][top] <= 2 * 1.01e-2
    assert record.changes[2][low] <= 2 * 1.01e-2


def test_unfreezing_resumes_in_a_later_epoch(tiny_pair):
    encoder = HubEncoder(str(tiny_pair), seed=0)
    model, optimizer = model_of(encoder), optimizer_of()
    optimizer.build(model.trainable_variables)
    stages = unfreezing_stages("0,1,all", list(encoder.values))
    fit(model, optimizer, 2, [Unfreezing(encoder, stages, optimizer, steps=2)], initial_epoch=1)
    assert encoder.freeze == "all-but-1"
    first_steps = {path: step for path, step in optimizer._first_steps.items() if "layer_" in path}
    assert set(first_steps.values()) == {2}
