"""Rows that were read, split and tokenized once: a folder of TFRecord shards, which trainings read."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfhub_ft.data.batches import TokenRows, starts_of
from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.tfrecord import record_contents
from tfhub_ft.data.locations import relative_name
from tfhub_ft.data.rows import Row, keep_rows
from tfhub_ft.data.token_cache import ROWS_AT_ONCE, arrays_of_rows
from tfhub_ft.data.windows import TokenTargets, WindowRows
from tfhub_ft.settings import option_name
from tfhub_ft.utils.documents import read_json
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import sha256_of

INDEX = "prepared.json"
_INDEX_SHAPE = {
    "recipe": str,
    "settings": dict,
    "preprocessor": str,
    "columns": [str],
    "features": [str],
    "splits": {str: {"rows": int, "shards": {str: {"sha256": (str, type(None))}}}},
}
# The features of tokens, and the arrays of `TokenRows` and `WindowRows` that they are.
TOKENS = {"input_word_ids": ("word_ids", "int32"), "input_type_ids": ("type_ids", "int8")}
WORDS = {"word_starts": ("word_starts", "int32"), "word_ends": ("word_ends", "int32")}
WINDOWED = {**TOKENS, "word": ("word", "int32"), "starts_word": ("starts_word", "bool"), **WORDS}


class Prepared:
    """A folder of prepared rows.

    Its `prepared.json` tells the recipe, the settings, the preprocessor's digest, the labels and the splits, with the
    rows and the sha256 of each shard. A record of a shard is a tf.train.Example of a row:

    - `input_word_ids` and `input_type_ids`, int64 (tokens,), without padding; `truncated`, 1 where there were more;
    - `target`, what the loss takes of the row: int64, or float of regression and of several labels;
    - `line` and `row`: the line of the file that the row starts in, and its values as JSON;
    - of a recipe that reads long rows by windows, the tokens of all windows, one behind the other, and with them
      `window_lengths`, `word`, `starts_word`, `word_starts` and `word_ends`, as `WindowRows` has them.

    Args:
        path: the folder.

    Raises:
        InputError: it is none, or not finished.

    Example:
        rows = Prepared("prepared/reviews").rows("test", [Column("text", (), check_text)])
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.index = read_index(self.path)
        if not all(shard["sha256"] for split in self.splits.values() for shard in split["shards"].values()):
            raise InputError(f"{self.path} is not finished: run the same tfhub-ft prepare again, which goes on there")

    @property
    def splits(self) -> dict[str, Any]:
        """The splits by name: the file that their rows come from, its sha256, which rows, and the shards."""
        return self.index["splits"]

    def described(self, split: str, folder: Path | None = None) -> dict[str, Any]:
        """What splits.json holds of a split.

        Args:
            split: its name.
            folder: the run folder, which this one is also named relative to.
        """
        described = {name: value for name, value in self.splits[split].items() if name != "shards"}
        if folder is None:
            return described
        return {**described, "prepared": {"relative": relative_name(self.path, folder), "sha256": self.digest(split)}}

    def digest(self, split: str) -> str:
        """A digest over the shards of a split, in hexadecimal."""
        digests = [shard["sha256"] for shard in self.splits[split]["shards"].values()]
        return hashlib.sha256(json.dumps(["prepared", *digests]).encode()).hexdigest()

    def rows(self, split: str, columns: Sequence[Column]) -> Sequence[Row]:
        """The rows of a split. TensorFlow is not started.

        Args:
            split: its name.
            columns: those that a task reads.

        Raises:
            InputError: the rows have other columns, or a shard is missing or damaged.
        """
        names = [column.name for column in columns]
        if self.index["columns"] != names:
            found = f"of the recipe {self.index['recipe']}, with {', '.join(self.index['columns'])}"
            raise InputError(f"{self.path}: has rows {found}, where {', '.join(names)} are needed")
        self._check_shards(split)
        return keep_rows(self._rows(split, columns))

    def tokens(self, split: str, preprocessor: Any, inputs: Sequence[Any]) -> TokenRows:
        """The tokens of the rows of a split, as the task's `encode` gives them.

        Args:
            split: its name; `rows` has checked its shards.
            preprocessor: of the model that reads the tokens.
            inputs: what the rows were made of, as the task gives it.

        Raises:
            InputError: they are tokens of another preprocessor.
            RunError: the cache cannot be written.
        """
        if preprocessor.digest() != self.index["preprocessor"]:
            made_with = (f"{option_name(name)} {value}" for name, value in self.index["settings"].items() if value)
            raise InputError(
                f"--prepared {self.path}: its tokens are of another preprocessor than that of {preprocessor.encoder};"
                f" it was prepared with {' '.join(made_with)}"
            )
        windowed = "window_lengths" in self.index["features"]
        rows = self.splits[split]["rows"]
        arrays = arrays_of_rows(rows, lambda: self.digest(split), self._arrays(split, windowed))
        starts = starts_of(arrays.pop("lengths"))
        if not windowed:
            return TokenRows(**arrays, starts=starts)
        windows, row_words = arrays.pop("windows"), starts_of(arrays.pop("row_words"))
        row = np.repeat(np.arange(len(windows), dtype="int32"), windows)
        return WindowRows(**arrays, starts=starts, row=row, row_words=row_words, inputs=inputs)

    def _check_shards(self, split: str) -> None:
        for name, shard in self.splits[split]["shards"].items():
            if not (self.path / name).is_file() or sha256_of(self.path / name) != shard["sha256"]:
                state = "damaged" if (self.path / name).exists() else "missing"
                raise InputError(
                    f"{self.path / name} is {state}: fetch it again, or run the same tfhub-ft prepare again"
                )

    def _rows(self, split: str, columns: Sequence[Column]) -> Iterator[Row]:
        from tensorflow.core.example.example_pb2 import Example

        for name in self.splits[split]["shards"]:
            for content in record_contents(self.path / name):
                features = Example.FromString(content).features.feature
                values = json.loads(features["row"].bytes_list.value[0])
                # JSON knows no tuples; a check gives what it gave before.
                values = {column.name: column.check(values[column.name]) for column in columns}
                yield Row(features["line"].int64_list.value[0], values)

    def _arrays(self, split: str, windowed: bool) -> Iterator[dict[str, np.ndarray]]:
        """The arrays of tokens, some rows at a time."""
        import tensorflow as tf

        wanted = WINDOWED if windowed else TOKENS
        # Folders of version 0.1 do not say which rows are truncated.
        rows = ["window_lengths"] if windowed else [name for name in ("truncated",) if name in self.index["features"]]
        features = {name: tf.io.RaggedFeature(tf.int64) for name in [*wanted, *rows]}
        records = tf.data.TFRecordDataset([str(self.path / name) for name in self.splits[split]["shards"]])
        batches = records.batch(ROWS_AT_ONCE).map(
            lambda batch: tf.io.parse_example(batch, features), num_parallel_calls=tf.data.AUTOTUNE
        )
        for batch in batches:
            lengths = {name: ragged.row_lengths().numpy().astype("int64") for name, ragged in batch.items()}
            values = {name: ragged.flat_values.numpy() for name, ragged in batch.items()}
            part = {array: values[name].astype(dtype) for name, (array, dtype) in wanted.items()}
            if windowed:
                part |= {"lengths": values["window_lengths"], "windows": lengths["window_lengths"]}
                yield {**part, "row_words": lengths["word_starts"]}
            else:
                part |= {name: values[name].astype(bool) for name in rows}
                yield {**part, "lengths": lengths["input_word_ids"]}


def prepared_fault(folder: Path, recorded: Mapping[str, Mapping[str, Any]]) -> str | None:
    """What is wrong with a folder as the prepared rows that a splits.json records; None where it is these.

    Args:
        folder: the folder.
        recorded: of each split the entry "prepared"; empty of runs that do not record it.
    """
    try:
        prepared = Prepared(folder)
    except InputError as error:
        return "is missing" if not folder.exists() else f"cannot be used ({error})"
    if set(prepared.splits) != set(recorded):
        return "has changed"
    same = (each.get("sha256") in (None, prepared.digest(split)) for split, each in recorded.items())
    return None if all(same) else "has changed"


def read_index(folder: Path) -> dict[str, Any]:
    """What the prepared.json of a folder says.

    Raises:
        InputError: it has none, or none that can be read.
    """
    try:
        return read_json(folder / INDEX, _INDEX_SHAPE)
    except InputError as error:
        if not (folder / INDEX).exists():
            raise InputError(f"{folder}: {INDEX} not found; pass a folder written by tfhub-ft prepare") from None
        raise InputError(f"{error}; prepare the rows again") from None


def with_prepared(recipe: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a training on prepared rows: those given, and else those that the rows were prepared with.

    Args:
        recipe: the recipe's name, and its names in earlier versions.
        given: settings, `prepared` among them.

    Raises:
        InputError: the rows are another recipe's, or were prepared with other columns, labels or lengths.
    """
    index = read_index(Path(given["prepared"]))
    if index["recipe"] not in recipe:
        raise InputError(f"--prepared {given['prepared']}: has rows of the recipe {index['recipe']}, not {recipe[0]}")
    for name, value in index["settings"].items():
        if given.get(name, value) != value and _holds(name):
            raise InputError(
                f"{option_name(name)} {given[name]}: the rows in {given['prepared']} were prepared with {value}; leave"
                " it out, or prepare them anew"
            )
    return {**index["settings"], **given}


def _holds(name: str) -> bool:
    """Whether a setting is one that prepared rows have in them. Of encoders the preprocessor's digest tells."""
    held = ("seq_length", "overlap", "lowercase", "min_label_rows", "label_separator")
    return name in held or name.endswith(("_column", "_label"))


def examples(tokens: TokenRows, targets: Any, rows: Sequence[Row]) -> Iterator[bytes]:
    """Rows as tf.train.Examples, serialized; the same rows give the same bytes.

    Args:
        tokens: of these rows.
        targets: what the task's `token_targets` gives for them.
        rows: the rows.
    """
    windowed, lengths = isinstance(tokens, WindowRows), tokens.lengths
    ends = np.arange(len(rows) + 1)
    if windowed:
        ends = np.searchsorted(tokens.row, ends)
    for number, row in enumerate(rows):
        windows = slice(ends[number], ends[number + 1])
        here = slice(tokens.starts[windows.start], tokens.starts[windows.stop])
        features = {name: getattr(tokens, array)[here] for name, (array, _) in TOKENS.items()}
        if windowed:
            starts, stops = tokens.words_of(number)
            features |= {"word": tokens.word[here], "starts_word": tokens.starts_word[here]}
            features |= {"word_starts": starts, "word_ends": stops, "window_lengths": lengths[windows]}
        elif tokens.truncated is not None:
            features["truncated"] = tokens.truncated[number : number + 1]
        at_tokens = isinstance(targets, TokenTargets)
        features["target"] = targets.values[here] if at_tokens else np.ravel(targets[windows])
        features["line"] = np.array([row.line])
        yield _example(features, json.dumps(row.values, ensure_ascii=False))


def _example(features: Mapping[str, np.ndarray], row: str) -> bytes:
    from tensorflow.core.example.example_pb2 import Example

    example = Example()
    for name, values in features.items():
        feature = example.features.feature[name]
        if values.dtype.kind == "f":
            feature.float_list.value.extend(values.tolist())
        else:
            feature.int64_list.value.extend(values.astype("int64").tolist())
    example.features.feature["row"].bytes_list.value.append(row.encode())
    return example.SerializeToString(deterministic=True)
