import numpy as np
import pytest

from tfhub_ft.evaluation.compare_runs import mcnemar


def test_mcnemar_is_the_exact_test():
    one, other = np.array([True] * 8 + [False] * 2), np.array([False] * 8 + [True] + [False])
    assert mcnemar(one, other) == {
        "only_one_right": 8, "only_other_right": 1, "p_value": pytest.approx(2 * (1 + 9) / 2**9),
    }  # fmt: skip
