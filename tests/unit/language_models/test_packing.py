import numpy as np
import pytest

from tfhub_ft.language_models.packing import packed


def dialogue(start, length, learnt):
    return list(range(start, start + length)), [place >= length - learnt for place in range(length)]


SOME = [dialogue(100 * n, length, 2) for n, length in enumerate([5, 9, 3, 4, 7, 2], 1)]


def test_sequences_are_as_full_as_can_be_and_no_dialogue_is_cut():
    rows = packed(SOME, length=10, seed=3)
    assert rows.lengths.max() <= 10 and rows.lengths.sum() == 30
    assert len(rows) == 4 and len(rows.dialogue_lengths) == 6
    found = []
    for start, end in zip(rows.starts[:-1], rows.starts[1:], strict=True):
        for number in range(1, rows.dialogue[start:end].max() + 1):
            mine = rows.dialogue[start:end] == number
            found.append((rows.word_ids[start:end][mine].tolist(), rows.learnt[start:end][mine].tolist()))
    assert sorted(found) == sorted(SOME)


def test_the_order_follows_from_the_seed():
    same, other = (packed(SOME, length=10, seed=seed).word_ids.tolist() for seed in (3, 4))
    assert packed(SOME, length=10, seed=3).word_ids.tolist() == same != other


def test_without_a_seed_each_dialogue_stands_alone_in_its_place():
    rows = packed(SOME, length=10, seed=None)
    assert rows.lengths.tolist() == [5, 9, 3, 4, 7, 2]
    assert (rows.dialogue == 1).all()


def test_a_batch_is_padded_to_its_longest_sequence():
    batch = packed(SOME, length=10, seed=None).batch(np.array([2, 0]))
    assert batch["token_ids"].tolist() == [[300, 301, 302, 0, 0], [100, 101, 102, 103, 104]]
    assert batch["dialogue"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch["learnt"].tolist() == [[0, 1, 1, 0, 0], [0, 0, 0, 1, 1]]


@pytest.mark.parametrize("count", [1, 300])
def test_many_short_dialogues(count):
    rows = packed([dialogue(1, 3, 1)] * count, length=30, seed=0)
    assert len(rows) == -(-count // 10)
