"""Tokenize the rows of a training run, once."""

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from tfhub_ft.data.batches import TokenRows, TrainingBatches, truncation_warning
from tfhub_ft.data.datasets import Dataset
from tfhub_ft.data.sequences import Mapped
from tfhub_ft.settings import TrainingSettings
from tfhub_ft.tasks.base import Task
from tfhub_ft.utils.console import log, warn
from tfhub_ft.utils.errors import InputError, RowError

if TYPE_CHECKING:
    import keras


def tokenize_splits(task: Task, dataset: Dataset, preprocessor: "keras.layers.Layer") -> dict[str, TokenRows]:
    """Return the tokens of each split, from the cache or the prepared folder where they are there.

    Args:
        task: what the rows mean.
        dataset: the rows.
        preprocessor: tokenizes them.

    Raises:
        InputError: a row cannot be tokenized.
    """
    read = "Reading tokens of" if dataset.prepared else "Tokenizing"
    log(f"{read} {sum(len(split.rows) for split in dataset.splits.values()):,} rows")
    tokens = {}
    for name, split in dataset.splits.items():
        inputs = Mapped(task.training_inputs, split.rows)
        try:
            if dataset.prepared:
                tokens[name] = dataset.prepared.tokens(name, preprocessor, inputs)
            else:
                tokens[name] = task.encode(preprocessor, inputs)
        except RowError as fault:
            raise InputError(f"{split.file}, line {split.rows[fault.row].line}: {fault}") from None
    warn_of_truncated_splits(dataset, tokens, preprocessor.seq_length)
    return tokens


def warn_of_truncated_splits(dataset: Dataset, tokens: Mapping[str, TokenRows], seq_length: int) -> None:
    """Warn of the rows of each split that have more tokens than are read."""
    truncated = {name: each.truncated_rows for name, each in tokens.items()}
    if any(truncated.values()):
        rows = {name: len(split.rows) for name, split in dataset.splits.items()}
        shown = ", ".join(f"{count:,} of {rows[name]:,} {name} rows" for name, count in truncated.items())
        warn(truncation_warning(shown, seq_length))


def reach_min_steps(settings: TrainingSettings, tokens: TokenRows, given: Collection[str]) -> TrainingSettings:
    """Return settings with so many epochs, and as much more patience, that their minimum number of steps is reached.

    Args:
        settings: of the training run.
        tokens: of the training rows.
        given: the names of the settings that the user has set: a number of epochs that is among them stays.

    Reference:
        Mosbach, Andriushchenko and Klakow 2021, https://arxiv.org/abs/2006.04884; Zhang et al. 2021,
        https://arxiv.org/abs/2006.05987 (few rows need more steps)
    """
    sizes = {"batch_size": settings.batch_size, "batch_tokens": settings.batch_tokens}
    steps = len(TrainingBatches(tokens, range(len(tokens)), seed=settings.seed, **sizes))
    steps = max(1, steps // settings.accumulate_steps)
    epochs = max(settings.epochs, math.ceil(settings.min_steps / steps))
    if "epochs" in given or epochs == settings.epochs:
        return settings
    patience = settings.patience
    if "patience" not in given:
        patience = math.ceil(patience * epochs / settings.epochs)
    log(f"Training for {epochs} epochs, of {steps:,} steps each, to reach --min-steps {settings.min_steps}")
    return settings.replaced({"epochs": epochs, "patience": patience})
