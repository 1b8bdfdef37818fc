"""Pack the token ids of several dialogues into each sequence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfhub_ft.data.batches import TokenRows, row_starts, token_positions

if TYPE_CHECKING:
    import tensorflow as tf

# Token ids, dialogue numbers and targets, by the names of the inputs of saved models.
INPUTS = ("token_ids", "dialogue", "learnt")
OPEN_SEQUENCES = 64
# Token ids, and whether each of them is a target.
Tokens = tuple[list[int], list[bool]]


@dataclass(frozen=True)
class PackedDialogues(TokenRows):
    """Sequences of dialogues; `type_ids` are unused.

    Args:
        dialogue: int32 (tokens,), the number of each token's dialogue in its sequence, from 1.
        is_target: bool (tokens,), whether the token is predicted: a token of a reply.
        dialogue_lengths: int64 (dialogues,), the number of tokens of each dialogue.
        truncated_dialogues: How many dialogues lost their first turns.
    """

    dialogue: np.ndarray
    is_target: np.ndarray
    dialogue_lengths: np.ndarray
    truncated_dialogues: int = 0

    @property
    def row_lengths(self) -> np.ndarray:
        return self.dialogue_lengths

    @property
    def truncated_rows(self) -> int:
        return self.truncated_dialogues

    @property
    def signature(self) -> "dict[str, tf.TensorSpec]":
        import tensorflow as tf

        return {name: tf.TensorSpec((None, None), tf.int32) for name in INPUTS}

    def batch(self, rows: np.ndarray, buckets: Sequence[int] = ()) -> dict[str, np.ndarray]:
        """Return sequences as `INPUTS`, int32 (batch, length), padded with 0 to the longest."""
        mask, token_indices = token_positions(self.starts, rows, buckets)
        batch = {}
        for name, values in zip(INPUTS, (self.word_ids, self.dialogue, self.is_target), strict=True):
            batch[name] = np.zeros(mask.shape, "int32")
            batch[name][mask] = values[token_indices]
        return batch


def pack(dialogues: Sequence[Tokens], *, length: int, seed: int | None, truncated: int = 0) -> PackedDialogues:
    """Pack whole dialogues of at most `length` tokens into sequences, each into the first open one with enough room.

    `seed` determines the order of packing; None keeps the order and packs one dialogue into each sequence.
    `truncated` is the number of dialogues that lost their first turns.
    """
    order = range(len(dialogues)) if seed is None else np.random.default_rng(seed).permutation(len(dialogues))
    sequences: list[list[int]] = []
    open_sequences: list[tuple[list[int], int]] = []
    for number in order:
        size = len(dialogues[number][0])
        place = next((i for i, (_, room) in enumerate(open_sequences) if room >= size), None)
        if place is None or seed is None:
            sequences.append([])
            open_sequences = [(sequences[-1], length), *open_sequences][:OPEN_SEQUENCES]
            place = 0
        sequence, room = open_sequences[place]
        sequence.append(number)
        open_sequences[place] = (sequence, room - size)
    packed = [dialogues[number] for sequence in sequences for number in sequence]
    sizes = np.array([len(ids) for ids, _ in packed])
    numbers = np.concatenate([np.arange(1, len(sequence) + 1) for sequence in sequences])
    ends = np.cumsum([len(sequence) for sequence in sequences])
    return PackedDialogues(
        word_ids=np.concatenate([np.asarray(ids, "int32") for ids, _ in packed]),
        type_ids=np.zeros(0, "int8"),
        starts=row_starts(sizes)[np.concatenate([[0], ends])],
        dialogue=np.repeat(numbers, sizes).astype("int32"),
        is_target=np.concatenate([np.asarray(targets, bool) for _, targets in packed]),
        dialogue_lengths=sizes,
        truncated_dialogues=truncated,
    )
