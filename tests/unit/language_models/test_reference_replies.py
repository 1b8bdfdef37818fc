import numpy as np
import pytest

from tfhub_ft.language_models.generation import Sampling
from tfhub_ft.language_models.reference_replies import generate_feed, perplexity, same_words


def test_generate_feed_repeats_the_options_for_each_prompt():
    feed = generate_feed(["a", "b"], Sampling(temperature=0.5, seed=3, max_tokens=7))
    assert {name: column.tolist() for name, column in feed.items()} == {
        "prompt": ["a", "b"], "max_tokens": [7, 7], "temperature": [0.5, 0.5], "top_p": [1.0, 1.0], "seed": [3, 3],
    }  # fmt: skip
    assert (feed["max_tokens"].dtype, feed["top_p"].dtype) == ("int32", "float32")


def test_perplexity_weighs_rows_by_their_tokens():
    log_likelihoods, tokens = np.array([-1.0, -5.0]), np.array([1, 3])
    assert perplexity(log_likelihoods, tokens) == pytest.approx(np.exp(6 / 4))


@pytest.mark.parametrize(
    ("expected", "actual", "share"),
    [(["a b c"], ["a b d"], 2 / 3), (["a b", "c"], ["a b e", "d"], 2 / 3), ([""], ["a"], 0.0)],
)
def test_same_words_stops_at_the_first_different_word(expected, actual, share):
    assert same_words(expected, actual) == pytest.approx(share)
