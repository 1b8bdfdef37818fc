"""What a training would do, told in seconds: its rows, its settings, its time and memory. Nothing is trained."""

import contextlib
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfhub_ft.data.datasets import Dataset, Split, leaked_rows, load_dataset
from tfhub_ft.data.fingerprints import fingerprints, fold_text
from tfhub_ft.data.labels import group_key
from tfhub_ft.encoders import HubPreprocessor
from tfhub_ft.recipe import load_recipe
from tfhub_ft.tasks.windowed import WindowedTask
from tfhub_ft.training.start import read_settings
from tfhub_ft.training.trainer import Trainer, make_trainer, unused_pooler_ignored
from tfhub_ft.utils.console import log, recorded_warnings, warn
from tfhub_ft.utils.memory import peak_memory
from tfhub_ft.utils.precision import matrix_products_in

SAMPLED_ROWS, STEPS, UNCUT = 10_000, 8, 100_000
FEW_ROWS, RARE = 10, 0.05
# A validation step takes no gradients: about a third of a training step.
FORWARD = 1 / 3


def dry_run(recipe: str | Path, *, config: str | Path | None = None, **settings: Any) -> dict[str, Any]:
    """Say what a training would do, without training. What `tfhub-ft train RECIPE --dry-run` does.

    Its rows are read and checked, the encoder is loaded, and a few steps are measured on a model that is thrown away.

    Args:
        recipe: a recipe's name, or the path of a recipe file.
        config: a YAML file of settings.
        settings: any field of the recipe's settings.

    Returns:
        {"splits": {name: {"rows", "distinct_texts", "labels": {label: rows}, "also_in_training"}}, "tokens": {"rows",
        "p50", "p95", "longest", "truncated"}, "settings": those that differ from the recipe's own, "weights": {"all",
        "trained"}, "steps_an_epoch", "epochs", "precision", "seconds_an_epoch", "seconds", "peak_memory_bytes",
        "warnings"}.

    Raises:
        InputError: a setting, a file or a row is not as it must be.

    Example:
        dry_run("sentiment", data="reviews.csv")["seconds"]
    """
    recipe = load_recipe(recipe)
    resolved, given = read_settings(recipe, config, settings)
    with recorded_warnings() as warnings:
        data = load_dataset(recipe.task, resolved, recipe.demo)
        leaked = leaked_rows(recipe.task, data.splits)
        splits = {name: _described(split, recipe.task, leaked.get(name)) for name, split in data.splits.items()}
        trainer = make_trainer(recipe, resolved, data, given)
        lengths = _token_lengths(trainer)
        cost = _cost(trainer)
        memory = peak_memory()
        for warning in _warnings(splits["train"], memory, data, recipe.task):
            warn(warning)
    own = recipe.settings.as_dict()
    changed = {name: value for name, value in trainer.settings.as_dict().items() if value != own[name]}
    return {
        "splits": splits,
        "tokens": lengths,
        "settings": changed,
        **cost,
        "peak_memory_bytes": memory,
        "warnings": warnings,
    }


def _described(split: Split, task: Any, leaked: int | None) -> dict[str, Any]:
    labels = Counter(label for row in split.rows for label in {*task.stratify_key(row)})
    return {
        "rows": len(split.rows),
        "distinct_texts": len(np.unique(fingerprints(_folded(task, row) for row in split.rows))),
        "labels": dict(sorted(labels.items())),
        "also_in_training": leaked,
    }


def _folded(task: Any, row: Any) -> str:
    return fold_text(group_key(task, row))


def _token_lengths(trainer: Trainer) -> dict[str, Any]:
    """How many tokens the training rows have before truncation; of many rows a sample is measured."""
    task, preprocessor, tokens = trainer.recipe.task, trainer.built.preprocessor, trainer.tokens["train"]
    lengths = tokens.row_lengths
    if isinstance(preprocessor, HubPreprocessor) and not isinstance(task, WindowedTask):
        uncut = HubPreprocessor(
            preprocessor.encoder,
            preprocessor=preprocessor.preprocessor,
            seq_length=UNCUT,
            lowercase=preprocessor.lowercase,
        )
        rows = trainer.dataset.splits["train"].rows
        some = np.random.default_rng(0).permutation(len(rows))[:SAMPLED_ROWS]
        lengths = task.encode(uncut, [task.training_inputs(rows[int(i)]) for i in some]).lengths
    return {
        "rows": len(trainer.dataset.splits["train"].rows),
        "p50": float(np.median(lengths)),
        "p95": float(np.quantile(lengths, 0.95)),
        "longest": int(lengths.max()),
        "truncated": tokens.truncated_rows,
    }


def _cost(trainer: Trainer) -> dict[str, Any]:
    """Weights, steps and seconds, of a few steps that are taken and forgotten."""
    settings, network = trainer.settings, trainer.network
    trained = sum(int(np.prod(weight.shape)) for weight in trainer.step_model().trainable_weights)
    found = {
        "weights": {"all": network.count_params(), "trained": trained},
        "precision": trainer.precision,
        "steps_an_epoch": -(-len(trainer.tokens["train"]) // settings.batch_size),
        "epochs": settings.epochs,
    }
    if trainer.frozen:
        seconds = _encoding_seconds(trainer)
        return {**found, "seconds_an_epoch": None, "seconds": seconds}
    batches = trainer.batches()
    found["steps_an_epoch"] = len(batches)
    places = [len(rows) * int(batches.tokens.lengths[rows].max()) for rows in batches.order()]
    log(f"Measuring {min(STEPS, len(batches) - 1):,} steps")
    ends: list[float] = []

    def note(batch: int, logs: dict | None = None) -> None:
        ends.append(time.perf_counter())

    began = time.perf_counter()
    trainer.restrict_vocabulary()
    with matrix_products_in(trainer.precision, network), unused_pooler_ignored():
        learner = trainer.compiled(total_steps=len(batches) * settings.epochs)
        learner.fit(
            batches.dataset().take(STEPS + 1),
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=note)],
            shuffle=False,
            verbose=0,
        )
    start = ends[0] - began
    rate = (ends[-1] - ends[0]) / max(sum(places[1 : len(ends)]), 1) if len(ends) > 1 else start / places[0]
    validation = sum(int(lengths) for lengths in trainer.tokens["validation"].lengths)
    epoch = rate * (sum(places) + FORWARD * validation)
    return {**found, "seconds_an_epoch": epoch, "seconds": start + settings.epochs * epoch}


def _encoding_seconds(trainer: Trainer) -> float:
    """Seconds to run all rows through a frozen encoder once; what trains behind it takes little."""
    import tensorflow as tf

    tokens, body = trainer.tokens["train"], trainer.frozen.body
    encode = tf.function(lambda batch: body(batch, training=False), input_signature=[tokens.signature], autograph=False)
    batches = list(tokens.by_length(trainer.settings.batch_size))
    chosen = batches[:: max(1, len(batches) // STEPS)]
    with matrix_products_in(trainer.precision, body):
        encode(tokens.batch(chosen[0]))
        began = time.perf_counter()
        for rows in chosen:
            encode(tokens.batch(rows))
    seconds = time.perf_counter() - began
    every = sum(len(split) for split in trainer.tokens.values())
    return seconds * every / sum(map(len, chosen))


def _warnings(train: dict[str, Any], peak_memory_bytes: int, data: Dataset, task: Any) -> list[str]:
    found = []
    for label, rows in train["labels"].items():
        if rows < FEW_ROWS:
            found.append(
                f"label {label!r} has {rows} training rows, which are too few to learn from or to be scored on"
            )
        elif rows < RARE * train["rows"] and len(train["labels"]) == 2:
            found.append(f"label {label!r} has {rows / train['rows']:.1%} of the training rows: accuracy says little")
    if repeated := train["rows"] - train["distinct_texts"]:
        found.append(f"{repeated:,} training rows repeat the text of another")
    if train["labels"] and (contradictions := _contradictions(data, task)):
        found.append(f"{contradictions:,} texts have more than one label in the training rows")
    room = _memory_of_machine()
    if room and peak_memory_bytes > 0.9 * room:
        found.append(f"the steps took {peak_memory_bytes / 1e9:.1f} GB of the machine's {room / 1e9:.1f} GB")
    return found


def _contradictions(data: Dataset, task: Any) -> int:
    rows = data.splits["train"].rows
    texts = fingerprints(_folded(task, row) for row in rows)
    both = fingerprints(f"{_folded(task, row)}\0{task.stratify_key(row)}" for row in rows)
    pairs = np.unique(np.stack([texts, both]), axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())


def _memory_of_machine() -> int | None:
    with contextlib.suppress(ValueError, AttributeError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None
