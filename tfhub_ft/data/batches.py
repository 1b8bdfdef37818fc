"""The token ids of many rows, and batches of rows of similar length cut from them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from tfhub_ft.data.token_cache import token_arrays

POOL_BATCHES = 50
TEXTS_AT_ONCE, CHARACTERS_AT_ONCE = 64, 2**17
WORDS_AT_ONCE = 2**20


@dataclass(frozen=True)
class TokenRows:
    """The token ids of many rows, without padding.

    Args:
        word_ids: int32 (tokens,), the rows one after the other.
        type_ids: int8 (tokens,), the segment that each token belongs to.
        starts: int64 (rows + 1,), where each row starts.
        truncated: bool (rows,), whether a row had more tokens than are read; None where nothing is truncated.
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
        """Tokens of each row of the data, several of which may share one row of tokens, int64 (rows,)."""
        return self.lengths

    @property
    def truncated_rows(self) -> int:
        """How many rows had more tokens than are read."""
        return 0 if self.truncated is None else int(self.truncated.sum())

    @property
    def signature(self) -> dict[str, Any]:
        """What a batch is, as tf.TensorSpecs by name."""
        import tensorflow as tf

        names = ("input_word_ids", "input_mask", "input_type_ids")
        return {name: tf.TensorSpec((None, None), tf.int32) for name in names}

    def batch(self, rows: np.ndarray, buckets: Sequence[int] = ()) -> dict[str, np.ndarray]:
        """Some rows as an encoder reads them, padded to the longest of them.

        Args:
            rows: indices, int (batch,).
            buckets: lengths, ascending, to the next of which the batch is padded; no row is longer than the last one.

        Returns:
            {"input_word_ids", "input_mask", "input_type_ids"}, each int32 (batch, length).
        """
        mask, taken = places_of(self.starts, rows, buckets)
        word_ids, type_ids = np.zeros(mask.shape, "int32"), np.zeros(mask.shape, "int32")
        word_ids[mask], type_ids[mask] = self.word_ids[taken], self.type_ids[taken]
        return {"input_word_ids": word_ids, "input_mask": mask.astype("int32"), "input_type_ids": type_ids}

    def subset(self, rows: np.ndarray) -> "TokenRows":
        """Some of the rows, in the order of their indices, int (rows,)."""
        _, places = places_of(self.starts, rows)
        truncated = None if self.truncated is None else self.truncated[rows]
        starts = starts_of(self.lengths[rows])
        return TokenRows(self.word_ids[places], self.type_ids[places], starts, truncated=truncated)

    def by_length(self, batch_size: int) -> Iterator[np.ndarray]:
        """Indices of all rows, in batches from the longest to the shortest."""
        order = np.argsort(-self.lengths, kind="stable")
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]


def truncation_warning(rows: str, seq_length: int) -> str:
    """A warning that rows are longer than what is read of them.

    Args:
        rows: how many of which rows, such as "3 of 40 test rows".
        seq_length: the tokens that are read.
    """
    return f"{rows} are longer than --seq-length {seq_length} tokens; the rest of their text is not read"


def tokenize(preprocessor: Any, inputs: Sequence[tuple[str, ...]]) -> TokenRows:
    """Run texts through a preprocessing layer, in parallel; the tokens of many rows are kept in the cache on disk.

    Args:
        preprocessor: a `HubPreprocessor`.
        inputs: a tuple of one or two segments for each row.

    Returns:
        Their token ids, cut at the layer's `seq_length`.
    """
    import tensorflow as tf

    def make(_: int, some: Sequence[tuple[str, ...]]) -> dict[str, np.ndarray]:
        columns = [tf.constant(column) for column in zip(*some, strict=True)]
        tokens = preprocessor.without_padding(columns)
        names = ("word_ids", "type_ids", "lengths", "truncated")
        return dict(zip(names, (each.numpy() for each in tokens), strict=True))

    arrays = token_arrays(preprocessor, inputs, make, kind="rows")
    starts = starts_of(arrays["lengths"])
    return TokenRows(arrays["word_ids"], arrays["type_ids"], starts, truncated=arrays["truncated"])


def words_of(some: Iterable[TokenRows], vocabulary: int) -> np.ndarray:
    """The ids that stand in rows, and 0, which batches are padded with; int (words,), ascending.

    Args:
        some: the rows.
        vocabulary: how many ids there are.
    """
    there = np.zeros(vocabulary, bool)
    there[0] = True
    for rows in some:
        for start in range(0, len(rows.word_ids), WORDS_AT_ONCE):
            there[rows.word_ids[start : start + WORDS_AT_ONCE]] = True
    return np.flatnonzero(there)


def starts_of(lengths: np.ndarray) -> np.ndarray:
    """Where each of some rows starts, and where the last one ends, int64 (rows + 1,)."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def places_of(starts: np.ndarray, rows: np.ndarray, buckets: Sequence[int] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Where the tokens of some rows stand, for a batch of them.

    Args:
        starts: where each row starts, and where the last one ends, int64 (all rows + 1,).
        rows: indices, int (batch,).
        buckets: as for `TokenRows.batch`.

    Returns:
        Which places of the batch hold a token, bool (batch, length), and the number of each of these tokens.
    """
    lengths = starts[rows + 1] - starts[rows]
    columns = np.arange(_padded(lengths.max(initial=0), buckets))
    mask = columns < lengths[:, None]
    return mask, (starts[rows][:, None] + columns)[mask]


def length_buckets(lengths: np.ndarray, most: int) -> list[int]:
    """Up to nine lengths that batches are padded to, so that a compiler sees few shapes.

    Args:
        lengths: tokens of each row that is learnt from. An eighth of them is in each bucket, more or less.
        most: the tokens that no row exceeds, which is the last bucket.

    Returns:
        The lengths, ascending: multiples of 8, but for the last one.
    """
    ends = np.quantile(lengths, np.arange(1, 9) / 8)
    return np.unique(np.minimum(np.append(np.ceil(ends / 8) * 8, most), most)).astype(int).tolist()


class TrainingBatches:
    """Batches for `fit`, in an order that follows from the seed and the epoch alone.

    Rows of similar length stand together: all rows are shuffled, cut into pools of 50 batches, sorted within a pool
    and cut into batches, whose order is shuffled again. So nearly nothing is padding, and no epoch is like another.
    The largest batch is the first: memory that is too small shows at once, and later batches fit into what it needed.
    With `batch_tokens` all rows are one pool: every epoch has as many batches, so that a schedule can count on them.

    Args:
        tokens: the rows.
        targets: an array with an entry a row, or a dictionary of such arrays.
        batch_size: rows of a batch; the last one may be smaller.
        seed: of the order.
        batch_tokens: where it is not 0, a batch has as many rows as fit into so many tokens, padding included, and
            `batch_size` does not count. A row that is longer is a batch by itself.
        buckets: lengths, ascending, to the next of which batches are padded. The last batch is then filled up with its
            own rows again, so that all batches of a length have the same shape.

    Example:
        batches = TrainingBatches(tokens, targets, batch_size=32, seed=0)
        batches.epoch = 4
        model.fit(batches.dataset())
    """

    def __init__(
        self,
        tokens: TokenRows,
        targets: Any,
        *,
        batch_size: int,
        seed: int,
        batch_tokens: int = 0,
        buckets: Sequence[int] = (),
    ):
        self.tokens, self.targets, self.batch_size, self.seed = tokens, targets, batch_size, seed
        self.batch_tokens, self.buckets = batch_tokens, buckets
        self.epoch = 0

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        return len(self.order()) if self.batch_tokens else -(-len(self.tokens) // self.batch_size)

    def order(self) -> list[np.ndarray]:
        """The batches of the current epoch, as indices of rows."""
        random = np.random.default_rng((self.seed, self.epoch))
        shuffled = random.permutation(len(self.tokens))
        lengths, pool_rows, batches = self.tokens.lengths, self.batch_size * POOL_BATCHES, []
        for start in range(0, len(shuffled), len(shuffled) if self.batch_tokens else pool_rows):
            pool = shuffled[start:] if self.batch_tokens else shuffled[start : start + pool_rows]
            pool = pool[np.argsort(-lengths[pool], kind="stable")]
            batches += self._cut(pool, lengths[pool])
        random.shuffle(batches)
        longest = max(range(len(batches)), key=lambda number: lengths[batches[number]].max() * len(batches[number]))
        batches[0], batches[longest] = batches[longest], batches[0]
        return batches

    def _cut(self, rows: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
        """The batches of rows that are sorted, the longest first."""
        start = 0
        while start < len(rows):
            size = self.batch_size
            if self.batch_tokens:
                size = max(1, self.batch_tokens // _padded(lengths[start], self.buckets))
            batch = rows[start : start + size]
            yield np.resize(batch, size) if self.buckets else batch
            start += size

    def some(self) -> tuple[Any, Any]:
        """The tokens and targets of one small batch."""
        rows = np.arange(min(2, len(self.tokens)))
        return _batch(self.tokens, self.targets, rows, _padded(self.tokens.lengths[rows].max(), self.buckets))

    def dataset(self, skip: int = 0, parts: range = range(1), of: int = 1) -> Any:
        """A tf.data.Dataset of batches; each iteration over it is the epoch that `epoch` says by then.

        Args:
            skip: batches of the epoch that are left out, the first ones.
            parts: of `of` parts that each batch is dealt out in, those that are given, one behind the other.
            of: how many parts a batch has. One may have no rows.

        Returns:
            Of (tokens, targets, {"share": of the rows of its batch that a part has, "rows": how many}).
        """
        order, count = lambda: self.order()[skip:], len(self) - skip
        dataset = _dataset(self.tokens, self.targets, order, count, self.buckets, parts, of)
        # With one bucket all batches have one shape, which TPUs must know beforehand.
        fixed = len(self.buckets) == 1 and not self.batch_tokens and self.batch_size % of == 0
        return dataset.map(partial(_shaped, rows=self.batch_size // of, length=self.buckets[0])) if fixed else dataset


def _padded(length: int, buckets: Sequence[int]) -> int:
    return next((bucket for bucket in buckets if bucket >= length), length)


def _dataset(
    tokens: TokenRows, targets: Any, order: Any, count: int, buckets: Sequence[int], parts: range, of: int
) -> Any:
    import tensorflow as tf

    def batches() -> Iterator[tuple]:
        for rows in order():
            length = _padded(tokens.lengths[rows].max(), buckets)
            for part in parts:
                own = rows[part::of]
                share = _share(targets, own, rows) if of > 1 else 1.0
                counts = {"share": np.float32(share), "rows": np.float32(share * len(rows))}
                yield *_batch(tokens, targets, own, length), counts

    signature = (
        tokens.signature,
        tf.nest.map_structure(lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), targets),
        {"share": tf.TensorSpec((), tf.float32), "rows": tf.TensorSpec((), tf.float32)},
    )
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(count * len(parts))).prefetch(4)


def _shaped(tokens: Any, targets: Any, counts: Any, rows: int, length: int) -> tuple[Any, Any, Any]:
    import tensorflow as tf

    def shaped(tensor: Any) -> Any:
        known = [length if size is None else size for size in tensor.shape[1:]]
        return tf.ensure_shape(tensor, [rows, *known])

    return tf.nest.map_structure(shaped, tokens), tf.nest.map_structure(shaped, targets), counts


def _batch(tokens: TokenRows, targets: Any, rows: np.ndarray, length: int) -> tuple[Any, Any]:
    import tensorflow as tf

    chosen = tf.nest.map_structure(lambda each: _targets(each, rows, length), targets)
    return tokens.batch(rows, (length,)), chosen


def _targets(targets: Any, rows: np.ndarray, length: int) -> np.ndarray:
    """The targets of some rows; those that stand at tokens are padded as the tokens are."""
    chosen = targets[rows]
    if _stand_at_tokens(targets):
        chosen = np.pad(chosen, [(0, 0), (0, length - chosen.shape[1])], constant_values=-1)
    return chosen


def _share(targets: Any, part: np.ndarray, rows: np.ndarray) -> float:
    """What a part of a batch has of all that the batch's loss is the mean of: of its rows, or its tokens' targets."""
    if not _stand_at_tokens(targets):
        return len(part) / len(rows)
    return float((targets[part] >= 0).sum() / max((targets[rows] >= 0).sum(), 1))


def _stand_at_tokens(targets: Any) -> bool:
    return getattr(targets, "shape", ())[1:] == (None,)


def batches_by_size(rows: Sequence[tuple[str, ...]], batch_size: int = TEXTS_AT_ONCE) -> Iterator[list[int]]:
    """Yield the indices of rows of texts, the shortest first, in batches, which are smaller where texts are long."""
    sizes = [sum(map(len, row)) for row in rows]
    batch: list[int] = []
    for i in sorted(range(len(rows)), key=sizes.__getitem__):
        if batch and (len(batch) == batch_size or (len(batch) + 1) * sizes[i] > CHARACTERS_AT_ONCE):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
