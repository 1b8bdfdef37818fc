"""Temperature scaling and the expected calibration error."""

from typing import Any

import numpy as np

SMALLEST = 1e-30
BINS = 15
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.2, 10.0


def fit_calibration(logits: np.ndarray, targets: np.ndarray, *, link: str) -> dict[str, Any] | None:
    """Return the temperature that calibrates logits, (rows, classes), and the calibration errors before and after it.

    The temperature is 1 if another one would increase the error, for example for a model that predicts one label for
    nearly all rows. Rows with a negative target are left out; the result is None if none remain.
    """
    if link == "softmax":
        logits, targets = logits[targets >= 0], targets[targets >= 0]
    else:
        targets = targets[:, : logits.shape[1]]
    if not len(targets):
        return None
    temperature = fit_temperature(logits, targets, link=link)
    before, after = (
        expected_calibration_error(*confidences(probabilities_of(each, link), targets))
        for each in (logits, logits / temperature)
    )
    if after > before:
        temperature, after = 1.0, before
    return {
        "temperature": temperature,
        "rows": len(targets),
        "expected_calibration_error": {"before": before, "after": after},
    }


def fit_temperature(logits: np.ndarray, targets: np.ndarray, *, link: str) -> float:
    """Return the number to divide logits by for the highest likelihood of the targets (Guo et al. 2017).

    Targets are smoothed as in Platt 1999, so that a few correct rows do not make a model certain.
    """
    from scipy.optimize import fminbound
    from scipy.special import log_expit, log_softmax

    smoothing, classes = 1 / (len(targets) + 2), logits.shape[-1]
    logits = logits.astype("float64")
    if link == "softmax":
        smoothed = np.full(logits.shape, smoothing / max(classes - 1, 1))
        smoothed[np.arange(len(targets)), targets] = 1 - smoothing
    else:
        smoothed = targets * (1 - smoothing) + (1 - targets) * smoothing

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        if link == "softmax":
            return -(smoothed * log_softmax(scaled, -1)).sum()
        return -(smoothed * log_expit(scaled) + (1 - smoothed) * log_expit(-scaled)).sum()

    return float(np.exp(fminbound(loss, *np.log([MIN_TEMPERATURE, MAX_TEMPERATURE]))))


def probabilities_of(logits: np.ndarray, link: str) -> np.ndarray:
    """Return the probabilities of logits by "softmax" or "sigmoid", float64 (rows, classes)."""
    from scipy.special import expit, softmax

    return softmax(logits.astype("float64"), -1) if link == "softmax" else expit(logits.astype("float64"))


def logits_of(probabilities: np.ndarray, link: str) -> np.ndarray:
    """Return logits that have these probabilities by "softmax" or "sigmoid", (rows, classes)."""
    from scipy.special import logit

    if link == "softmax":
        return np.log(np.maximum(probabilities, SMALLEST))
    return logit(probabilities.astype("float64").clip(1e-7, 1 - 1e-7))


def confidences(probabilities: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of each row's most likely class, or of every label, and whether it is true, bool."""
    if targets.ndim == 2:
        return probabilities.ravel(), targets.ravel() > 0
    return probabilities.max(-1), probabilities.argmax(-1) == targets


def reliability(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean confidence, the share of correct rows and the rows of each non-empty, equal-width bin."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    rows = np.bincount(bins, minlength=BINS)
    filled = rows > 0
    confidence, correct = (np.bincount(bins, each, BINS)[filled] / rows[filled] for each in (confidence, correct))
    return confidence, correct, rows[filled]


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Return the mean distance of confidence and accuracy over 15 bins (Naeini, Cooper and Hauskrecht 2015)."""
    mean, share, rows = reliability(confidence, correct)
    return float(np.average(np.abs(mean - share), weights=rows))
