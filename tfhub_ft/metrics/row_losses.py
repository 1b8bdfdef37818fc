"""Cross-entropies of single rows."""

import numpy as np


def log_losses(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the cross-entropy of each row, float (rows,); negative targets have the probability 0."""
    likelihoods = np.where(targets >= 0, probabilities[np.arange(len(targets)), np.maximum(targets, 0)], 0.0)
    return np.log(1 / likelihoods.clip(np.finfo("float64").eps, 1))


def binary_log_losses(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the mean binary cross-entropy of each row's labels, float (rows,)."""
    clipped = probabilities.clip(1e-15, 1 - 1e-15)
    return -np.log(np.where(truth > 0, clipped, 1 - clipped)).mean(-1)
