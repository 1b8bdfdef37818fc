"""The demo rows: enough of them, balanced, no near duplicates, and no text beginning that predicts a label."""

import re
from collections import Counter

import pytest

from tfhub_ft.data.datasets import load_dataset
from tfhub_ft.recipe import RECIPES, load_recipe

EVEN = ("sentiment", "phishing", "topic", "pair")


def test_similarity_scores_cover_their_range():
    recipe = load_recipe("similarity")
    splits = load_dataset(recipe.task, recipe.settings, recipe.demo).splits
    scores = [row.values["score"] for split in splits.values() for row in split.rows]
    assert (min(scores), max(scores)) == (0, 5)
    assert min(Counter(min(int(score), 4) for score in scores).values()) >= len(scores) / 10
    assert max(Counter(scores).values()) < len(scores) / 10


def words(text):
    return frozenset(re.findall(r"[\w']+", text.lower()))


@pytest.fixture(scope="module", params=RECIPES)
def recipe(request):
    return load_recipe(request.param)


@pytest.fixture(scope="module")
def rows(recipe):
    splits = load_dataset(recipe.task, recipe.settings, recipe.demo).splits
    return [row for split in splits.values() for row in split.rows]


def test_demo_rows_are_enough(recipe, rows):
    assert len(rows) >= (400 if recipe.name == "sentiment" else 150)


@pytest.mark.parametrize("name", EVEN)
def test_demo_labels_are_balanced(name):
    recipe = load_recipe(name)
    splits = load_dataset(recipe.task, recipe.settings, recipe.demo).splits
    labels = Counter(row.values["label"] for split in splits.values() for row in split.rows)
    assert max(labels.values()) <= 2 * min(labels.values())


def test_demo_rows_have_no_near_duplicates(recipe, rows):
    # A pair may share one text with another pair, as premises do; not both.
    texts = [[words(text) for text in recipe.task.training_inputs(row)] for row in rows]
    for i, one in enumerate(texts):
        for other in texts[:i]:
            assert not all(map(near, one, other)), (one, other)


def near(one, other):
    return len(one & other) > 0.6 * len(one | other)


def test_demo_texts_do_not_begin_with_their_label(recipe, rows):
    if "label" not in rows[0].values or len(recipe.task.fields) > 1:
        return
    starts = {}
    for row in rows:
        beginning = " ".join(recipe.task.training_inputs(row)[0].lower().split()[:2])
        starts.setdefault(beginning, []).append(row.values["label"])
    assert not [start for start, labels in starts.items() if len(labels) > 6 and len(set(labels)) == 1]
