import keras
import numpy as np
import pytest

from tfhub_ft.training.optimizer import FusedAdamW, WarmupLinearDecay, build_optimizer


def test_warmup_linear_decay_rises_and_falls():
    schedule = WarmupLinearDecay(1.0, warmup_steps=10, total_steps=100)
    rates = [float(schedule(step)) for step in range(100)]
    assert rates[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert rates[9] == pytest.approx(1.0)
    assert np.argmax(rates) == 9
    assert 0 < rates[-1] < 0.02
    assert float(schedule(1000)) == 0.0


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_build_optimizer_takes_no_warmup_or_only_warmup(warmup):
    optimizer = build_optimizer(learning_rate=1.0, warmup=warmup, total_steps=4, weight_decay=0.0, clip_norm=0.0)
    rates = [float(optimizer._learning_rate(step)) for step in range(4)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0] if warmup else [1.0, 0.75, 0.5, 0.25])


def test_build_optimizer_does_not_decay_biases_and_norms():
    names = ["kernel", "bias", "layer_norm_gamma", "layer_norm_beta", "embeddings"]
    variables = [keras.Variable(np.ones(3, "float32"), name=name) for name in names]
    optimizer = build_optimizer(learning_rate=0.1, warmup=0.0, total_steps=10, weight_decay=0.5, clip_norm=1.0)
    optimizer.build(variables)
    optimizer.apply([np.zeros(3, "float32")] * 5, variables)
    decayed = {v.name for v in variables if v.numpy()[0] < 1}
    assert decayed == {"kernel", "embeddings"}


def test_warmup_linear_decay_is_rebuilt_from_its_config():
    config = WarmupLinearDecay(1e-4, warmup_steps=3, total_steps=9).get_config()
    assert float(WarmupLinearDecay.from_config(config)(2)) == pytest.approx(1e-4)


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_fused_adamw_equals_keras_adamw(clip_norm):
    random = np.random.default_rng(0)
    shapes = [(4, 3), (3,), (2, 2, 2)]
    starts = [random.normal(size=shape).astype("float32") for shape in shapes]
    gradients = [[random.normal(size=shape).astype("float32") for shape in shapes] for _ in range(5)]

    def trained(optimizer_class):
        variables = [keras.Variable(start) for start in starts]
        optimizer = optimizer_class(0.1, weight_decay=0.01, epsilon=1e-8, global_clipnorm=clip_norm)
        for step in gradients:
            optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in step], variables)
        return [variable.numpy() for variable in variables]

    for fused, expected in zip(trained(FusedAdamW), trained(keras.optimizers.AdamW), strict=True):
        np.testing.assert_allclose(fused, expected, atol=1e-5)


def test_fused_adamw_is_rebuilt_from_its_config():
    optimizer = build_optimizer(learning_rate=0.1, warmup=0.5, total_steps=4, weight_decay=0.2, clip_norm=1.0)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, FusedAdamW)
    assert (again.weight_decay, again.global_clipnorm) == (0.2, 1.0)


def test_decay_factor_is_that_of_weights_without_gradient():
    optimizer = build_optimizer(learning_rate=0.1, warmup=0.5, total_steps=4, weight_decay=0.2, clip_norm=1.0)
    kernel = keras.Variable(np.ones((3, 2), "float32"), name="kernel")
    bias = keras.Variable(np.ones(2, "float32"), name="bias")
    for _ in range(3):
        optimizer.apply([np.zeros((3, 2), "float32"), np.zeros(2, "float32")], [kernel, bias])
    np.testing.assert_allclose(kernel.numpy(), optimizer.decay_factor(kernel, 3), rtol=1e-6)
    assert optimizer.decay_factor(kernel, 3) < 0.97
    assert optimizer.decay_factor(bias, 3) == 1
