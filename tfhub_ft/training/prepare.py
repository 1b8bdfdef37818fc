"""Rows for trainings, prepared: read, split and tokenized once, into TFRecord shards."""

import itertools
import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tensorflow.core.example.example_pb2 import Example

from tfhub_ft.data.batches import TokenRows
from tfhub_ft.data.datasets import Dataset, load_dataset
from tfhub_ft.data.prepared import INDEX, Prepared, read_index, serialize_rows
from tfhub_ft.data.sequences import Mapped
from tfhub_ft.data.token_cache import ROWS_AT_ONCE, in_parallel
from tfhub_ft.data.windows import WindowRows
from tfhub_ft.recipe import Recipe, load_recipe, recipe_name
from tfhub_ft.settings import DATA, Settings, option_name
from tfhub_ft.training.start import read_settings
from tfhub_ft.utils.arguments import check_path, check_type
from tfhub_ft.utils.console import log, progress
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import atomic_write, check_folder, contents, locked, sha256_of, write_json
from tfhub_ft.utils.version import __version__

ROWS_OF_A_SHARD = 50_000


def prepare(
    recipe: str | Path,
    *,
    output_dir: str | Path,
    shards: int | None = None,
    workers: int | None = None,
    config: str | Path | None = None,
    **settings: Any,
) -> Prepared:
    """Read, check, split and tokenize rows once, for trainings with `prepared`. What `tfhub-ft prepare` does.

    The folder has TFRecord shards of each split, which `Prepared` describes, and all that a training needs of the rows:
    their files are not read again. One that was stopped or killed goes on with the shards that are missing.

    Args:
        recipe: a recipe's name, or the path of a recipe file.
        output_dir: the folder, new or empty, or one that was prepared of the same rows in the same way.
        shards: files of the training rows; other splits have shards as large. By default one for each 50,000 rows.
        workers: threads that tokenize; as many as there are cores by default.
        config: a YAML file of settings.
        settings: any field of the recipe's settings that rows and tokens follow from: train, encoder, seed ...

    Returns:
        The folder.

    Raises:
        InputError: a setting, a file or a row is not as it must be, or the folder holds something else.
        RunError: the disk is full.

    Example:
        prepare("sentiment", data="reviews.csv", output_dir="prepared/reviews")
        tfhub_ft.train("sentiment", prepared="prepared/reviews", output_dir="runs/reviews")

    Reference:
        https://www.tensorflow.org/tutorials/load_data/tfrecord
    """
    recipe, folder = load_recipe(recipe), check_path("output_dir", output_dir)
    for argument, number in (("shards", shards), ("workers", workers)):
        check_type(argument, number, (int, type(None)), "an integer")
    resolved, _ = read_settings(recipe, config, settings)
    if not isinstance(resolved, Settings):
        raise InputError(
            f"the recipe {recipe.name} writes and packs its rows itself when it trains, which takes seconds: name files"
            " with --train or --data of tfhub-ft train"
        )
    if resolved.prepared:
        raise InputError(f"--prepared {resolved.prepared}: its rows are prepared; name files with --train or --data")
    index = {"tfhub_ft": __version__, "recipe": recipe.name, "settings": _kept_settings(resolved)}
    _found(folder, index)
    data = load_dataset(recipe.task, resolved, recipe.demo)
    log(f"Loading encoder {resolved.encoder}")
    preprocessor = recipe.build(resolved, data.labels).get_layer("preprocessor")
    records = partial(_records, recipe, preprocessor, data)
    index |= {
        "preprocessor": preprocessor.digest(),
        "labels": data.labels,
        "columns": [column.name for column in recipe.task.columns(resolved)],
        "features": sorted(Example.FromString(*records("train", 0, 1)).features.feature),
        "splits": _splits(data, shards),
    }
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, f"{folder} is in use: another process prepares rows there"):
        _write(folder, _found(folder, index) or index, records, workers)
    return Prepared(folder)


def _kept_settings(settings: Settings) -> dict[str, Any]:
    """The settings that a training takes over, by name."""
    return {name: getattr(settings, name) for name in settings.of_rows() if name not in DATA}


def _found(folder: Path, index: Mapping[str, Any]) -> dict[str, Any] | None:
    """The index that stands in the folder already; None where it is new or empty.

    Raises:
        InputError: it says something else than `index`, or is missing where other files are.
    """
    check_folder(folder)
    if not (folder / INDEX).is_file():
        if contents(folder):
            raise InputError(f"--output-dir {folder}: not empty, and without prepared rows; choose another folder")
        return None
    found = read_index(folder)
    there, wanted = _compared(found), _compared(json.loads(json.dumps(index)))
    if other := [name for name, value in wanted.items() if there.get(name) != value]:
        raise InputError(f"--output-dir {folder}: was prepared otherwise ({other[0]}): name another folder")
    return found


def _compared(index: Mapping[str, Any]) -> dict[str, Any]:
    """What is the same where a folder is gone on with, by what an error calls it. Files may have moved."""
    named = {
        "recipe": recipe_name(index["recipe"]),
        **{option_name(name): value for name, value in index["settings"].items()},
    }
    if "splits" not in index:
        return named
    splits = index["splits"].items()
    return {
        **named,
        "other rows": {name: {k: v for k, v in each.items() if k not in ("file", "shards")} for name, each in splits},
        "other labels": index["labels"],
        "another preprocessor": index["preprocessor"],
        "--shards": {name: [(file, shard["rows"]) for file, shard in each["shards"].items()] for name, each in splits},
    }


def _splits(data: Dataset, shards: int | None) -> dict[str, Any]:
    """What the index says of the splits; the sha256 of a shard comes when it has been written."""
    described, learnt = data.described(), len(data.splits["train"].rows)
    wanted = min(shards or math.ceil(learnt / ROWS_OF_A_SHARD), learnt)
    for name, split in data.splits.items():
        rows = len(split.rows)
        count = min(math.ceil(rows * wanted / learnt), rows)
        ends = [rows * number // count for number in range(count + 1)]
        described[name]["shards"] = {
            f"{name}-{number:05}-of-{count:05}.tfrecord": {"rows": ends[number + 1] - ends[number], "sha256": None}
            for number in range(count)
        }
    return described


def _records(recipe: Recipe, preprocessor: Any, data: Dataset, split: str, start: int, stop: int) -> list[bytes]:
    """Some rows of a split, as the records of a shard."""
    task, rows = recipe.task, data.splits[split].rows[start:stop]
    tokens = task.encode(preprocessor, Mapped(task.training_inputs, rows))
    if type(tokens) not in (TokenRows, WindowRows):
        raise InputError(f"{recipe.name}: its task makes {type(tokens).__name__} of rows, which cannot be prepared")
    return list(serialize_rows(tokens, task.token_targets(tokens, data.targets[split][start:stop]), rows))


def _write(folder: Path, index: dict[str, Any], records: Callable[..., list[bytes]], workers: int | None) -> None:
    """Write the shards that are missing, and at last the index with the sha256 of all."""
    write_json(folder / INDEX, index)
    names = {INDEX, *(name for split in index["splits"].values() for name in split["shards"])}
    for torn in folder.glob(".????????.*"):
        if torn.name[len(".????????.") :] in names:
            torn.unlink()
    rows = sum(split["rows"] for split in index["splits"].values())
    with progress(f"Preparing {rows:,} rows", rows, "rows") as advance:
        for split, described in index["splits"].items():
            ends = itertools.accumulate(shard["rows"] for shard in described["shards"].values())
            for (name, shard), end in zip(described["shards"].items(), ends, strict=True):
                path, start = folder / name, end - shard["rows"]
                if path.is_file() and shard["sha256"] in (None, sha256_of(path)):
                    advance(shard["rows"])
                else:
                    _write_shard(path, partial(records, split), start, end, workers, advance)
                shard["sha256"] = sha256_of(path)
    write_json(folder / INDEX, index)


def _write_shard(
    path: Path, records: Callable[[int, int], list[bytes]], start: int, end: int, workers: int | None, advance: Any
) -> None:
    import tensorflow as tf

    starts = range(start, end, ROWS_AT_ONCE)
    parts = in_parallel(lambda begin: records(begin, min(begin + ROWS_AT_ONCE, end)), starts, workers)
    with atomic_write(path) as aside, tf.io.TFRecordWriter(str(aside)) as writer:
        for part in parts:
            for record in part:
                writer.write(record)
            advance(len(part))
