"""The interface of everything that predicts from batches."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfhub_ft.data.batches import TEXTS_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import keras

# Inputs or outputs by name, with a row for each example; texts are bytes in arrays of objects, or str.
Batch = dict[str, np.ndarray]

SERVING_DEFAULT = "serving_default"


class Runtime(ABC):
    """A model that predicts from batches of texts or of tokens; loaded by the first call.

    Attributes:
        path: The file, or the SavedModel folder.
        packages: The modules that it imports; their import does not count as load time.
        outputs_texts: Whether outputs may be texts.
        outputs_only_logits: Whether the only output is the logits, or the probabilities made from them.
        max_batch_size: Maximum number of rows in a batch.
    """

    packages: tuple[str, ...] = ()
    outputs_texts: bool = True
    outputs_only_logits: bool = False
    max_batch_size: int = TEXTS_AT_ONCE

    def __init__(self, path: Path):
        self.path = path

    @abstractmethod
    def __call__(self, batch: Batch, signature: str = SERVING_DEFAULT) -> Batch:
        """Return the outputs of a signature; files without signatures have one function."""

    @staticmethod  # noqa: B027  most runtimes need no check
    def check(path: Path) -> None:
        """Raise an UntrustedCode error if loading the path could run untrusted code."""


def text_batch(names: "Iterable[str]", rows: "Iterable[Sequence[str]]") -> Batch:
    """Return rows of segments as a batch of texts by name."""
    return {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def token_batch(preprocessor: "keras.layers.Layer", rows: "Iterable[Sequence[str | bytes]]") -> Batch:
    """Return rows of segments as tokens, padded to the longest row."""
    import tensorflow as tf

    segments = [tf.constant(column) for column in zip(*rows, strict=True)]
    tokens = preprocessor(segments if len(segments) > 1 else segments[0])
    return {name: ids.numpy() for name, ids in tokens.items()}


def single_rows(batches: "Iterable[Batch]") -> list[Batch]:
    """Return the rows of batches as batches of one row, without padding."""
    rows = []
    for batch in batches:
        for number in range(len(next(iter(batch.values())))):
            row = {name: array[number : number + 1] for name, array in batch.items()}
            if "input_mask" in row:
                # The tokens of a row, or its windows and the tokens of the longest one.
                sizes = [int(axis.max()) + 1 for axis in np.nonzero(row["input_mask"][0])]
                row = {name: array[(slice(None), *map(slice, sizes))] for name, array in row.items()}
            rows.append(row)
    return rows


def to_arrays(outputs: "Mapping[str, object]") -> Batch:
    """Return tensors or arrays by name as arrays."""
    return {name: np.asarray(output) for name, output in outputs.items()}
