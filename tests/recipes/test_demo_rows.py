"""Demo rows are data too: enough of them, no duplicates, no leaks, no label that gives itself away."""

import re
from collections import Counter

import pytest

from tfhub_ft.data.datasets import load_dataset
from tfhub_ft.recipe import RECIPES, load_recipe


def words(text):
    return frozenset(re.findall(r"[\w']+", text.lower()))


@pytest.fixture(scope="module", params=RECIPES)
def splits(request):
    recipe = load_recipe(request.param)
    return load_dataset(recipe.task, recipe.settings, recipe.demo).splits


def test_there_are_enough_in_balance(splits):
    labels = Counter(row.values["label"] for split in splits.values() for row in split.rows)
    assert sum(labels.values()) >= 400
    assert max(labels.values()) <= 2 * min(labels.values())


def test_no_two_are_nearly_the_same(splits):
    texts = [words(row.values["text"]) for split in splits.values() for row in split.rows]
    for i, one in enumerate(texts):
        for other in texts[:i]:
            assert len(one & other) <= 0.6 * len(one | other), (sorted(one), sorted(other))


def test_no_beginning_gives_the_label_away(splits):
    starts = Counter(
        " ".join(row.values["text"].lower().split()[:2]) for split in splits.values() for row in split.rows
    )
    assert starts.most_common(1)[0][1] <= 6
