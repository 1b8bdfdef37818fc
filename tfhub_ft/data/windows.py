"""Long rows as overlapping windows of token ids, and targets that stand at tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfhub_ft.data.batches import TokenRows, places_of, starts_of
from tfhub_ft.data.token_cache import token_arrays


@dataclass(frozen=True)
class WindowRows(TokenRows):
    """The windows of many rows: a window here is what a row is in `TokenRows`.

    Args:
        row: int32 (windows,), the row that each window comes from, ascending.
        word: int32 (tokens,), the word that each token belongs to, counted in its row; -1 for none.
        starts_word: bool (tokens,), true for each word's first token, in one window only.
        word_starts: int32 (words,), where each word starts in its row's text, in characters.
        word_ends: int32 (words,), where each word ends.
        row_words: int64 (rows + 1,), where each row starts among all words.
        inputs: what the rows were made of, as the task gave it.
    """

    row: np.ndarray
    word: np.ndarray
    starts_word: np.ndarray
    word_starts: np.ndarray
    word_ends: np.ndarray
    row_words: np.ndarray
    inputs: Sequence[Any]

    def words_of(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Where each word of a row starts and ends in its text."""
        words = slice(self.row_words[row], self.row_words[row + 1])
        return self.word_starts[words], self.word_ends[words]


@dataclass(frozen=True)
class TokenTargets:
    """A target for each token, in the order of `TokenRows.word_ids`; batches of them are padded with -1.

    Args:
        values: int32 (tokens,).
        starts: int64 (rows + 1,), where each row starts.
    """

    values: np.ndarray
    starts: np.ndarray

    dtype = np.dtype("int32")

    @property
    def shape(self) -> tuple[int, None]:
        """The rows, and None: each has as many targets as tokens."""
        return len(self.starts) - 1, None

    def max(self) -> int:
        """The greatest target."""
        return int(self.values.max())

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        mask, taken = places_of(self.starts, rows)
        padded = np.full(mask.shape, -1, "int32")
        padded[mask] = self.values[taken]
        return padded


def window_rows(preprocessor: Any, inputs: Sequence[Any], words_of: Any, *, kind: str) -> WindowRows:
    """Cut rows into windows, in parallel; the tokens of many rows are kept in the cache on disk.

    Args:
        preprocessor: a `WindowPreprocessor`.
        inputs: what `words_of` takes, an entry a row.
        words_of: from some of the inputs to their words, string ragged (rows, words), where each starts and ends in
            the row's text, int32 ragged, and the segment that each window starts with, string (rows,), or None.
        kind: a name for what `words_of` does, by which the cache tells its rows from others.

    Returns:
        All windows, row after row.
    """

    def make(begin: int, some: Sequence[Any]) -> dict[str, np.ndarray]:
        text, starts, ends, question = words_of(some)
        windows = {name: each.numpy() for name, each in preprocessor.windows(text, question).items()}
        here = windows["input_mask"].astype(bool)
        return {
            "word_ids": windows["input_word_ids"][here],
            "type_ids": windows["input_type_ids"][here].astype("int8"),
            "word": windows["word"][here],
            "starts_word": windows["starts_word"][here],
            "lengths": here.sum(-1),
            "row": windows["row"] + begin,
            "word_starts": starts.flat_values.numpy(),
            "word_ends": ends.flat_values.numpy(),
            "row_words": starts.row_lengths().numpy(),
        }

    arrays = token_arrays(preprocessor, inputs, make, kind=kind)
    starts, row_words = starts_of(arrays.pop("lengths")), starts_of(arrays.pop("row_words"))
    return WindowRows(**arrays, starts=starts, row_words=row_words, inputs=inputs)
