"""Tokenize the rows of a training run, once."""

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from tfhub_ft.data.batches import TokenRows, TrainingBatches
from tfhub_ft.data.datasets import Dataset
from tfhub_ft.data.sequences import Mapped
from tfhub_ft.settings import LongTextSettings, TrainingSettings
from tfhub_ft.tasks.base import Task
from tfhub_ft.utils.console import log, warn
from tfhub_ft.utils.errors import InputError, RowError

if TYPE_CHECKING:
    from tfhub_ft.encoders import HubPreprocessor


def tokenize_splits(
    task: Task,
    dataset: Dataset,
    preprocessor: "HubPreprocessor",
    train_inputs: Sequence[tuple[str, ...]] | None = None,
    *,
    advice: str = "",
) -> dict[str, TokenRows]:
    """Return the tokens of each split, from the cache or a prepared folder where they are there.

    Those of a student are not in a prepared folder: its training inputs are `train_inputs`, if given. `advice` ends the
    warning about truncated rows.
    """
    inputs: dict[str, Sequence] = {
        name: Mapped(task.training_inputs, split.rows) for name, split in dataset.splits.items()
    }
    prepared = dataset.prepared if train_inputs is None else None
    if train_inputs is not None:
        inputs["train"] = train_inputs
    log(f"{'Reading tokens of' if prepared else 'Tokenizing'} {sum(map(len, inputs.values())):,} rows")
    tokens: dict[str, TokenRows] = {}
    for name, split in dataset.splits.items():
        try:
            if prepared:
                tokens[name] = prepared.tokens(name, preprocessor, inputs[name])
            else:
                tokens[name] = task.encode(preprocessor, inputs[name])
        except RowError as fault:
            raise InputError(f"{split.location(split.rows[fault.row])}: {fault}") from None
    truncated = {name: split_tokens.truncated_rows for name, split_tokens in tokens.items()}
    if any(truncated.values()):
        shown = (f"{count:,} of {len(dataset.splits[name].rows):,} {name} rows" for name, count in truncated.items())
        warn(f"{', '.join(shown)} are {preprocessor.truncation}{advice}")
    return tokens


def long_text_advice(settings: TrainingSettings) -> str:
    """Return how to read truncated rows, for the end of a warning."""
    if not isinstance(settings, LongTextSettings):
        return ""
    if settings.long_texts == "windows":
        return "; pass a larger --max-windows or --seq-length"
    return "; pass --long-texts windows or a larger --seq-length"


def reach_min_steps(settings: TrainingSettings, tokens: TokenRows, given: Collection[str]) -> TrainingSettings:
    """Return settings with enough epochs for `min_steps`, and more patience, except those that the user has set.

    Reference:
        Mosbach, Andriushchenko and Klakow 2021, https://arxiv.org/abs/2006.04884; Zhang et al. 2021,
        https://arxiv.org/abs/2006.05987 (few rows need more steps)
    """
    batches = TrainingBatches(
        tokens, None, batch_size=settings.batch_size, seed=settings.seed, batch_tokens=settings.batch_tokens
    )
    steps = max(1, len(batches) // settings.accumulate_steps)
    epochs = max(settings.epochs, math.ceil(settings.min_steps / steps))
    if "epochs" in given or epochs == settings.epochs:
        return settings
    patience = settings.patience
    if "patience" not in given:
        patience = math.ceil(patience * epochs / settings.epochs)
    log(f"Training for {epochs} epochs of {steps:,} steps to reach --min-steps {settings.min_steps}")
    return settings.replaced({"epochs": epochs, "patience": patience})
