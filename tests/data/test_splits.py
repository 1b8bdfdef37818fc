"""Splits: stratified, without leaks, the same for the same seed."""

import time
from collections import Counter

import numpy as np
import pytest

from tfhub_ft.data.splits import split_rows
from tfhub_ft.errors import InputError


def distinct(count):
    return [f"text {number}" for number in range(count)]


def label_counts(part, labels):
    return Counter(labels[index] for index in part)


def test_every_row_is_in_one_part():
    labels = ["a", "b", "c"] * 40
    parts = split_rows(labels, distinct(120), seed=3)
    assert sorted(index for part in parts for index in part) == list(range(120))


def test_the_default_is_70_15_15():
    parts = split_rows(["a", "b"] * 100, distinct(200), seed=3)
    assert [len(part) for part in parts] == [140, 30, 30]


@pytest.mark.parametrize("fractions", [(0.7, 0.15, 0.15), (0.85, 0.15), (0.5, 0.3, 0.1, 0.1), (1.0,)])
def test_each_part_has_its_fraction_of_each_label_to_within_one_row(fractions):
    labels = ["often"] * 613 + ["sometimes"] * 101 + ["seldom"] * 37
    parts = split_rows(labels, distinct(len(labels)), fractions=fractions, seed=11)
    assert len(parts) == len(fractions)
    for part, fraction in zip(parts, fractions, strict=True):
        for label, rows in Counter(labels).items():
            assert abs(label_counts(part, labels)[label] - fraction * rows) < 1


def test_rounding_evens_out_over_many_small_labels():
    labels = [str(number // 10) for number in range(1000)]
    assert [len(part) for part in split_rows(labels, distinct(1000), seed=1)] == [700, 150, 150]


def test_a_label_with_as_few_texts_as_parts_is_in_every_part():
    labels = ["common"] * 50 + ["rare"] * 3
    for seed in range(20):
        for part in split_rows(labels, distinct(53), seed=seed):
            assert label_counts(part, labels)["rare"] == 1


def test_the_same_seed_gives_the_same_parts_and_plain_integers():
    labels = ["a", "b"] * 50
    parts = split_rows(labels, distinct(100), seed=5)
    assert parts == split_rows(labels, distinct(100), seed=5)
    assert all(type(index) is int for part in parts for index in part)


def test_another_seed_gives_other_parts():
    labels = ["a", "b"] * 50
    splits = [split_rows(labels, distinct(100), seed=seed) for seed in range(10)]
    assert len({str(split) for split in splits}) == 10


def test_parts_do_not_follow_the_order_of_the_rows():
    train, *_ = split_rows([None] * 1000, distinct(1000), seed=2)
    assert 400 < np.mean(train) < 600


def test_rows_without_labels_are_one_class():
    assert [len(part) for part in split_rows([None] * 100, distinct(100), seed=0)] == [70, 15, 15]


def test_rows_with_the_same_text_land_in_the_same_part():
    texts = [f"text {number % 150}" for number in range(400)]
    labels = ["a" if number % 150 % 2 else "b" for number in range(400)]
    parts = split_rows(labels, texts, seed=9)
    seen = [{texts[index] for index in part} for part in parts]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    assert [len(part) for part in parts] == pytest.approx([280, 60, 60], abs=4)


def test_case_and_white_space_around_a_text_do_not_make_it_another():
    same = ["Straße", " straße", "STRASSE\n", "\tStraße "]
    for seed in range(20):
        parts = split_rows([None] * 24, same + distinct(20), seed=seed)
        assert sum(not {0, 1, 2, 3}.isdisjoint(part) for part in parts) == 1


def test_a_text_with_two_labels_counts_for_the_rarer_one():
    texts = [*distinct(20), "both", "both", "rare 1", "rare 2"]
    labels = ["common"] * 20 + ["common", "rare", "rare", "rare"]
    for seed in range(20):
        parts = split_rows(labels, texts, seed=seed)
        assert all(label_counts(part, labels)["rare"] == 1 for part in parts)
        assert sum(not {20, 21}.isdisjoint(part) for part in parts) == 1


def test_one_text_that_is_most_of_the_rows_leaves_no_part_empty():
    texts = ["the same"] * 100 + ["second", "third"]
    parts = split_rows([None] * 102, texts, seed=4)
    assert sorted(len(part) for part in parts) == [1, 1, 100]
    assert len(parts[0]) == 100


@pytest.mark.parametrize(
    ("labels", "texts", "message"),
    [
        (["a"] * 10 + ["rare"] * 2, distinct(12), "label 'rare' has 2 rows with 2 distinct texts"),
        (["a"] * 10 + ["rare"], distinct(11), "label 'rare' has 1 row with 1 distinct text of its own"),
        (["a"] * 10 + ["rare"] * 5, distinct(11) + ["Text 10"] * 4, "label 'rare' has 5 rows with 1 distinct text"),
        ([None] * 2, distinct(2), "the data has 2 rows"),
    ],
)
def test_a_label_with_fewer_texts_than_parts_is_an_error(labels, texts, message):
    with pytest.raises(InputError, match=message) as caught:
        split_rows(labels, texts, seed=1)
    assert "a split into 3 parts needs 3" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_label_that_only_shares_texts_with_rarer_ones_is_an_error():
    texts = distinct(9) + distinct(9) + distinct(9)
    labels = ["b"] * 9 + ["a"] * 9 + ["a"] * 9
    with pytest.raises(InputError, match="label 'a' has 18 rows with 0 distinct texts of its own"):
        split_rows(labels, texts, seed=1)


def test_no_rows_are_an_error():
    with pytest.raises(InputError, match="no rows"):
        split_rows([], [], seed=1)


@pytest.mark.parametrize("fractions", [(0.7, 0.2), (0.7, 0.3, 0.0), (1.2, -0.2), (70, 15, 15)])
def test_fractions_that_are_no_whole_are_an_error(fractions):
    with pytest.raises(InputError, match="fractions"):
        split_rows(["a"] * 10, distinct(10), fractions=fractions, seed=1)


def test_labels_and_texts_of_different_lengths_are_a_bug_of_the_caller():
    with pytest.raises(ValueError, match="3 labels for 4 texts"):
        split_rows(["a"] * 3, distinct(4), seed=1)


def test_the_callers_sequences_are_left_as_they_are():
    labels, texts = ["a", "b"] * 10, distinct(20)
    split_rows(labels, texts, seed=1)
    assert labels == ["a", "b"] * 10
    assert texts == distinct(20)


def test_half_a_million_rows_take_seconds():
    count = 500_000
    started = time.monotonic()
    parts = split_rows([str(i % 5) for i in range(count)], [f"text {i % 450_000}" for i in range(count)], seed=1)
    assert time.monotonic() - started < 20
    assert [len(part) for part in parts] == [350_000, 75_000, 75_000]
