import numpy as np
import pytest

from tfhub_ft.language_models.packing import INPUTS, pack


def dialogue(start, length, targets):
    return list(range(start, start + length)), [i >= length - targets for i in range(length)]


SOME = [dialogue(100 * n, length, 2) for n, length in enumerate([5, 9, 3, 4, 7, 2], 1)]


def test_pack_fills_sequences_with_whole_dialogues():
    rows = pack(SOME, length=10, seed=3)
    assert rows.lengths.max() <= 10 and rows.lengths.sum() == 30
    assert len(rows) == 4 and len(rows.dialogue_lengths) == 6
    dialogues = []
    for start, end in zip(rows.starts[:-1], rows.starts[1:], strict=True):
        for number in range(1, rows.dialogue[start:end].max() + 1):
            mask = rows.dialogue[start:end] == number
            dialogues.append((rows.word_ids[start:end][mask].tolist(), rows.is_target[start:end][mask].tolist()))
    assert sorted(dialogues) == sorted(SOME)


def test_pack_order_follows_from_the_seed():
    same, other = (pack(SOME, length=10, seed=seed).word_ids.tolist() for seed in (3, 4))
    assert pack(SOME, length=10, seed=3).word_ids.tolist() == same != other


def test_pack_without_seed_keeps_each_dialogue_apart():
    rows = pack(SOME, length=10, seed=None)
    assert rows.lengths.tolist() == [5, 9, 3, 4, 7, 2]
    assert (rows.dialogue == 1).all()


def test_batch_is_padded_to_its_longest_sequence():
    batch = pack(SOME, length=10, seed=None).batch(np.array([2, 0]))
    token_ids, dialogues, targets = (batch[name].tolist() for name in INPUTS)
    assert token_ids == [[300, 301, 302, 0, 0], [100, 101, 102, 103, 104]]
    assert dialogues == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert targets == [[0, 1, 1, 0, 0], [0, 0, 0, 1, 1]]


@pytest.mark.parametrize("count", [1, 300])
def test_pack_handles_many_short_dialogues(count):
    rows = pack([dialogue(1, 3, 1)] * count, length=30, seed=0)
    assert len(rows) == -(-count // 10)
