"""Dialogues as token ids, several of them packed into each sequence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfhub_ft.data.batches import TokenRows, row_starts, token_positions

OPEN_SEQUENCES = 64


@dataclass(frozen=True)
class PackedDialogues(TokenRows):
    """Sequences of dialogues: a sequence here is what a row is in `TokenRows`, whose `type_ids` are unused.

    Args:
        dialogue: int32 (tokens,), the dialogue that each token belongs to, counted in its sequence from 1.
        learnt: bool (tokens,), whether it is a token of a reply, which is to be predicted.
        dialogue_lengths: int64 (dialogues,), the tokens of each.
        cut: how many of them had lost their first turns.
    """

    dialogue: np.ndarray
    learnt: np.ndarray
    dialogue_lengths: np.ndarray
    cut: int = 0

    @property
    def row_lengths(self) -> np.ndarray:
        return self.dialogue_lengths

    @property
    def truncated_rows(self) -> int:
        """How many dialogues had lost their first turns."""
        return self.cut

    @property
    def signature(self) -> dict[str, Any]:
        """What a batch is, as tf.TensorSpecs by name."""
        import tensorflow as tf

        return {name: tf.TensorSpec((None, None), tf.int32) for name in ("token_ids", "dialogue", "learnt")}

    def batch(self, rows: np.ndarray, buckets: Sequence[int] = ()) -> dict[str, np.ndarray]:
        """Some sequences as a language model reads them, padded to the longest of them.

        Args:
            rows: indices, int (batch,).
            buckets: as for `TokenRows.batch`.

        Returns:
            {"token_ids", "dialogue", "learnt"}, each int32 (batch, length); all are 0 where there is no token.
        """
        mask, taken = token_positions(self.starts, rows, buckets)
        batch = {}
        for name, values in (("token_ids", self.word_ids), ("dialogue", self.dialogue), ("learnt", self.learnt)):
            batch[name] = np.zeros(mask.shape, "int32")
            batch[name][mask] = values[taken]
        return batch


def packed(dialogues: Sequence[tuple[list[int], list[bool]]], *, length: int, seed: int | None) -> PackedDialogues:
    """Pack dialogues into sequences that are as full as can be; none is cut.

    Each goes into the first of the sequences still open that has room for it.

    Args:
        dialogues: the token ids of each, and which of them are to be predicted; none is longer than `length`.
        length: the most tokens of a sequence.
        seed: of the order in which they are packed; None gives each dialogue a sequence of its own, in their order.

    Returns:
        The sequences.

    Example:
        packed([([5, 6, 7], [False, True, True])], length=512, seed=0).lengths  # [3]
    """
    alone = seed is None
    order = range(len(dialogues)) if alone else np.random.default_rng(seed).permutation(len(dialogues))
    sequences: list[list[int]] = []
    open_ones: list[tuple[list[int], int]] = []
    for number in order:
        size = len(dialogues[number][0])
        place = next((i for i, (_, room) in enumerate(open_ones) if room >= size), None)
        if place is None or alone:
            sequences.append([])
            open_ones = [(sequences[-1], length), *open_ones][:OPEN_SEQUENCES]
            place = 0
        sequence, room = open_ones[place]
        sequence.append(number)
        open_ones[place] = (sequence, room - size)
    return _laid_out(dialogues, sequences)


def _laid_out(dialogues: Sequence[tuple[list[int], list[bool]]], sequences: list[list[int]]) -> PackedDialogues:
    ordered = [number for sequence in sequences for number in sequence]
    sizes = np.array([len(dialogues[number][0]) for number in ordered])
    counted = np.concatenate([np.arange(1, len(sequence) + 1) for sequence in sequences])
    ends = np.cumsum([len(sequence) for sequence in sequences])
    word_ids = np.concatenate([np.asarray(dialogues[number][0], "int32") for number in ordered])
    return PackedDialogues(
        word_ids=word_ids,
        type_ids=np.zeros(0, "int8"),
        starts=row_starts(sizes)[np.concatenate([[0], ends])],
        dialogue=np.repeat(counted, sizes).astype("int32"),
        learnt=np.concatenate([np.asarray(dialogues[number][1], bool) for number in ordered]),
        dialogue_lengths=sizes,
    )
