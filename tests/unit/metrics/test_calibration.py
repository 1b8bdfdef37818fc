import keras
import numpy as np
import pytest
from scipy.special import softmax

from tfhub_ft.metrics.calibration import (
    confidences,
    expected_calibration_error,
    fit_calibration,
    fit_temperature,
    probabilities_of,
)
from tfhub_ft.models.heads import ClassificationHead, apply_temperature, takes_temperature


def draw_rows(temperature, rows=4000, classes=3):
    """Return targets, and the logits that they were drawn with, multiplied by the temperature."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(rows, classes)) * 2
    targets = np.array([rng.choice(classes, p=p) for p in softmax(logits, -1)])
    return (logits * temperature).astype("float32"), targets


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_fit_temperature_finds_the_true_temperature(temperature):
    assert fit_temperature(*draw_rows(temperature), link="softmax") == pytest.approx(temperature, rel=0.07)


def test_fit_temperature_of_sigmoids_finds_the_true_temperature():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3000, 4)) * 2
    targets = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype("float32")
    assert fit_temperature(2.5 * logits, targets, link="sigmoid") == pytest.approx(2.5, rel=0.07)


def test_fit_temperature_of_few_correct_rows_is_not_certain():
    logits, targets = np.array([[2.0, 0.0]] * 10, "float32"), np.zeros(10, int)
    temperature = fit_temperature(logits, targets, link="softmax")
    assert 0.85 < softmax(logits / temperature, -1)[0, 0] < 0.95


def test_expected_calibration_error_is_the_mean_distance():
    confidence, correct = np.array([0.95, 0.95, 0.55, 0.55]), np.array([True, True, True, False])
    assert expected_calibration_error(confidence, correct) == pytest.approx(0.05)


def test_apply_temperature_divides_the_logits():
    logits, targets = draw_rows(3.0)
    pooled = keras.Input((3,))
    network = keras.Model(pooled, ClassificationHead(3, dropout=0.0)(pooled))
    network.layers[-1].dense.kernel.assign(np.eye(3))
    calibration = fit_calibration(logits, targets, link="softmax")
    apply_temperature(network, calibration["temperature"])
    after = np.asarray(network(logits))
    np.testing.assert_allclose(after, logits / calibration["temperature"], rtol=1e-5)
    error = expected_calibration_error(*confidences(probabilities_of(after, "softmax"), targets))
    assert calibration["expected_calibration_error"]["after"] == pytest.approx(error, abs=1e-4)
    assert error < calibration["expected_calibration_error"]["before"] / 3


def test_fit_calibration_never_increases_the_error():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 1000)
    # The margin separates the classes, but every row is predicted to be of the second one.
    margin = 0.1 + 0.02 * (targets + rng.normal(size=1000))
    logits = np.stack([np.zeros(1000), margin], -1).astype("float32")
    assert fit_temperature(logits, targets, link="softmax") < 0.5
    calibration = fit_calibration(logits, targets, link="softmax")
    assert calibration["temperature"] == 1
    assert calibration["expected_calibration_error"]["after"] == calibration["expected_calibration_error"]["before"]


def test_fit_calibration_ignores_negative_targets():
    logits, targets = draw_rows(2.0, rows=500)
    outside = np.concatenate([targets, np.full(50, -1)])
    padded = np.concatenate([logits, np.zeros((50, 3), "float32")])
    assert fit_calibration(padded, outside, link="softmax") == fit_calibration(logits, targets, link="softmax")
    assert fit_calibration(logits, np.full(500, -1), link="softmax") is None


def test_takes_temperature_needs_a_classification_head():
    pooled = keras.Input((3,))
    assert takes_temperature(keras.Model(pooled, ClassificationHead(3)(pooled)))
    assert not takes_temperature(keras.Model(pooled, keras.layers.Dense(3)(pooled)))
