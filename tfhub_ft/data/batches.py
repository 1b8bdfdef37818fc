"""Token ids kept in memory, and batches of rows of similar length cut from them."""

import operator
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

TOKENIZE_AT_ONCE = 512
POOL_BATCHES = 50


@dataclass(frozen=True)
class TokenRows:
    """The token ids of many rows, without padding.

    Args:
        word_ids: int32 (tokens,), all rows behind each other.
        type_ids: int8 (tokens,), the segment that each token belongs to.
        starts: int64 (rows + 1,), where each row starts.
    """

    word_ids: np.ndarray
    type_ids: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 (rows,)."""
        return np.diff(self.starts)

    def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Some rows as an encoder reads them, padded to the longest of them.

        Args:
            rows: indices, int (batch,).

        Returns:
            {"input_word_ids", "input_mask", "input_type_ids"}, each int32 (batch, longest).
        """
        lengths = self.lengths[rows]
        mask = np.arange(lengths.max()) < lengths[:, None]
        taken = np.concatenate([np.arange(self.starts[row], self.starts[row + 1]) for row in rows])
        word_ids, type_ids = np.zeros(mask.shape, "int32"), np.zeros(mask.shape, "int32")
        word_ids[mask], type_ids[mask] = self.word_ids[taken], self.type_ids[taken]
        return {"input_word_ids": word_ids, "input_mask": mask.astype("int32"), "input_type_ids": type_ids}

    def by_length(self, batch_size: int) -> Iterator[np.ndarray]:
        """Indices of all rows, in batches from the longest to the shortest."""
        order = np.argsort(-self.lengths, kind="stable")
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]


def tokenize(preprocessor: Any, inputs: Sequence[tuple[str, ...]]) -> TokenRows:
    """Run texts through a preprocessing layer, in parallel.

    Args:
        preprocessor: a `HubPreprocessor`.
        inputs: a tuple of one or two segments for each row.

    Returns:
        Their token ids, cut at the layer's `seq_length`.
    """
    import tensorflow as tf

    def pack(start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        columns = zip(*inputs[start : start + TOKENIZE_AT_ONCE], strict=True)
        packed = preprocessor.call([tf.constant(column) for column in columns])
        packed = {name: ids.numpy() for name, ids in packed.items()}
        mask = packed["input_mask"].astype(bool)
        return packed["input_word_ids"][mask], packed["input_type_ids"][mask].astype("int8"), mask.sum(-1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = pool.map(pack, range(0, len(inputs), TOKENIZE_AT_ONCE))
        word_ids, type_ids, lengths = (np.concatenate(part) for part in zip(*parts, strict=True))
    return TokenRows(word_ids, type_ids, np.concatenate([[0], np.cumsum(lengths)]))


class TrainingBatches:
    """Batches for `fit`, in an order that follows from the seed and the epoch alone.

    Rows of similar length stand together: all rows are shuffled, cut into pools of 50 batches, sorted within a pool
    and cut into batches, whose order is shuffled again. So nearly nothing is padding, and no epoch is like another.

    Args:
        tokens: the rows.
        targets: an array with an entry a row, or a dictionary of such arrays.
        batch_size: rows of a batch; the last one may be smaller.
        seed: of the order.

    Example:
        batches = TrainingBatches(tokens, targets, batch_size=32, seed=0)
        batches.epoch = 4
        model.fit(batches.dataset())
    """

    def __init__(self, tokens: TokenRows, targets: Any, *, batch_size: int, seed: int):
        self.tokens, self.targets, self.batch_size, self.seed = tokens, targets, batch_size, seed
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self.tokens) // self.batch_size)

    def order(self) -> list[np.ndarray]:
        """The batches of the current epoch, as indices of rows."""
        random = np.random.default_rng((self.seed, self.epoch))
        shuffled = random.permutation(len(self.tokens))
        lengths, size, batches = self.tokens.lengths, self.batch_size, []
        for start in range(0, len(shuffled), size * POOL_BATCHES):
            pool = shuffled[start : start + size * POOL_BATCHES]
            pool = pool[np.argsort(-lengths[pool], kind="stable")]
            batches += [pool[i : i + size] for i in range(0, len(pool), size)]
        random.shuffle(batches)
        return batches

    def dataset(self) -> Any:
        """A tf.data.Dataset of (tokens, targets); each iteration over it is the epoch that `epoch` says by then."""
        return _dataset(self.tokens, self.targets, self.order, len(self))


def evaluation_dataset(tokens: TokenRows, targets: np.ndarray, batch_size: int) -> Any:
    """A tf.data.Dataset of (tokens, targets) over all rows, sorted by length."""
    return _dataset(tokens, targets, lambda: tokens.by_length(batch_size), -(-len(tokens) // batch_size))


def _dataset(tokens: TokenRows, targets: Any, order: Any, count: int) -> Any:
    import tensorflow as tf

    def batches() -> Iterator[tuple]:
        for rows in order():
            yield tokens.batch(rows), tf.nest.map_structure(operator.itemgetter(rows), targets)

    names = ("input_word_ids", "input_mask", "input_type_ids")
    signature = (
        {name: tf.TensorSpec((None, None), tf.int32) for name in names},
        tf.nest.map_structure(lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), targets),
    )
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(count)).prefetch(4)
