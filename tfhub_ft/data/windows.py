"""Long rows as overlapping windows of token ids, and targets that stand at tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfhub_ft.data.batches import TokenRows

ROWS_AT_ONCE = 128


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
        lengths = np.diff(self.starts)[rows]
        padded = np.full((len(rows), lengths.max()), -1, "int32")
        taken = np.concatenate([np.arange(self.starts[row], self.starts[row + 1]) for row in rows])
        padded[np.arange(lengths.max()) < lengths[:, None]] = self.values[taken]
        return padded


def window_rows(preprocessor: Any, inputs: Sequence[Any], words_of: Any) -> WindowRows:
    """Cut rows into windows.

    Args:
        preprocessor: a `WindowPreprocessor`.
        inputs: what `words_of` takes, an entry a row.
        words_of: from some of the inputs to their words, string ragged (rows, words), where each starts and ends in
            the row's text, int32 ragged, and the segment that each window starts with, string (rows,), or None.

    Returns:
        All windows, row after row.
    """
    parts, row_of, words = [], [], []
    for begin in range(0, len(inputs), ROWS_AT_ONCE):
        some = inputs[begin : begin + ROWS_AT_ONCE]
        text, starts, ends, question = words_of(some)
        windows = {name: each.numpy() for name, each in preprocessor.windows(text, question).items()}
        here = windows["input_mask"].astype(bool)
        names = ("input_word_ids", "input_type_ids", "word", "starts_word")
        parts.append([*(windows[name][here] for name in names), here.sum(-1)])
        words.append([starts.flat_values.numpy(), ends.flat_values.numpy(), starts.row_lengths().numpy()])
        row_of.append(windows["row"] + begin)
    ids, types, word, starts_word, lengths = (np.concatenate(each) for each in zip(*parts, strict=True))
    word_starts, word_ends, row_words = (np.concatenate(each) for each in zip(*words, strict=True))
    return WindowRows(
        ids,
        types.astype("int8"),
        np.concatenate([[0], np.cumsum(lengths)]),
        row=np.concatenate(row_of),
        word=word,
        starts_word=starts_word,
        word_starts=word_starts,
        word_ends=word_ends,
        row_words=np.concatenate([[0], np.cumsum(row_words)]),
        inputs=inputs,
    )
