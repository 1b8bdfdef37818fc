"""Prepare rows for training: read, split and tokenize them once, into TFRecord shards."""

import itertools
import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorflow.core.example.example_pb2 import Example

from tfhub_ft.data.batches import StackedWindows, TokenRows
from tfhub_ft.data.columns import weight_columns
from tfhub_ft.data.datasets import Dataset
from tfhub_ft.data.memory_rows import take_memory_rows
from tfhub_ft.data.prepared import INDEX, Prepared, read_index, serialize_rows
from tfhub_ft.data.sequences import Mapped
from tfhub_ft.data.token_cache import ROWS_AT_ONCE, in_parallel
from tfhub_ft.data.windows import WindowRows
from tfhub_ft.recipe import Recipe, load_recipe, recipe_name
from tfhub_ft.settings import DATA, Settings, option_name
from tfhub_ft.training.start import load_rows, read_settings
from tfhub_ft.utils.arguments import check_path, check_type
from tfhub_ft.utils.console import log, progress
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import atomic_write, check_folder, contents, locked, sha256_of, write_json
from tfhub_ft.utils.version import __version__

if TYPE_CHECKING:
    from tfhub_ft.encoders import HubPreprocessor

ROWS_PER_SHARD = 50_000


def prepare(
    recipe: str | Path,
    *,
    output_dir: str | Path,
    shards: int | None = None,
    workers: int | None = None,
    config: str | Path | None = None,
    **settings: Any,
) -> Prepared:
    """Read, check, split and tokenize rows once, for training with `prepared`. What `tfhub-ft prepare` does.

    The folder gets TFRecord shards of each split, and a training run needs no other file of the rows; see `Prepared`.
    In the folder of a preparation that was stopped or killed, only the missing shards are written.

    Args:
        recipe: The name of a recipe, or the path of a recipe file.
        output_dir: The folder, which must be new or empty, or have the same rows, prepared with the same settings.
        shards: Number of shards of the training rows; shards of other splits have the same size. By default one per
            50,000 rows.
        workers: Number of threads that tokenize. By default one per core.
        config: A YAML file of settings; keyword arguments override it.
        **settings: The recipe's settings that rows and tokens depend on, such as `train`, `encoder` or `seed`, as for
            `train`.

    Returns:
        The folder.

    Raises:
        InputError: If a setting, a file or a row is invalid, or if the folder has other rows.
        RunError: If the disk is full.

    Example:
        prepare("sentiment", data="reviews.csv", output_dir="prepared/reviews")
        tfhub_ft.train("sentiment", prepared="prepared/reviews", output_dir="runs/reviews")

    Reference:
        https://www.tensorflow.org/tutorials/load_data/tfrecord
    """
    loaded, folder = load_recipe(recipe), check_path("output_dir", output_dir)
    for argument, number in (("shards", shards), ("workers", workers)):
        check_type(argument, number, (int, type(None)), "an integer")
    settings, objects = take_memory_rows(settings, DATA)
    resolved, _ = read_settings(loaded, config, settings)
    if not isinstance(resolved, Settings):
        raise InputError(
            f"prepare: not available for recipe {loaded.name}, whose rows are tokenized in seconds; pass files to"
            " tfhub-ft train with --train or --data"
        )
    if resolved.prepared:
        raise InputError(f"--prepared {resolved.prepared}: already prepared; name files with --train or --data")
    row_settings = {name: getattr(resolved, name) for name in resolved.row_names() if name not in DATA}
    index: dict[str, Any] = {"tfhub_ft": __version__, "recipe": loaded.name, "settings": row_settings}
    _read_index(folder, index)
    dataset = load_rows(loaded, resolved, objects)
    log(f"Loading encoder {resolved.encoder}")
    preprocessor = loaded.build(resolved, dataset.labels).get_layer("preprocessor")
    records = partial(_records, loaded, preprocessor, dataset)
    index |= {
        "preprocessor": preprocessor.digest(),
        "labels": dataset.labels,
        "columns": [column.name for column in (*loaded.task.columns(resolved), *weight_columns(resolved))],
        "features": sorted(Example.FromString(*records("train", 0, 1)).features.feature),
        "splits": _splits(dataset, shards),
    }
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, f"{folder}: in use by another process that prepares rows"):
        _write(folder, _read_index(folder, index) or index, records, workers)
    return Prepared(folder)


def _read_index(folder: Path, expected: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the index in a folder, or None for a new or empty folder; raise an InputError for another index."""
    check_folder(folder)
    if not (folder / INDEX).is_file():
        if contents(folder):
            raise InputError(f"--output-dir {folder}: not empty, and without prepared rows; choose another folder")
        return None
    index = read_index(folder)
    found, needed = _comparable(index), _comparable(json.loads(json.dumps(expected)))
    if names := [name for name, value in needed.items() if found.get(name) != value]:
        raise InputError(f"--output-dir {folder}: was prepared with other values ({names[0]}); choose another folder")
    return index


def _comparable(index: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of an index that must not change, by their names in errors; files may have moved."""
    settings = {option_name(name): value for name, value in index["settings"].items()}
    parts = {"recipe": recipe_name(index["recipe"]), **settings}
    if "splits" not in index:
        return parts
    splits = index["splits"].items()
    rows = {name: {k: v for k, v in split.items() if k not in ("file", "shards")} for name, split in splits}
    shards = {name: [(file, shard["rows"]) for file, shard in split["shards"].items()] for name, split in splits}
    return parts | {
        "rows": rows,
        "labels": index["labels"],
        "preprocessor": index["preprocessor"],
        "--shards": shards,
    }


def _splits(dataset: Dataset, shards: int | None) -> dict[str, Any]:
    """Return the splits of an index; the SHA-256 of a shard is set after it is written."""
    splits, train_rows = dataset.described(), len(dataset.splits["train"].rows)
    train_shards = min(shards or math.ceil(train_rows / ROWS_PER_SHARD), train_rows)
    for name, split in dataset.splits.items():
        rows = len(split.rows)
        count = min(math.ceil(rows * train_shards / train_rows), rows)
        ends = [rows * number // count for number in range(count + 1)]
        splits[name]["shards"] = {
            f"{name}-{number:05}-of-{count:05}.tfrecord": {"rows": ends[number + 1] - ends[number], "sha256": None}
            for number in range(count)
        }
    return splits


def _records(
    recipe: Recipe, preprocessor: "HubPreprocessor", dataset: Dataset, split: str, start: int, stop: int
) -> list[bytes]:
    """Return rows of a split as the records of a shard."""
    task, rows = recipe.task, dataset.splits[split].rows[start:stop]
    tokens = task.encode(preprocessor, Mapped(task.training_inputs, rows))
    if type(tokens) not in (StackedWindows, TokenRows, WindowRows):
        raise InputError(f"{recipe.name}: its task encodes rows as {type(tokens).__name__}, which cannot be prepared")
    return list(serialize_rows(tokens, task.token_targets(tokens, dataset.targets[split][start:stop]), rows))


def _write(folder: Path, index: dict[str, Any], records: Callable[..., list[bytes]], workers: int | None) -> None:
    """Write the missing shards, then the index with the SHA-256 of all shards."""
    write_json(folder / INDEX, index)
    names = {INDEX, *(name for split in index["splits"].values() for name in split["shards"])}
    for partial_file in folder.glob(".????????.*"):
        if partial_file.name[len(".????????.") :] in names:
            partial_file.unlink()
    rows = sum(split["rows"] for split in index["splits"].values())
    with progress(f"Preparing {rows:,} rows", rows, "rows") as advance:
        for split, description in index["splits"].items():
            ends = itertools.accumulate(shard["rows"] for shard in description["shards"].values())
            for (name, shard), end in zip(description["shards"].items(), ends, strict=True):
                path, start = folder / name, end - shard["rows"]
                if path.is_file() and shard["sha256"] in (None, sha256_of(path)):
                    advance(shard["rows"])
                else:
                    _write_shard(path, partial(records, split), start, end, workers, advance)
                shard["sha256"] = sha256_of(path)
    write_json(folder / INDEX, index)


def _write_shard(
    path: Path,
    records: Callable[[int, int], list[bytes]],
    start: int,
    end: int,
    workers: int | None,
    advance: Callable[[int], None],
) -> None:
    import tensorflow as tf

    starts = range(start, end, ROWS_AT_ONCE)
    parts = in_parallel(lambda begin: records(begin, min(begin + ROWS_AT_ONCE, end)), starts, workers)
    with atomic_write(path) as aside, tf.io.TFRecordWriter(str(aside)) as writer:
        for part in parts:
            for record in part:
                writer.write(record)
            advance(len(part))
