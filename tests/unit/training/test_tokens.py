import numpy as np
import pytest

from tfhub_ft.data.batches import TokenRows
from tfhub_ft.settings import TextSettings
from tfhub_ft.training.tokens import reach_min_steps

# 40 rows of 3 tokens each.
TOKENS = TokenRows(np.ones(120, "int32"), np.zeros(120, "int8"), 3 * np.arange(41))


@pytest.mark.parametrize(
    ("settings", "given", "expected"),
    [
        ({"min_steps": 20}, (), (10, 7)),
        ({"min_steps": 20}, ("patience",), (10, 2)),
        ({"min_steps": 20, "patience": 0}, (), (10, 0)),
        ({"min_steps": 20}, ("epochs",), (3, 2)),
        ({"min_steps": 6}, (), (3, 2)),
        ({"min_steps": 20, "batch_tokens": 24, "seq_length": 8}, (), (4, 3)),
    ],
)
def test_reach_min_steps_raises_epochs_and_patience(settings, given, expected):
    settings = TextSettings(**{"epochs": 3, "patience": 2, "batch_size": 20, **settings})
    reached = reach_min_steps(settings, TOKENS, given)
    assert (reached.epochs, reached.patience) == expected
