"""Splits are stratified, without leaks, and the same for the same seed."""

import time
from collections import Counter

import numpy as np
import pytest

from tfhub_ft.data.splits import split_rows
from tfhub_ft.utils.errors import InputError


def distinct(count):
    return [f"text {number}" for number in range(count)]


def label_counts(part, labels):
    return Counter(labels[index] for index in part)


def test_split_rows_assigns_every_row_once():
    labels = ["a", "b", "c"] * 40
    parts = split_rows(labels, distinct(120), seed=3)
    assert sorted(index for part in parts for index in part) == list(range(120))


def test_split_rows_defaults_to_70_15_15():
    parts = split_rows(["a", "b"] * 100, distinct(200), seed=3)
    assert [len(part) for part in parts] == [140, 30, 30]


@pytest.mark.parametrize("fractions", [(0.7, 0.15, 0.15), (0.85, 0.15), (0.5, 0.3, 0.1, 0.1), (1.0,)])
def test_split_rows_keeps_label_fractions_within_one_row(fractions):
    labels = ["often"] * 613 + ["sometimes"] * 101 + ["rarely"] * 37
    parts = split_rows(labels, distinct(len(labels)), fractions=fractions, seed=11)
    assert len(parts) == len(fractions)
    for part, fraction in zip(parts, fractions, strict=True):
        for label, rows in Counter(labels).items():
            assert abs(label_counts(part, labels)[label] - fraction * rows) < 1


def test_split_rows_evens_out_rounding_over_labels():
    labels = [str(number // 10) for number in range(1000)]
    assert [len(part) for part in split_rows(labels, distinct(1000), seed=1)] == [700, 150, 150]


def test_split_rows_puts_a_three_text_label_in_every_part():
    labels = ["common"] * 50 + ["rare"] * 3
    for seed in range(20):
        for part in split_rows(labels, distinct(53), seed=seed):
            assert label_counts(part, labels)["rare"] == 1


def test_split_rows_is_deterministic_and_returns_ints():
    labels = ["a", "b"] * 50
    parts = split_rows(labels, distinct(100), seed=5)
    assert parts == split_rows(labels, distinct(100), seed=5)
    assert all(type(index) is int for part in parts for index in part)


def test_split_rows_depends_on_the_seed():
    labels = ["a", "b"] * 50
    splits = [split_rows(labels, distinct(100), seed=seed) for seed in range(10)]
    assert len({str(split) for split in splits}) == 10


def test_split_rows_shuffles_rows():
    train, *_ = split_rows([None] * 1000, distinct(1000), seed=2)
    assert 400 < np.mean(train) < 600


def test_split_rows_splits_unlabeled_rows():
    assert [len(part) for part in split_rows([None] * 100, distinct(100), seed=0)] == [70, 15, 15]


def test_split_rows_keeps_equal_texts_together():
    texts = [f"text {number % 150}" for number in range(400)]
    labels = ["a" if number % 150 % 2 else "b" for number in range(400)]
    parts = split_rows(labels, texts, seed=9)
    seen = [{texts[index] for index in part} for part in parts]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    assert [len(part) for part in parts] == pytest.approx([280, 60, 60], abs=4)


def test_split_rows_ignores_case_and_outer_white_space():
    same = ["Straße", " straße", "STRASSE\n", "\tStraße "]
    for seed in range(20):
        parts = split_rows([None] * 24, same + distinct(20), seed=seed)
        assert sum(not {0, 1, 2, 3}.isdisjoint(part) for part in parts) == 1


def test_split_rows_counts_a_text_for_its_rarer_label():
    texts = [*distinct(20), "both", "both", "rare 1", "rare 2"]
    labels = ["common"] * 20 + ["common", "rare", "rare", "rare"]
    for seed in range(20):
        parts = split_rows(labels, texts, seed=seed)
        assert all(label_counts(part, labels)["rare"] == 1 for part in parts)
        assert sum(not {20, 21}.isdisjoint(part) for part in parts) == 1


def test_split_rows_fills_every_part_despite_repeats():
    texts = ["the same"] * 100 + ["second", "third"]
    parts = split_rows([None] * 102, texts, seed=4)
    assert sorted(len(part) for part in parts) == [1, 1, 100]
    assert len(parts[0]) == 100


def test_split_rows_returns_the_same_parts_as_before():
    train, validation, test = split_rows(["a", "b", "b"] * 7, distinct(21), seed=1)
    assert list(validation) == [4, 8, 18]
    assert list(test) == [5, 9, 13]


@pytest.mark.parametrize("seed", range(5))
def test_split_rows_keeps_rare_labels_in_training(seed):
    labels = ["a"] * 20 + ["twice", "twice", "once", "same text", "same text"]
    texts = distinct(23) + ["Repeated", " repeated"]
    train, validation, test = (label_counts(part, labels) for part in split_rows(labels, texts, seed=seed))
    assert (train["twice"], validation["twice"], test["twice"]) == (1, 0, 1)
    assert (train["once"], train["same text"]) == (1, 2)


def test_split_rows_keeps_labels_that_share_texts_in_training():
    texts = distinct(9) + distinct(9) + distinct(9)
    labels = ["b"] * 9 + ["a"] * 9 + ["a"] * 9
    assert all(label_counts(part, labels).keys() == {"a", "b"} for part in split_rows(labels, texts, seed=1))


def label_lists(count, labels, most, seed):
    """Return up to `most` labels for each row; the first labels are the most frequent."""
    rng = np.random.default_rng(seed)
    drawn = (rng.geometric(0.3, rng.integers(0, most + 1)) for _ in range(count))
    return [sorted({f"label {min(number, labels)}" for number in each}) for each in drawn]


def test_split_rows_stratifies_several_labels():
    labels = label_lists(2000, 12, 4, seed=0)
    parts = split_rows(labels, distinct(2000), seed=1)
    assert [len(part) for part in parts] == pytest.approx([1400, 300, 300], abs=10)
    totals = Counter(label for row in labels for label in row)
    for part, fraction in zip(parts, (0.7, 0.15, 0.15)):
        counts = Counter(label for index in part for label in labels[index])
        for label, rows in totals.items():
            assert counts[label] == pytest.approx(fraction * rows, abs=2 + 0.02 * rows)


@pytest.mark.parametrize("seed", range(200))
def test_split_rows_trains_every_one_of_several_labels(seed):
    rng = np.random.default_rng(seed)
    labels = label_lists(30, 40, 5, seed)
    texts = [f"text {number}" for number in rng.integers(0, 25, 30)]
    parts = split_rows(labels, texts, seed=seed)
    train, *held_out = ({texts[index] for index in part} for part in parts)
    assert not any(train & part for part in held_out)
    assert not held_out[0] & held_out[1]
    assert {label for index in parts[0] for label in labels[index]} == {label for row in labels for label in row}


def test_split_rows_is_fast_with_several_labels():
    labels = label_lists(100_000, 30, 4, seed=0)
    started = time.monotonic()
    split_rows(labels, distinct(100_000), seed=1)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("labels", "texts"),
    [
        ([None] * 2, distinct(2)),
        (["a"] * 5, ["same"] * 5),
        ([f"label {number}" for number in range(9)], distinct(9)),
    ],
)
def test_split_rows_rejects_too_few_texts(labels, texts):
    with pytest.raises(InputError, match="too few rows to split: .* add rows, or pass a file for each part") as caught:
        split_rows(labels, texts, seed=1)
    assert "\n" not in str(caught.value)


def test_split_rows_rejects_empty_input():
    with pytest.raises(InputError, match="no rows"):
        split_rows([], [], seed=1)


@pytest.mark.parametrize("fractions", [(0.7, 0.2), (0.7, 0.3, 0.0), (1.2, -0.2), (70, 15, 15)])
def test_split_rows_rejects_bad_fractions(fractions):
    with pytest.raises(InputError, match="fractions"):
        split_rows(["a"] * 10, distinct(10), fractions=fractions, seed=1)


def test_split_rows_rejects_unequal_lengths():
    with pytest.raises(ValueError, match="3 labels for 4 texts"):
        split_rows(["a"] * 3, distinct(4), seed=1)


def test_split_rows_leaves_its_inputs_unchanged():
    labels, texts = ["a", "b"] * 10, distinct(20)
    split_rows(labels, texts, seed=1)
    assert labels == ["a", "b"] * 10
    assert texts == distinct(20)


def test_split_rows_is_fast_with_many_rows():
    count = 500_000
    started = time.monotonic()
    parts = split_rows([str(i % 5) for i in range(count)], [f"text {i % 450_000}" for i in range(count)], seed=1)
    assert time.monotonic() - started < 20
    assert [len(part) for part in parts] == [350_000, 75_000, 75_000]
