"""Long rows as overlapping windows of token ids, and targets of tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.data.batches import TokenRows, row_starts, token_positions
from tfhub_ft.data.token_cache import Arrays, token_arrays

if TYPE_CHECKING:
    from tfhub_ft.encoders.window_preprocessor import WindowPreprocessor


@dataclass(frozen=True)
class WindowRows(TokenRows):
    """The windows of many rows; a window is a row of `TokenRows`.

    Args:
        row: int32 (windows,), the row of each window, ascending.
        word: int32 (tokens,), the word of each token, counted in its row; -1 for none.
        starts_word: bool (tokens,), true for each word's first token, in one window only.
        word_starts: int32 (words,), where each word starts in the text of its row, in characters.
        word_ends: int32 (words,), where each word ends.
        row_words: int64 (rows + 1,), where each row starts among all words.
        inputs: The inputs that the task returned for the rows.
    """

    row: np.ndarray
    word: np.ndarray
    starts_word: np.ndarray
    word_starts: np.ndarray
    word_ends: np.ndarray
    row_words: np.ndarray
    inputs: Sequence[Any]

    def words_of(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where each word of a row starts and ends in its text."""
        words = slice(self.row_words[row], self.row_words[row + 1])
        return self.word_starts[words], self.word_ends[words]


@dataclass(frozen=True)
class TokenTargets:
    """A target for each token of `TokenRows.word_ids`; batches are padded with -1.

    Args:
        values: int32 (tokens,).
        starts: int64 (rows + 1,), where each row starts.
    """

    values: np.ndarray
    starts: np.ndarray

    dtype = np.dtype("int32")

    @property
    def shape(self) -> tuple[int, None]:
        """The number of rows, and None: each row has as many targets as tokens."""
        return len(self.starts) - 1, None

    def max(self) -> int:
        """Return the greatest target."""
        return int(self.values.max())

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        mask, indices = token_positions(self.starts, rows)
        padded = np.full(mask.shape, -1, "int32")
        padded[mask] = self.values[indices]
        return padded


def window_rows(
    preprocessor: "WindowPreprocessor", inputs: Sequence[Any], words_of: Callable[[Any], tuple], *, kind: str
) -> WindowRows:
    """Return the windows of rows, made in parallel; those of many rows are cached on disk.

    `words_of` takes some inputs and returns their words, string ragged (rows, words), where each starts and ends in the
    text of the row, int32 ragged, and the segment that each window starts with, string (rows,), or None. `kind` is a
    name for it in the cache.
    """

    def make(begin: int, some: Sequence[Any]) -> Arrays:
        words, starts, ends, question = words_of(some)
        windows = {name: tensor.numpy() for name, tensor in preprocessor.windows(words, question).items()}
        mask = windows["input_mask"].astype(bool)
        return {
            "word_ids": windows["input_word_ids"][mask],
            "type_ids": windows["input_type_ids"][mask].astype("int8"),
            "word": windows["word"][mask],
            "starts_word": windows["starts_word"][mask],
            "lengths": mask.sum(-1),
            "row": windows["row"] + begin,
            "word_starts": starts.flat_values.numpy(),
            "word_ends": ends.flat_values.numpy(),
            "row_words": starts.row_lengths().numpy(),
        }

    arrays = token_arrays(preprocessor, inputs, make, kind=kind)
    starts, row_words = row_starts(arrays.pop("lengths")), row_starts(arrays.pop("row_words"))
    return WindowRows(**arrays, starts=starts, row_words=row_words, inputs=inputs)
