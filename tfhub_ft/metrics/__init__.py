"""Scores, confidence intervals, thresholds and calibration, computed from arrays."""

import math
from typing import Any

# Targets of rows without a known label: out of scope, and a label that no training row has.
OUT_OF_SCOPE, UNSEEN = -1, -2
LOWER_IS_BETTER = ("log_loss", "perplexity", "mean_absolute_error", "root_mean_squared_error")
# Scores by name: numbers, None where a score is undefined, and tables such as "per_class".
Scores = dict[str, Any]


def goodness(name: str, value: float | None) -> float:
    """Return a score as a number that is higher for a better model; undefined scores are the lowest."""
    if value is None:
        return -math.inf
    return -value if name in LOWER_IS_BETTER else value
