import warnings

import pytest

from tfhub_ft.training.trainer import ignore_unused_pooler


@pytest.mark.parametrize(
    ("names", "count"),
    [("'pooler_transform/kernel', 'pooler_transform/bias'", 0), ("'pooler_transform/kernel', 'logits/bias'", 1)],
)
def test_ignore_unused_pooler_keeps_other_warnings(names, count):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with ignore_unused_pooler():
            warnings.warn(f"Gradients do not exist for variables [{names}]", UserWarning, stacklevel=1)
    assert len(caught) == count
