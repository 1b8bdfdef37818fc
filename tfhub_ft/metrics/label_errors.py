"""Find labels that a model contradicts."""

import numpy as np

# Share of the rows of another label that a row fits better than, from which its own label looks wrong.
LOOKS_WRONG = 0.5


def fit_of_other_label(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the share of the rows of the most likely label that a row fits better than, float64 (rows,).

    A row fits a label better than another if the model gives it a higher probability of the label. The share is NaN
    where the most likely label is the target, the target is negative or no row has the most likely label. A label looks
    wrong if the share is above one half: the median of the label's own rows is the threshold of confident learning.

    Args:
        probabilities: (rows, labels).
        targets: Label indices, int (rows,); negative ones are not known.

    Reference:
        Northcutt et al. 2021, https://jair.org/index.php/jair/article/view/12125
    """
    likeliest, share = probabilities.argmax(-1), np.full(len(targets), np.nan)
    for label in range(probabilities.shape[1]):
        of_label = np.sort(probabilities[targets == label, label])
        others = np.flatnonzero((targets >= 0) & (targets != label) & (likeliest == label))
        if len(of_label) and len(others):
            share[others] = np.searchsorted(of_label, probabilities[others, label]) / len(of_label)
    return share


def normalized_margin(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the probability of each row's target minus the highest one of the other labels, float64 (rows,).

    Reference:
        Northcutt et al. 2021, https://jair.org/index.php/jair/article/view/12125
    """
    rows = np.arange(len(targets))
    others = probabilities.copy()
    others[rows, targets] = -np.inf
    return probabilities[rows, targets] - others.max(-1)
