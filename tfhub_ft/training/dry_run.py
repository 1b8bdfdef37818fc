"""Plan a training run: check its rows, and estimate its time and memory."""

import contextlib
import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tfhub_ft.data.datasets import Dataset, Fold, Split, leaked_rows
from tfhub_ft.data.fingerprints import fingerprints, fold_text
from tfhub_ft.data.labels import group_key
from tfhub_ft.data.memory_rows import take_memory_rows
from tfhub_ft.encoders import HubPreprocessor
from tfhub_ft.recipe import load_recipe
from tfhub_ft.settings import DATA
from tfhub_ft.tasks.base import Task
from tfhub_ft.tasks.windowed import WindowedTask
from tfhub_ft.training.repeats import check_repeatable, check_repeats
from tfhub_ft.training.start import load_rows, read_settings
from tfhub_ft.training.trainer import Trainer, ignore_unused_pooler, make_trainer
from tfhub_ft.utils.console import log, recorded_warnings, warn
from tfhub_ft.utils.memory import peak_memory
from tfhub_ft.utils.precision import matrix_products_in

if TYPE_CHECKING:
    from tfhub_ft.data.rows import Row
    from tfhub_ft.models.frozen_features import FrozenFeatureExtractor

SAMPLED_ROWS, STEPS, UNTRUNCATED = 10_000, 8, 100_000
FEW_ROWS, RARE = 10, 0.05
# Time of a validation step, which computes no gradients, as a share of a training step.
VALIDATION_COST = 1 / 3


def dry_run(
    recipe: str | Path,
    *,
    config: str | Path | None = None,
    folds: int | None = None,
    seeds: int | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Plan a training run without training. What `tfhub-ft train RECIPE --dry-run` does.

    The rows are read and checked, the encoder is loaded, and a few training steps of a temporary model are measured.

    Args:
        recipe: The name of a recipe, or the path of a recipe file.
        config: A YAML file of settings; keyword arguments override it.
        folds: The number of folds of `train`.
        seeds: The number of seeds of `train`.
        **settings: Any field of the recipe's settings, as for `train`.

    Returns:
        A dictionary with `splits` ({name: {"rows", "distinct_texts", "labels": {label: rows}, "also_in_training"}}),
        `tokens` ({"rows", "p50", "p95", "longest", "truncated", "windows"}), `settings` (those that differ from the
        recipe's defaults), `weights` ({"all", "trained"}), `steps_an_epoch`, `epochs`, `precision`,
        `seconds_an_epoch`, `runs`, `seconds` (of all runs), `peak_memory_bytes` and `warnings`.

    Raises:
        InputError: If a setting, a file or a row is invalid.

    Example:
        dry_run("sentiment", data="reviews.csv")["seconds"]
    """
    loaded = load_recipe(recipe)
    settings, objects = take_memory_rows(settings, DATA)
    resolved, given = read_settings(loaded, config, settings)
    repeats = check_repeats(folds, seeds)
    if repeats:
        check_repeatable(resolved, *repeats)
    with recorded_warnings() as warnings:
        dataset = load_rows(loaded, resolved, objects, fold=Fold(0, folds) if folds else None)
        leaked = leaked_rows(loaded.task, dataset.splits)
        splits = {name: _describe(split, loaded.task, leaked.get(name)) for name, split in dataset.splits.items()}
        trainer = make_trainer(loaded, resolved, dataset, given)
        tokens = _count_tokens(trainer)
        cost = _measure_cost(trainer)
        memory = peak_memory()
        warnings_of_rows = _warnings(splits["train"], memory, dataset, loaded.task)
        for warning in [*_length_warnings(tokens, trainer), *warnings_of_rows]:
            warn(warning)
    defaults = loaded.settings.as_dict()
    return {
        "splits": splits,
        "tokens": tokens,
        "settings": {k: v for k, v in trainer.settings.as_dict().items() if v != defaults[k]},
        **cost,
        "runs": repeats[1] if repeats else 1,
        "seconds": cost["seconds"] * (repeats[1] if repeats else 1),
        "peak_memory_bytes": memory,
        "warnings": warnings,
    }


def _describe(split: Split, task: Task, leaked: int | None) -> dict[str, Any]:
    labels = Counter(label for row in split.rows for label in {*task.stratify_key(row)})
    return {
        "rows": len(split.rows),
        "distinct_texts": len(np.unique(fingerprints(_folded(task, row) for row in split.rows))),
        "labels": dict(sorted(labels.items())),
        "also_in_training": leaked,
    }


def _folded(task: Task, row: "Row") -> str:
    return fold_text(group_key(task, row))


def _count_tokens(trainer: Trainer) -> dict[str, Any]:
    """Return how many tokens the training rows have before truncation, from a sample of many rows."""
    task, preprocessor, tokens = trainer.recipe.task, trainer.built.preprocessor, trainer.tokens["train"]
    rows, lengths = trainer.dataset.splits["train"].rows, tokens.row_lengths
    if isinstance(preprocessor, HubPreprocessor) and not isinstance(task, WindowedTask):
        untruncated = HubPreprocessor(
            preprocessor.encoder,
            preprocessor=preprocessor.preprocessor,
            seq_length=UNTRUNCATED,
            lowercase=preprocessor.lowercase,
        )
        sample = np.random.default_rng(0).permutation(len(rows))[:SAMPLED_ROWS]
        lengths = task.encode(untruncated, [task.training_inputs(rows[int(i)]) for i in sample]).lengths
    return {
        "rows": len(rows),
        "p50": float(np.median(lengths)),
        "p95": float(np.quantile(lengths, 0.95)),
        "longest": int(lengths.max()),
        "truncated": tokens.truncated_rows,
        "windows": tokens.windows,
    }


def _length_warnings(tokens: dict[str, Any], trainer: Trainer) -> list[str]:
    """Return which --seq-length most of the truncated rows fit into."""
    if not tokens["truncated"] or trainer.tokens["train"].has_long_rows:
        return []
    p95, limit = int(tokens["p95"]), trainer.built.layer.max_seq_length
    if limit and p95 > limit:
        return [f"5% of the training rows have {p95:,} or more tokens, of which the encoder reads at most {limit:,}"]
    needed = -(-p95 // 8) * 8
    needed = min(needed, limit) if limit else needed
    return [f"95% of the training rows fit into --seq-length {needed}"] if needed > trainer.settings.seq_length else []


def _measure_cost(trainer: Trainer) -> dict[str, Any]:
    """Return the number of weights and steps, and the seconds of the run, estimated from a few steps."""
    settings = trainer.settings
    cost = {
        "weights": {"all": trainer.network.count_params(), "trained": trainer.trained_weights},
        "precision": trainer.precision,
        "steps_an_epoch": -(-len(trainer.tokens["train"]) // settings.batch_size),
        "epochs": settings.epochs,
    }
    if trainer.frozen:
        return {**cost, "seconds_an_epoch": None, "seconds": _encoding_seconds(trainer, trainer.frozen)}
    batches = trainer.batches()
    cost["steps_an_epoch"] = len(batches)
    lengths = batches.tokens.padded_lengths
    padded_tokens = [len(rows) * int(lengths[rows].max()) for rows in batches.order()]
    log(f"Measuring {min(STEPS, len(batches) - 1):,} steps")
    ends: list[float] = []

    def record_end(batch: int, logs: dict | None = None) -> None:
        ends.append(time.perf_counter())

    started_at = time.perf_counter()
    trainer.restrict_vocabulary()
    with matrix_products_in(trainer.precision, trainer.network), ignore_unused_pooler():
        trainer.compiled(total_steps=len(batches) * settings.epochs).fit(
            batches.dataset().take(STEPS + 1),
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=record_end)],
            shuffle=False,
            verbose=0,  # pyright: ignore[reportArgumentType]
        )
    first_step = ends[0] - started_at
    if len(ends) > 1:
        seconds_per_token = (ends[-1] - ends[0]) / max(sum(padded_tokens[1 : len(ends)]), 1)
    else:
        seconds_per_token = first_step / padded_tokens[0]
    validation_tokens = int(trainer.tokens["validation"].padded_lengths.sum())
    epoch = seconds_per_token * (sum(padded_tokens) + VALIDATION_COST * validation_tokens)
    return {**cost, "seconds_an_epoch": epoch, "seconds": first_step + settings.epochs * epoch}


def _encoding_seconds(trainer: Trainer, frozen: "FrozenFeatureExtractor") -> float:
    """Return the seconds to encode all rows with a frozen encoder; training its head takes little time."""
    import tensorflow as tf

    tokens, body = trainer.tokens["train"], frozen.body
    encode = tf.function(lambda batch: body(batch, training=False), input_signature=[tokens.signature], autograph=False)
    batches = list(tokens.by_length(trainer.settings.batch_size))
    sample = batches[:: max(1, len(batches) // STEPS)]
    with matrix_products_in(trainer.precision, body):
        encode(tokens.batch(sample[0]))
        started_at = time.perf_counter()
        for rows in sample:
            encode(tokens.batch(rows))
    seconds = time.perf_counter() - started_at
    all_rows = sum(len(split) for split in trainer.tokens.values())
    return seconds * all_rows / sum(map(len, sample))


def _warnings(train: dict[str, Any], peak_memory_bytes: int, dataset: Dataset, task: Task) -> list[str]:
    warnings = []
    for label, rows in train["labels"].items():
        if rows < FEW_ROWS:
            warnings.append(f"label {label!r} has only {rows} training rows, too few to learn or to score it")
        elif rows < RARE * train["rows"] and len(train["labels"]) == 2:
            share = rows / train["rows"]
            warnings.append(f"label {label!r} has only {share:.1%} of the training rows: accuracy is misleading")
    if repeated := train["rows"] - train["distinct_texts"]:
        warnings.append(f"{repeated:,} training rows repeat the text of another row")
    if train["labels"] and (contradictions := _contradictions(dataset, task)):
        warnings.append(f"{contradictions:,} texts have more than one label in the training rows")
    with contextlib.suppress(ValueError, AttributeError, OSError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if peak_memory_bytes > 0.9 * memory:
            warnings.append(f"the steps took {peak_memory_bytes / 1e9:.1f} GB of the machine's {memory / 1e9:.1f} GB")
    return warnings


def _contradictions(dataset: Dataset, task: Task) -> int:
    rows = dataset.splits["train"].rows
    texts = fingerprints(_folded(task, row) for row in rows)
    labeled_texts = fingerprints(f"{_folded(task, row)}\0{task.stratify_key(row)}" for row in rows)
    pairs = np.unique(np.stack([texts, labeled_texts]), axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())
