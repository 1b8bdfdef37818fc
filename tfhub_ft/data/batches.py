"""Token ids of many rows, and batches of rows of similar length."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.data.token_cache import Arrays, token_arrays
from tfhub_ft.encoders.packing import TOKEN_INPUTS

if TYPE_CHECKING:
    import tensorflow as tf

    from tfhub_ft.encoders import HubPreprocessor

POOL_BATCHES = 50
TEXTS_AT_ONCE, CHARACTERS_AT_ONCE = 64, 2**17
WORDS_AT_ONCE = 2**20

# An array or a `TokenTargets` with an entry per row, or a dictionary of these.
Targets = Any


@dataclass(frozen=True)
class TokenRows:
    """The token ids of many rows, without padding.

    Args:
        word_ids: int32 (tokens,), the rows one after the other.
        type_ids: int8 (tokens,), the segment of each token.
        starts: int64 (rows + 1,), where each row starts.
        truncated: bool (rows,), whether a row had more tokens than the sequence length; None if nothing is truncated.
    """

    word_ids: np.ndarray
    type_ids: np.ndarray
    starts: np.ndarray
    truncated: np.ndarray | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 (rows,)."""
        return np.diff(self.starts)

    @property
    def row_lengths(self) -> np.ndarray:
        """Tokens of each row of the data, several of which may share a row of tokens, int64 (rows,)."""
        return self.lengths

    @property
    def padded_lengths(self) -> np.ndarray:
        """Tokens of each row in a batch, including the padding that it needs in any batch, int64 (rows,)."""
        return self.lengths

    @property
    def has_long_rows(self) -> bool:
        """Whether batches of long rows have fewer rows, so that they take no more memory."""
        return False

    def most_rows(self, batch_size: int, length: int) -> int:
        """Return the maximum number of rows, padded to a length, in a batch of `batch_size` rows."""
        return batch_size

    @property
    def truncated_rows(self) -> int:
        """The number of truncated rows."""
        return 0 if self.truncated is None else int(self.truncated.sum())

    @property
    def windows(self) -> int | None:
        """The number of windows that rows are read in; None if rows are read whole."""
        return None

    @property
    def signature(self) -> "Mapping[str, tf.TensorSpec] | tf.TensorSpec":
        """The tf.TensorSpecs of a batch."""
        import tensorflow as tf

        return {name: tf.TensorSpec((None, None), tf.int32) for name in TOKEN_INPUTS}

    def batch(self, rows: np.ndarray, buckets: Sequence[int] = ()) -> dict[str, np.ndarray]:
        """Return a batch of rows as an encoder reads it: "input_word_ids", "input_mask" and "input_type_ids".

        Each is int32 (batch, length), padded to the longest row or, with buckets, to the next of these lengths.
        """
        mask, indices = token_positions(self.starts, rows, buckets)
        word_ids, type_ids = np.zeros(mask.shape, "int32"), np.zeros(mask.shape, "int32")
        word_ids[mask], type_ids[mask] = self.word_ids[indices], self.type_ids[indices]
        return {"input_word_ids": word_ids, "input_mask": mask.astype("int32"), "input_type_ids": type_ids}

    def subset(self, rows: np.ndarray) -> "TokenRows":
        """Return the rows of some indices, int (rows,), in their order."""
        _, indices = token_positions(self.starts, rows)
        truncated = None if self.truncated is None else self.truncated[rows]
        starts = row_starts(self.lengths[rows])
        return TokenRows(self.word_ids[indices], self.type_ids[indices], starts, truncated=truncated)

    def by_length(self, batch_size: int) -> Iterator[np.ndarray]:
        """Yield the indices of all rows, in batches from the longest row to the shortest."""
        lengths, start = self.padded_lengths, 0
        order = np.argsort(-lengths, kind="stable")
        while start < len(order):
            size = self.most_rows(batch_size, int(lengths[order[start]]))
            yield order[start : start + size]
            start += size


@dataclass(frozen=True)
class StackedWindows(TokenRows):
    """Rows of one or several windows each, as a `RowWindowPreprocessor` returns them.

    In a batch, each row has as many windows as the one with the most, and all windows are padded to `seq_length` if
    there are several.

    Args:
        window_starts: int64 (windows + 1,), where each window starts among the tokens.
        row_windows: int64 (rows + 1,), where each row starts among the windows.
        seq_length: Maximum length of a window.
    """

    window_starts: np.ndarray
    row_windows: np.ndarray
    seq_length: int

    @classmethod
    def of(
        cls, arrays: Arrays, *, window_lengths: np.ndarray, row_windows: np.ndarray, seq_length: int
    ) -> "StackedWindows":
        """Return the rows of "word_ids", "type_ids" and "truncated", given the lengths of their windows."""
        window_starts = row_starts(window_lengths)
        return cls(
            **arrays,
            starts=window_starts[row_windows],
            window_starts=window_starts,
            row_windows=row_windows,
            seq_length=seq_length,
        )

    @property
    def padded_lengths(self) -> np.ndarray:
        """Tokens of each row with those that pad its windows to `seq_length` if there are several, int64 (rows,)."""
        windows = np.diff(self.row_windows)
        return np.where(windows > 1, windows * self.seq_length, self.lengths)

    @property
    def has_long_rows(self) -> bool:
        """Whether a row has several windows."""
        return len(self.window_starts) > len(self.row_windows)

    def most_rows(self, batch_size: int, length: int) -> int:
        """Return how many rows have at most the tokens of `batch_size` rows of one window; at least one."""
        return max(1, min(batch_size, batch_size * self.seq_length // max(length, 1)))

    @property
    def windows(self) -> int:
        """The number of windows of all rows."""
        return len(self.window_starts) - 1

    @property
    def signature(self) -> "Mapping[str, tf.TensorSpec]":
        """The tf.TensorSpecs of a batch, of shape (batch, windows, length)."""
        import tensorflow as tf

        return {name: tf.TensorSpec((None, None, None), tf.int32) for name in TOKEN_INPUTS}

    def batch(self, rows: np.ndarray, buckets: Sequence[int] = ()) -> dict[str, np.ndarray]:
        """Return a batch of rows, int32 (batch, windows, length), padded as `padded_lengths` counts it."""
        length = _padded_length(int(self.padded_lengths[rows].max(initial=0)), buckets)
        is_window, windows = token_positions(self.row_windows, rows, (max(1, -(-length // self.seq_length)),))
        mask, indices = token_positions(self.window_starts, windows, (min(length, self.seq_length),))
        batch = {}
        for name, values in (("input_word_ids", self.word_ids), ("input_type_ids", self.type_ids)):
            by_window = np.zeros(mask.shape, "int32")
            by_window[mask] = values[indices]
            batch[name] = np.zeros((*is_window.shape, mask.shape[1]), "int32")
            batch[name][is_window] = by_window
        batch["input_mask"] = np.zeros((*is_window.shape, mask.shape[1]), "int32")
        batch["input_mask"][is_window] = mask
        return batch

    def subset(self, rows: np.ndarray) -> "StackedWindows":
        """Return the rows of some indices, int (rows,), in their order."""
        _, windows = token_positions(self.row_windows, rows)
        _, indices = token_positions(self.starts, rows)
        truncated = None if self.truncated is None else self.truncated[rows]
        arrays = {"word_ids": self.word_ids[indices], "type_ids": self.type_ids[indices], "truncated": truncated}
        return StackedWindows.of(
            arrays,  # pyright: ignore[reportArgumentType]
            window_lengths=np.diff(self.window_starts)[windows],
            row_windows=row_starts(np.diff(self.row_windows)[rows]),
            seq_length=self.seq_length,
        )


def tokenize(preprocessor: "HubPreprocessor", inputs: Sequence[tuple[str, ...]]) -> TokenRows:
    """Return the token ids of rows of one or two segments, as the preprocessor truncates them or splits them.

    Rows are tokenized in parallel. The tokens of many rows are cached on disk.
    """
    import tensorflow as tf

    def make(_: int, some: Sequence[tuple[str, ...]]) -> Arrays:
        columns = [tf.constant(column) for column in zip(*some, strict=True)]
        tensors = preprocessor.without_padding(columns)
        names = ("word_ids", "type_ids", "lengths", "truncated", "window_lengths", "windows")
        return dict(zip(names, (tensor.numpy() for tensor in tensors), strict=False))

    arrays = token_arrays(preprocessor, inputs, make, kind="rows")
    starts = row_starts(arrays.pop("lengths"))
    if "windows" not in arrays:
        return TokenRows(starts=starts, **arrays)
    windows = {"window_lengths": arrays.pop("window_lengths"), "row_windows": row_starts(arrays.pop("windows"))}
    return StackedWindows.of(arrays, **windows, seq_length=preprocessor.seq_length)


def used_token_ids(token_rows: Iterable[TokenRows], vocabulary_size: int) -> np.ndarray:
    """Return the token ids of rows, and the padding id 0, int (ids,), ascending."""
    is_used = np.zeros(vocabulary_size, bool)
    is_used[0] = True
    for tokens in token_rows:
        for start in range(0, len(tokens.word_ids), WORDS_AT_ONCE):
            is_used[tokens.word_ids[start : start + WORDS_AT_ONCE]] = True
    return np.flatnonzero(is_used)


def row_starts(lengths: np.ndarray) -> np.ndarray:
    """Return where each row starts, and where the last one ends, int64 (rows + 1,)."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def token_positions(starts: np.ndarray, rows: np.ndarray, buckets: Sequence[int] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Return which positions of a batch of rows have a token, bool (batch, length), and the index of each token."""
    lengths = starts[rows + 1] - starts[rows]
    columns = np.arange(_padded_length(lengths.max(initial=0), buckets))
    mask = columns < lengths[:, None]
    return mask, (starts[rows][:, None] + columns)[mask]


def length_buckets(lengths: np.ndarray, most: int) -> list[int]:
    """Return up to nine lengths to pad batches to, ascending, so that a compiler sees few shapes.

    They are multiples of 8, except for `most`, the sequence length; each has about an eighth of the rows. Rows of
    several windows are longer than `most`, and are padded to whole windows.
    """
    ends = np.quantile(lengths, np.arange(1, 9) / 8)
    ends = np.append(ends, [most, max(lengths.max(), most)])
    buckets = np.where(ends > most, np.ceil(ends / most) * most, np.minimum(np.ceil(ends / 8) * 8, most))
    return np.unique(buckets).astype(int).tolist()


class TrainingBatches:
    """Batches for `fit`, in an order that depends only on the seed and the epoch.

    A batch has rows of similar length: the rows are shuffled, divided into pools of 50 batches, sorted within a pool
    and divided into batches, which are shuffled again. With `batch_tokens`, or rows of several windows, there is one
    pool, so that all epochs have the same number of batches. The largest batch is the first: if memory is too small
    this shows at once.

    Args:
        tokens: The rows.
        targets: An array with an entry per row, or a dictionary of such arrays.
        weights: The weight of each row in the loss, float32 (rows,); None for equal weights.
        batch_size: Rows of a batch; the last one may be smaller.
        seed: The seed of the order.
        batch_tokens: If not 0, the maximum number of tokens of a batch, with padding, instead of `batch_size`. A longer
            row is a batch by itself.
        buckets: Lengths, ascending; batches are padded to the next one. The last batch then repeats its rows, so that
            all batches of a length have the same shape.
    """

    def __init__(
        self,
        tokens: TokenRows,
        targets: Targets,
        *,
        weights: np.ndarray | None = None,
        batch_size: int,
        seed: int,
        batch_tokens: int = 0,
        buckets: Sequence[int] = (),
    ):
        self.tokens, self.targets, self.batch_size, self.seed = tokens, targets, batch_size, seed
        # Of tokens, each target has the weight of its row.
        self.weights = weights[:, None] if weights is not None and _are_per_token(targets) else weights
        self.batch_tokens, self.buckets = batch_tokens, buckets
        self.epoch = 0

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        return len(self.order()) if self._sizes_differ else -(-len(self.tokens) // self.batch_size)

    @property
    def _sizes_differ(self) -> bool:
        return bool(self.batch_tokens) or self.tokens.has_long_rows

    def order(self) -> list[np.ndarray]:
        """Return the batches of the current epoch as indices of rows."""
        rng = np.random.default_rng((self.seed, self.epoch))
        shuffled = rng.permutation(len(self.tokens))
        lengths, batches = self.tokens.padded_lengths, []
        pool_rows = len(shuffled) if self._sizes_differ else self.batch_size * POOL_BATCHES
        for start in range(0, len(shuffled), pool_rows):
            pool = shuffled[start : start + pool_rows]
            pool = pool[np.argsort(-lengths[pool], kind="stable")]
            batches += self._divide(pool, lengths[pool])
        rng.shuffle(batches)
        largest = max(range(len(batches)), key=lambda number: lengths[batches[number]].max() * len(batches[number]))
        batches[0], batches[largest] = batches[largest], batches[0]
        return batches

    def _divide(self, rows: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the batches of rows that are sorted by length, longest first."""
        start = 0
        while start < len(rows):
            length = _padded_length(lengths[start], self.buckets)
            size = self.tokens.most_rows(self.batch_size, length)
            if self.batch_tokens:
                size = max(1, self.batch_tokens // length)
            batch = rows[start : start + size]
            yield np.resize(batch, size) if self.buckets else batch
            start += size

    def some(self) -> tuple[dict[str, np.ndarray], Targets]:
        """Return the tokens and targets of a small batch."""
        rows = np.arange(min(2, len(self.tokens)))
        length = _padded_length(self.tokens.padded_lengths[rows].max(), self.buckets)
        return _batch(self.tokens, self.targets, rows, length)

    def dataset(self, skip: int = 0, parts: range = range(1), of: int = 1) -> "tf.data.Dataset":
        """Return the batches of the current epoch without the first `skip` ones; each iteration reads `epoch` again.

        Each batch is divided into `of` parts, which may be empty; `parts` are returned, one after the other. The
        dataset is of (tokens, targets, {"share": of the rows of the batch in the part, "rows": their number}), with the
        rows' "weights" if there are some.
        """
        import tensorflow as tf

        tokens, targets, weights, lengths = self.tokens, self.targets, self.weights, self.tokens.padded_lengths

        def batches() -> Iterator[tuple]:
            for rows in self.order()[skip:]:
                length = _padded_length(lengths[rows].max(), self.buckets)
                for part in parts:
                    part_rows = rows[part::of]
                    share = _share(targets, part_rows, rows) if of > 1 else 1.0
                    counts: dict[str, Any] = {"share": np.float32(share), "rows": np.float32(share * len(rows))}
                    if weights is not None:
                        counts["weights"] = weights[part_rows]
                    yield *_batch(tokens, targets, part_rows, length), counts

        counts_signature = {"share": tf.TensorSpec((), tf.float32), "rows": tf.TensorSpec((), tf.float32)}
        if weights is not None:
            counts_signature["weights"] = tf.TensorSpec((None, *weights.shape[1:]), tf.float32)
        signature = (
            tokens.signature,
            tf.nest.map_structure(lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), targets),
            counts_signature,
        )
        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        cardinality = (len(self) - skip) * len(parts)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(cardinality)).prefetch(4)
        # With one bucket all batches have the same shape, which TPUs need to know in advance.
        has_one_shape = len(self.buckets) == 1 and not self.batch_tokens and not isinstance(tokens, StackedWindows)
        if has_one_shape and self.batch_size % of == 0:
            dataset = dataset.map(partial(_set_shapes, rows=self.batch_size // of, length=self.buckets[0]))
        return dataset


def _padded_length(length: int, buckets: Sequence[int]) -> int:
    return next((bucket for bucket in buckets if bucket >= length), length)


def _set_shapes(tokens: object, targets: object, counts: object, rows: int, length: int) -> tuple:
    import tensorflow as tf

    def set_shape(tensor: tf.Tensor) -> tf.Tensor:
        if tensor.shape.rank == 0:
            return tensor
        return tf.ensure_shape(tensor, [rows, *(length if size is None else size for size in tensor.shape[1:])])

    return tf.nest.map_structure(set_shape, (tokens, targets, counts))


def _batch(tokens: TokenRows, targets: Targets, rows: np.ndarray, length: int) -> tuple[dict[str, np.ndarray], Targets]:
    import tensorflow as tf

    batch_targets = tf.nest.map_structure(lambda array: _pad_targets(array, rows, length), targets)
    return tokens.batch(rows, (length,)), batch_targets


def _pad_targets(targets: Targets, rows: np.ndarray, length: int) -> np.ndarray:
    """Return the targets of some rows; targets of tokens are padded like the tokens."""
    batch_targets = targets[rows]
    if _are_per_token(targets):
        padding = [(0, 0), (0, length - batch_targets.shape[1])]
        batch_targets = np.pad(batch_targets, padding, constant_values=-1)
    return batch_targets


def _share(targets: Targets, part: np.ndarray, rows: np.ndarray) -> float:
    """Return the share of a part of a batch in the mean of the loss, by rows or by the targets of tokens."""
    if not _are_per_token(targets):
        return len(part) / len(rows)
    return float((targets[part] >= 0).sum() / max((targets[rows] >= 0).sum(), 1))


def _are_per_token(targets: Targets) -> bool:
    return getattr(targets, "shape", ())[1:] == (None,)


def batches_by_size(rows: Sequence[tuple[str, ...]], batch_size: int = TEXTS_AT_ONCE) -> Iterator[list[int]]:
    """Yield the indices of rows of texts in batches, shortest first; batches of long texts are smaller."""
    sizes = [sum(map(len, row)) for row in rows]
    batch: list[int] = []
    for i in sorted(range(len(rows)), key=sizes.__getitem__):
        if batch and (len(batch) == batch_size or (len(batch) + 1) * sizes[i] > CHARACTERS_AT_ONCE):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
