"""Predict files of any size, and write the predictions to files."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfhub_ft.data.columns import Column, Values, is_nan
from tfhub_ft.data.row_writers import write_rows
from tfhub_ft.data.texts import TextRow, TextRows
from tfhub_ft.inference.batching import Prediction, Segments
from tfhub_ft.inference.parquet import write_parquet
from tfhub_ft.inference.predict import Predictor, predict_rows
from tfhub_ft.tasks.prediction_columns import free_names, prediction_columns, table_cells
from tfhub_ft.utils.console import log, progress, warn
from tfhub_ft.utils.documents import read_json
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import check_output, check_writable, contents, write_json

COUNTED_AT_ONCE = 1024
SHARDS = "answers.json"
PredictedRow = tuple[TextRow, Prediction]


def predict_file(predictor: Predictor, rows: TextRows) -> Iterator[PredictedRow]:
    """Yield each row of a file, or each line of a stream, with its prediction, in bounded memory.

    Rows without a text, such as blank lines of a txt file, have a prediction whose fields are None. At the end, rows
    that are truncated, empty or skipped are reported.
    """
    counts: Counter[str] = Counter()
    uncounted: list[Segments] = []

    def count_truncated() -> None:
        counts["truncated"] += predictor.truncated_rows(uncounted)
        uncounted.clear()

    for row, prediction in predict_rows(predictor, rows, rows.on_bad_row):
        counts["rows"] += 1
        if row.segments is None:
            counts["empty"] += 1
        else:
            uncounted.append(row.segments)
        if len(uncounted) == COUNTED_AT_ONCE:
            count_truncated()
        counts["nan"] += any(isinstance(text, str) and is_nan(text) for text in row.texts)
        yield row, prediction
    count_truncated()
    name, skipped = rows.name, rows.skipped
    if counts["truncated"]:
        warn(f"{name}: {counts['truncated']:,} of {counts['rows']:,} rows are {predictor.truncation}")
    if counts["empty"]:
        log(f"{name}: {counts['empty']:,} of {counts['rows']:,} rows without a text; their predictions are empty")
    if counts["nan"]:
        nan_rows = f"{counts['nan']:,} row{'s' if counts['nan'] > 1 else ''}"
        warn(f"{name}: {nan_rows} with the text nan, which pandas writes for a missing value")
    if skipped:
        first = skipped[0].removeprefix(f"{name}, ")
        log(f"{name}: skipped {len(skipped):,} bad row{'s' if len(skipped) > 1 else ''} (first: {first})")


def output_row(row: TextRow, prediction: Prediction, *, as_table: bool = False) -> Values:
    """Return the columns of a row, then the fields of its prediction, or the cells of a csv file as its columns.

    A column that has the name of a field becomes input_NAME.
    """
    columns = prediction_columns(prediction)
    names = free_names(row.values, {*prediction, *columns})
    values = {names[name]: value for name, value in row.values.items()}
    return values | (table_cells(columns) if as_table else prediction)


def write_predictions(
    predicted: Iterable[PredictedRow],
    path: Path,
    rows: TextRows | None = None,
    *,
    spreadsheet_safe: bool = False,
) -> int:
    """Write rows and their predictions to a csv, tsv, jsonl or Parquet file, whole or not at all; return their number.

    `rows` are those that were predicted; without them, the columns of a Parquet file are texts.
    """
    suffix = path.suffix.lower()
    with progress(f"Predicting into {path}", None, "rows") as advance:

        def counted() -> Iterator[PredictedRow]:
            for each in predicted:
                yield each
                advance(1)

        if suffix == ".parquet":
            return write_parquet(counted(), path, rows)
        lines = (output_row(*each, as_table=suffix != ".jsonl") for each in counted())
        return write_rows(lines, path, spreadsheet_safe=spreadsheet_safe)


def predict_shards(
    predictor: Predictor,
    sources: Sequence[Path],
    folder: Path,
    columns: Sequence[Column],
    *,
    made_with: Mapping[str, Any] | None = None,
    spreadsheet_safe: bool = False,
    **reading: Any,
) -> Iterator[tuple[Path, int]]:
    """Predict many files, each into a file of a folder: csv, tsv and Parquet into the same format, others into jsonl.

    Yield the path of each one, and how many rows were predicted: 0 if the file was complete. `answers.json` lists
    complete files, so that a prediction that was interrupted continues with the first one that is not; and `made_with`,
    the options that the predictions depend on. `reading` are arguments of `TextRows`.
    """
    targets = [_shard_name(source) for source in sources]
    if twice := next((name for name, count in Counter(targets).items() if count > 1), None):
        raise InputError(
            f"--input: two files would both be written to {folder / twice}; rename one, or predict them separately"
        )
    check_writable(folder, "--output")
    for source, target in zip(sources, targets, strict=True):
        if folder.is_dir() and folder.samefile(source.parent):
            raise InputError(f"--output {folder}: is the folder of the input {source}; choose another folder")
        check_output(folder / target, "--output", sources)
    shards_file = folder / SHARDS
    shape = {str: {"input": str, "bytes": int, "model": str}}
    shards = read_json(shards_file, shape) if shards_file.is_file() else {}
    if not shards and contents(folder):
        raise InputError(f"--output {folder}: not empty, and without predictions; choose another folder")
    for source, target in zip(sources, targets, strict=True):
        shard = {"input": str(source.resolve()), "bytes": source.stat().st_size, "model": predictor.name}
        if target in shards and not shard.items() <= shards[target].items():
            raise InputError(
                f"--output {folder}: {target} has predictions of another file or model; choose another folder"
            )
        if target in shards and shards[target].get("made_with", {}) != (made_with or {}):
            raise InputError(f"--output {folder}: {target} was predicted with other options; choose another folder")
        if target in shards and (folder / target).is_file():
            yield folder / target, 0
            continue
        rows = TextRows(source, columns, **reading)
        predicted = predict_file(predictor, rows)
        count = write_predictions(predicted, folder / target, rows, spreadsheet_safe=spreadsheet_safe)
        shards[target] = {**shard, "rows": count, "made_with": {**(made_with or {})}}
        write_json(shards_file, shards)
        yield folder / target, count


def _shard_name(source: Path) -> str:
    name = Path(source.name.removesuffix(".gz"))
    suffix = name.suffix.lower()
    return name.stem + (suffix if suffix in (".csv", ".tsv", ".parquet") else ".jsonl")
