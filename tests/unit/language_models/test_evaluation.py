import pytest

from tfhub_ft.language_models.evaluation import _last_replies, distinct
from tfhub_ft.language_models.packing import pack


@pytest.mark.parametrize(("size", "expected"), [(1, 3 / 5), (2, 3 / 3), (4, 0.0)])
def test_distinct_counts_ngrams_of_words(size, expected):
    assert distinct(["the good nest", "The nest"], size) == pytest.approx(expected)


def test_last_replies_keeps_only_the_targets_of_the_last_reply():
    dialogue = ([1, 2, 3, 4, 5, 6], [False, True, True, False, True, True])
    tokens = pack([dialogue, ([7, 8], [False, True])], length=8, seed=None)
    expected = [False, False, False, False, True, True, False, True]
    assert _last_replies(tokens).is_target.tolist() == expected
