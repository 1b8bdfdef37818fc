"""Calibration of probabilities: temperature scaling and the expected calibration error."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SMALLEST = 1e-30
BINS = 15
COLDEST, HOTTEST = 0.2, 10.0


def fit_calibration(logits: "np.ndarray", targets: "np.ndarray", *, link: str) -> dict[str, Any] | None:
    """Fit the temperature that logits are divided by, so that probabilities match the share of correct predictions.

    A temperature never changes which label is the most likely one. It can raise the likelihood of the targets and yet
    increase the calibration error, for example of a model that predicts one label for nearly all rows; in that case it
    is 1.

    Args:
        logits: of validation rows, float (rows, classes).
        targets: indices of classes, int (rows,), negative where a row has none; or with "sigmoid" 0 or 1,
            (rows, classes or more), of which the first ones are those of the logits.
        link: what makes probabilities of logits, "softmax" or "sigmoid".

    Returns:
        {"temperature", "rows", "expected_calibration_error": {"before", "after"}}; None where no row has a class.

    Example:
        fit_calibration(np.array([[4.0, 0.0], [0.0, 4.0], [4.0, 0.0]]), np.array([0, 1, 1]), link="softmax")

    Reference:
        Guo et al. 2017, https://arxiv.org/abs/1706.04599
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


def fit_temperature(logits: "np.ndarray", targets: "np.ndarray", *, link: str) -> float:
    """The number to divide logits by, so that the rows' own targets become as likely as can be.

    A target counts as certain but for one row in as many as there are, and two more: a few rows that are all right do
    not make a model certain of everything.

    Args:
        logits: float (rows, classes).
        targets: as for `fit_calibration`, without negative ones.
        link: "softmax" or "sigmoid".

    Returns:
        The temperature, from 0.2 to 10: above 1 where the model was too sure.

    Example:
        fit_temperature(np.array([[4.0, 0.0], [0.0, 4.0], [4.0, 0.0]]), np.array([0, 1, 1]), link="softmax")

    Reference:
        Guo et al. 2017, section 4.2, https://arxiv.org/abs/1706.04599; Platt 1999 (targets that are not certain)
    """
    import numpy as np
    from scipy.optimize import minimize_scalar
    from scipy.special import log_expit, log_softmax

    doubt, classes = 1 / (len(targets) + 2), logits.shape[-1]
    logits = logits.astype("float64")
    if link == "softmax":
        wanted = np.full(logits.shape, doubt / max(classes - 1, 1))
        wanted[np.arange(len(targets)), targets] = 1 - doubt
    else:
        wanted = targets * (1 - doubt) + (1 - targets) * doubt

    def loss(logarithm: float) -> float:
        scaled = logits / np.exp(logarithm)
        if link == "softmax":
            return -(wanted * log_softmax(scaled, -1)).sum()
        return -(wanted * log_expit(scaled) + (1 - wanted) * log_expit(-scaled)).sum()

    return float(np.exp(minimize_scalar(loss, bounds=np.log([COLDEST, HOTTEST]), method="bounded").x))


def probabilities_of(logits: "np.ndarray", link: str) -> "np.ndarray":
    """Return the probabilities of logits, both (rows, classes), in float64.

    Args:
        logits: float (rows, classes).
        link: "softmax" or "sigmoid".
    """
    from scipy.special import expit, softmax

    return softmax(logits.astype("float64"), -1) if link == "softmax" else expit(logits.astype("float64"))


def logits_of(probabilities: "np.ndarray", link: str) -> "np.ndarray":
    """Return logits, up to what their probabilities do not depend on; both (rows, classes).

    Args:
        probabilities: float (rows, classes).
        link: "softmax" or "sigmoid".
    """
    import numpy as np
    from scipy.special import logit

    if link == "softmax":
        return np.log(np.maximum(probabilities, SMALLEST))
    return logit(probabilities.astype("float64").clip(1e-7, 1 - 1e-7))


def confidences(probabilities: "np.ndarray", targets: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """How sure a model is, and whether it is right: of each row's likeliest class, or of every label.

    Args:
        probabilities: float (rows, classes).
        targets: int (rows,), indices of classes; or 0 or 1, (rows, classes).

    Returns:
        Probabilities, float, and whether what they are of is true, bool; both (rows,) or (rows * classes,).
    """
    if targets.ndim == 2:
        return probabilities.ravel(), targets.ravel() > 0
    return probabilities.max(-1), probabilities.argmax(-1) == targets


def reliability(confidence: "np.ndarray", right: "np.ndarray") -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Of bins of equal width, as far as they are not empty: mean confidence, share that is right, rows.

    Args:
        confidence: float (rows,), from 0 to 1.
        right: bool (rows,).
    """
    import numpy as np

    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    rows = np.bincount(place, minlength=BINS)
    there = rows > 0
    means = (np.bincount(place, values, BINS)[there] / rows[there] for values in (confidence, right))
    return *means, rows[there]


def expected_calibration_error(confidence: "np.ndarray", right: "np.ndarray") -> float:
    """How far confidence is from the share that is right, the mean over rows in 15 bins of equal width.

    Args:
        confidence: float (rows,), from 0 to 1.
        right: bool (rows,).

    Example:
        expected_calibration_error(np.array([0.9, 0.9]), np.array([True, False]))

    Reference:
        Naeini, Cooper and Hauskrecht 2015, https://doi.org/10.1609/aaai.v29i1.9602
    """
    import numpy as np

    mean, share, rows = reliability(confidence, right)
    return float(np.average(np.abs(mean - share), weights=rows))
