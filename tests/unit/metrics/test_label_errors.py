import numpy as np
import pytest

from tfhub_ft.metrics.label_errors import fit_of_other_label, normalized_margin


def test_fit_of_other_label_compares_with_the_rows_of_the_label():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.85, 0.15], [0.3, 0.7]])
    # Row 3 is labeled 1 and fits label 0 better than two of its three rows.
    share = fit_of_other_label(probabilities, np.array([0, 0, 0, 1, 1]))
    np.testing.assert_allclose(share, [np.nan, np.nan, np.nan, 2 / 3, np.nan])


def test_fit_of_other_label_is_unknown_without_rows_or_labels():
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9]])
    assert np.isnan(fit_of_other_label(probabilities, np.array([1, 1]))).all()
    assert np.isnan(fit_of_other_label(probabilities, np.array([-2, 1]))).all()
    assert fit_of_other_label(np.zeros((0, 2)), np.zeros(0, int)).shape == (0,)


def test_normalized_margin_is_the_distance_to_the_best_other_label():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]])
    np.testing.assert_allclose(normalized_margin(probabilities, np.array([0, 2])), [0.5, -0.6])
    assert probabilities[0, 0] == pytest.approx(0.7)
