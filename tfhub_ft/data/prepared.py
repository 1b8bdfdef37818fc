"""Folders of rows that are already split and tokenized, as TFRecord shards."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.data.batches import StackedWindows, Targets, TokenRows, row_starts
from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.tfrecord import record_contents
from tfhub_ft.data.locations import SplitEntry, relative_name
from tfhub_ft.data.rows import Row, keep_rows
from tfhub_ft.data.token_cache import ROWS_AT_ONCE, Arrays, arrays_of_rows
from tfhub_ft.data.windows import TokenTargets, WindowRows
from tfhub_ft.settings import names_columns, option_name
from tfhub_ft.utils.documents import read_json
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import sha256_of

if TYPE_CHECKING:
    from tfhub_ft.encoders import HubPreprocessor

INDEX = "prepared.json"
_INDEX_SHAPE = {
    "recipe": str,
    "settings": dict,
    "preprocessor": str,
    "columns": [str],
    "features": [str],
    "splits": {str: {"rows": int, "shards": {str: {"sha256": (str, type(None))}}}},
}
# The features of tokens, with the arrays of `TokenRows` and `WindowRows` that they become.
TOKENS = {"input_word_ids": ("word_ids", "int32"), "input_type_ids": ("type_ids", "int8")}
WINDOWED = {
    **TOKENS,
    **{name: (name, "int32") for name in ("word", "word_starts", "word_ends")},
    "starts_word": ("starts_word", "bool"),
}


class Prepared:
    """A folder of prepared rows, as `prepare` writes it.

    Its `prepared.json` has the recipe, the settings, the preprocessor's digest, the labels and the splits, with the
    number of rows and the sha256 of each shard. A record of a shard is a tf.train.Example of a row:

    - `input_word_ids` and `input_type_ids`, int64 (tokens,), without padding; `truncated`, 1 if there were more tokens;
    - `target`, the target for the loss: int64, or float for regression and for several labels;
    - `line` and `row`: the line of the file that the row starts in, and its values as JSON;
    - for recipes that divide long rows into windows, the tokens of all windows, one after the other, with
      `window_lengths`, and for predictions of words also `word`, `starts_word`, `word_starts` and `word_ends`, as in
      `WindowRows`.

    Args:
        path: The folder.

    Raises:
        InputError: The folder does not have prepared rows, or is incomplete.

    Example:
        test_rows = Prepared("prepared/reviews").splits["test"]["rows"]
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.index = read_index(self.path)
        if not all(shard["sha256"] for split in self.splits.values() for shard in split["shards"].values()):
            raise InputError(f"{self.path}: not finished; run the same tfhub-ft prepare again, which continues there")

    @property
    def splits(self) -> dict[str, Any]:
        """The splits by name: the file of their rows, its sha256, how many rows and which, and the shards."""
        return self.index["splits"]

    def described(self, split: str, folder: Path | None = None) -> SplitEntry:
        """Return the entry of splits.json for a split.

        Args:
            split: Name of the split.
            folder: Run folder, for a path relative to it.
        """
        described = {name: value for name, value in self.splits[split].items() if name != "shards"}
        if folder is None:
            return described
        return {**described, "prepared": {"relative": relative_name(self.path, folder), "sha256": self.digest(split)}}

    def digest(self, split: str) -> str:
        """Return a digest of the shards of a split, in hexadecimal."""
        digests = [shard["sha256"] for shard in self.splits[split]["shards"].values()]
        return hashlib.sha256(json.dumps(["prepared", *digests]).encode()).hexdigest()

    def rows(self, split: str, columns: Sequence[Column]) -> Sequence[Row]:
        """Return the rows of a split, checked; raise an InputError if a shard is damaged."""
        names = [column.name for column in columns]
        if self.index["columns"] != names:
            raise InputError(
                f"{self.path}: has the columns {', '.join(self.index['columns'])} of the recipe"
                f" {self.index['recipe']}; expected {', '.join(names)}"
            )
        for name, shard in self.splits[split]["shards"].items():
            path = self.path / name
            if not path.is_file() or sha256_of(path) != shard["sha256"]:
                state = "damaged" if path.exists() else "missing"
                raise InputError(f"{path}: {state}; copy it again, or run the same tfhub-ft prepare again")
        return keep_rows(self._rows(split, columns))

    def tokens(self, split: str, preprocessor: "HubPreprocessor", inputs: Sequence[Any]) -> TokenRows:
        """Return the tokens of a split's rows as the task's `encode` does; another preprocessor is an InputError.

        `rows` has checked the shards of the split.
        """
        if preprocessor.digest() != self.index["preprocessor"]:
            options = (f"{option_name(name)} {value}" for name, value in self.index["settings"].items() if value)
            raise InputError(
                f"--prepared {self.path}: its tokens are of another preprocessor than that of {preprocessor.encoder};"
                f" it was prepared with {' '.join(options)}"
            )
        rows = self.splits[split]["rows"]
        arrays = arrays_of_rows(rows, lambda: self.digest(split), self._arrays(split))
        starts = row_starts(arrays.pop("lengths"))
        if "windows" not in arrays:
            return TokenRows(**arrays, starts=starts)
        windows = arrays.pop("windows")
        if "word" not in arrays:
            lengths, row_windows = np.diff(starts), row_starts(windows)
            return StackedWindows.of(
                arrays, window_lengths=lengths, row_windows=row_windows, seq_length=preprocessor.seq_length
            )
        row_words = row_starts(arrays.pop("row_words"))
        row = np.repeat(np.arange(len(windows), dtype="int32"), windows)
        return WindowRows(**arrays, starts=starts, row=row, row_words=row_words, inputs=inputs)

    def _rows(self, split: str, columns: Sequence[Column]) -> Iterator[Row]:
        from tensorflow.core.example.example_pb2 import Example

        for name in self.splits[split]["shards"]:
            for content in record_contents(self.path / name):
                features = Example.FromString(content).features.feature
                values = json.loads(features["row"].bytes_list.value[0])
                # JSON lacks tuples; the checks restore them.
                # Only the rows of the training file have weights.
                checks = {column.name: column.check for column in columns if column.name in values}
                values = {name: check(values[name]) for name, check in checks.items()}
                yield Row(features["line"].int64_list.value[0], values)

    def _arrays(self, split: str) -> Iterator[Arrays]:
        """Yield the arrays of tokens, some rows at a time."""
        import tensorflow as tf

        names = self.index["features"]
        token_features = WINDOWED if "word" in names else TOKENS
        # Folders of version 0.1 do not have the feature `truncated`.
        row_features = [name for name in ("truncated", "window_lengths") if name in names]
        features = {name: tf.io.RaggedFeature(tf.int64) for name in [*token_features, *row_features]}
        records = tf.data.TFRecordDataset([str(self.path / name) for name in self.splits[split]["shards"]])
        batches = records.batch(ROWS_AT_ONCE).map(
            lambda batch: tf.io.parse_example(batch, features), num_parallel_calls=tf.data.AUTOTUNE
        )
        for batch in batches:
            lengths = {name: ragged.row_lengths().numpy().astype("int64") for name, ragged in batch.items()}
            values = {name: ragged.flat_values.numpy() for name, ragged in batch.items()}
            part = {array: values[name].astype(dtype) for name, (array, dtype) in token_features.items()}
            part["lengths"] = lengths["input_word_ids"]
            if "truncated" in values:
                part["truncated"] = values["truncated"].astype(bool)
            if "window_lengths" in values:
                part |= {"lengths": values["window_lengths"], "windows": lengths["window_lengths"]}
            if "word" in values:
                part["row_words"] = lengths["word_starts"]
            yield part


def prepared_fault(folder: Path, recorded: Mapping[str, SplitEntry]) -> str | None:
    """Return how a folder differs from the entries "prepared" of a splits.json; None if it is the same."""
    try:
        prepared = Prepared(folder)
    except InputError as error:
        return "is missing" if not folder.exists() else f"cannot be used ({error})"
    if set(prepared.splits) != set(recorded):
        return "has changed"
    same = (each.get("sha256") in (None, prepared.digest(split)) for split, each in recorded.items())
    return None if all(same) else "has changed"


def read_index(folder: Path) -> dict[str, Any]:
    """Return the content of the prepared.json of a folder; raise an InputError if it is missing or damaged."""
    try:
        return read_json(folder / INDEX, _INDEX_SHAPE)
    except InputError as error:
        if not (folder / INDEX).exists():
            raise InputError(f"{folder}: {INDEX} not found; pass a folder written by tfhub-ft prepare") from None
        raise InputError(f"{error}; prepare the rows again") from None


def add_prepared_settings(recipe_names: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a user set for a run on prepared rows, completed by those that these depend on."""
    folder = settings["prepared"]
    index = read_index(Path(folder))
    if index["recipe"] not in recipe_names:
        raise InputError(f"--prepared {folder}: has rows of the recipe {index['recipe']}, not {recipe_names[0]}")
    for name, value in index["settings"].items():
        if settings.get(name, value) != value and _is_fixed(name):
            raise InputError(
                f"{option_name(name)} {settings[name]}: the rows in {folder} were prepared with {value}; leave it out,"
                " or prepare the rows again"
            )
    return {**index["settings"], **settings}


def _is_fixed(name: str) -> bool:
    """Return whether prepared rows depend on a setting. Of the encoder, only the preprocessor's digest has to match."""
    fixed = ("seq_length", "long_texts", "overlap", "max_windows", "lowercase", "min_label_rows", "label_separator")
    return name in fixed or name.endswith(("_label", "_column")) or names_columns(name)


def serialize_rows(tokens: TokenRows, targets: Targets, rows: Sequence[Row]) -> Iterator[bytes]:
    """Yield rows as serialized tf.train.Examples; the same rows give the same bytes."""
    from tensorflow.core.example.example_pb2 import Example

    for number, row in enumerate(rows):
        example = Example()
        for name, values in _features(tokens, targets, number).items():
            feature = example.features.feature[name]
            if values.dtype.kind == "f":
                feature.float_list.value.extend(values.tolist())
            else:
                feature.int64_list.value.extend(values.astype("int64").tolist())
        example.features.feature["line"].int64_list.value.append(row.line)
        values = json.dumps(row.values, ensure_ascii=False)
        example.features.feature["row"].bytes_list.value.append(values.encode())
        yield example.SerializeToString(deterministic=True)


def _features(tokens: TokenRows, targets: Targets, row: int) -> Arrays:
    """Return the features of the tokens and the target of a row."""
    windows, window_starts = slice(row, row + 1), tokens.starts
    if isinstance(tokens, WindowRows):
        windows = slice(*np.searchsorted(tokens.row, np.array([row, row + 1], tokens.row.dtype)))
    elif isinstance(tokens, StackedWindows):
        windows, window_starts = slice(*tokens.row_windows[row : row + 2]), tokens.window_starts
    here = slice(window_starts[windows.start], window_starts[windows.stop])
    features = {name: getattr(tokens, array)[here] for name, (array, _) in TOKENS.items()}
    if isinstance(tokens, WindowRows | StackedWindows):
        features["window_lengths"] = np.diff(window_starts[windows.start : windows.stop + 1])
    if isinstance(tokens, WindowRows):
        starts, ends = tokens.words_of(row)
        features |= {"word": tokens.word[here], "starts_word": tokens.starts_word[here]}
        features |= {"word_starts": starts, "word_ends": ends}
    elif tokens.truncated is not None:
        features["truncated"] = tokens.truncated[row : row + 1]
    if isinstance(targets, TokenTargets):
        features["target"] = targets.values[here]
    else:
        target = windows if isinstance(tokens, WindowRows) else slice(row, row + 1)
        features["target"] = np.ravel(targets[target])
    return features
