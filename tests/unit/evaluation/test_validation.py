import numpy as np
import pytest

from tfhub_ft.evaluation.validation import validate
from tfhub_ft.recipe import load_recipe

LABELS = ["bad", "good"]
TARGETS = np.arange(40) % 2
# Correct in three of four rows, and overconfident.
LOGITS = np.where(np.arange(40)[:, None] % 8 < 2, -1.0, 1.0) * 20 * np.stack([1 - 2 * TARGETS, 2 * TARGETS - 1], 1)


@pytest.fixture
def recipe():
    return load_recipe("sentiment")


def test_validate_divides_logits_by_the_fitted_temperature(recipe):
    validated = validate(recipe.task, LOGITS, TARGETS, LABELS, recipe.settings, calibrated=True)
    assert validated.calibration["temperature"] > 2
    np.testing.assert_allclose(validated.logits * validated.calibration["temperature"], LOGITS)
    plain = validate(recipe.task, LOGITS, TARGETS, LABELS, recipe.settings, calibrated=False)
    assert validated.scores["accuracy"] == plain.scores["accuracy"] == 0.75
    assert validated.scores["log_loss"] < plain.scores["log_loss"]


def test_validate_leaves_uncalibrated_logits_unchanged(recipe):
    validated = validate(recipe.task, LOGITS, TARGETS, LABELS, recipe.settings, calibrated=False)
    assert (validated.logits is LOGITS, validated.calibration, validated.thresholds) == (True, {}, {})
