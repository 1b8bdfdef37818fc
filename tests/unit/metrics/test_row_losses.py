import numpy as np
import pytest
from sklearn import metrics as sk

from tfhub_ft.metrics.row_losses import binary_log_losses, log_losses

PROBABILITIES = np.array([[0.9, 0.1], [0.4, 0.6], [0.25, 0.75]])


def test_log_losses_average_to_the_log_loss():
    targets = np.array([0, 1, 0])
    assert log_losses(PROBABILITIES, targets).mean() == pytest.approx(sk.log_loss(targets, PROBABILITIES))


def test_log_loss_of_a_certain_row_is_not_negative_zero():
    assert not np.signbit(log_losses(np.array([[0.0, 1.0]]), np.array([1]))[0])


def test_log_losses_of_unknown_labels_are_high_and_finite():
    losses = log_losses(PROBABILITIES, np.array([0, -2, -1]))
    assert losses[0] < 1
    assert 30 < losses[1] == losses[2] < 50


def test_binary_log_losses_are_means_over_labels():
    truth = np.array([[1, 0], [1, 1], [0, 0]])
    expected = [sk.log_loss(row, probabilities, labels=[0, 1]) for row, probabilities in zip(truth, PROBABILITIES)]
    np.testing.assert_allclose(binary_log_losses(PROBABILITIES, truth), expected)
