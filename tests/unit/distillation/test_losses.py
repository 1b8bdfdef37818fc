import numpy as np
import pytest
from scipy.special import expit, rel_entr, softmax

from tfhub_ft.distillation.losses import softened_classes, softened_labels, squared_error

RANDOM = np.random.default_rng(0)
TEACHER, STUDENT = (RANDOM.normal(0, 3, (5, 4)).astype("float32") for _ in range(2))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_softened_classes_is_a_scaled_divergence(temperature):
    of_teacher, of_student = softmax(TEACHER / temperature, -1), softmax(STUDENT / temperature, -1)
    expected = temperature**2 * rel_entr(of_teacher, of_student).sum(-1)
    np.testing.assert_allclose(softened_classes(TEACHER, STUDENT, temperature), expected, rtol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_softened_labels_averages_over_labels(temperature):
    of_teacher, of_student = expit(TEACHER / temperature), expit(STUDENT / temperature)
    expected = (rel_entr(of_teacher, of_student) + rel_entr(1 - of_teacher, 1 - of_student)).mean(-1)
    np.testing.assert_allclose(softened_labels(TEACHER, STUDENT, temperature), temperature**2 * expected, rtol=1e-3)


def test_losses_of_equal_logits_are_zero():
    np.testing.assert_allclose(softened_classes(TEACHER, TEACHER + 1, 2.0), 0, atol=1e-5)
    np.testing.assert_allclose(softened_labels(TEACHER, TEACHER, 2.0), 0, atol=1e-5)
    numbers = np.array([[0.5], [2.0]], "float32")
    np.testing.assert_allclose(squared_error(numbers, numbers - 0.5, 9.0), [0.25, 0.25])
