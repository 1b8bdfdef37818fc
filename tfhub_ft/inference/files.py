"""Predict files of any size, and write the predictions to files."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from tfhub_ft.data.batches import truncation_warning
from tfhub_ft.data.columns import Column, is_nan
from tfhub_ft.data.rows import ReadOptions
from tfhub_ft.data.texts import read_texts
from tfhub_ft.inference.batching import Prediction, Segments
from tfhub_ft.inference.predict import Predictor, open_predictor, predict_rows
from tfhub_ft.run import Run
from tfhub_ft.utils.console import log, progress, to_json, warn
from tfhub_ft.utils.documents import read_json
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import atomic_write, check_output, check_writable, contents, write_json

COUNTED_AT_ONCE = 1024
SHARDS = "answers.json"
FORMULA_SIGNS = tuple("=+-@\t\r\n＝＋－＠")


def predict_file(
    model: str | Path | Run | Predictor,
    source: str | Path | TextIO,
    *,
    columns: Sequence[Column] | None = None,
    options: ReadOptions | None = None,
    skip_bad_rows: bool = False,
    keep_columns: bool = False,
) -> Iterator[Prediction]:
    """Yield a prediction for each row of a file, or each line of a stream, in bounded memory.

    A prediction has the kept columns, the texts by the task's names (text, or sentence1 and sentence2) and what
    `predict` returns. Rows without a text, such as blank lines of a txt file, have a prediction whose fields are None.
    In a txt file or a stream, a tab separates the two texts of a pair.
    The first bad row is an InputError unless `skip_bad_rows` is set. Kept columns with the name of a prediction's field
    become input_NAME.
    """
    predictor = model if isinstance(model, Predictor) else open_predictor(model)
    skipped: list[str] = []
    on_bad_row = skipped.append if skip_bad_rows else None
    counts: Counter[str] = Counter()
    uncounted: list[Segments] = []

    def count_truncated() -> None:
        counts["truncated"] += predictor.truncated_rows(uncounted)
        uncounted.clear()

    rows = read_texts(
        source,
        columns or predictor.task.columns(labeled=False),
        options=options,
        keep_columns=keep_columns,
        on_bad_row=on_bad_row,
    )
    for row, prediction in predict_rows(predictor, rows, on_bad_row):
        counts["rows"] += 1
        if row.segments is None:
            counts["empty"] += 1
        else:
            uncounted.append(row.segments)
        if len(uncounted) == COUNTED_AT_ONCE:
            count_truncated()
        counts["nan"] += any(isinstance(text, str) and is_nan(text) for text in row.texts)
        named = {**dict(zip(predictor.task.fields, row.texts, strict=True)), **prediction}
        yield {**_renamed_columns(row.others, named), **named}
    count_truncated()
    name = str(source) if isinstance(source, str | Path) else "standard input"
    if counts["truncated"]:
        rows = f"{name}: {counts['truncated']:,} of {counts['rows']:,} rows"
        warn(truncation_warning(rows, predictor.seq_length))
    if counts["empty"]:
        log(f"{name}: {counts['empty']:,} of {counts['rows']:,} rows without a text; their predictions are empty")
    if counts["nan"]:
        rows = f"{counts['nan']:,} row{'s' if counts['nan'] > 1 else ''}"
        warn(f"{name}: {rows} with the text nan, which pandas writes for a missing value")
    if skipped:
        first = skipped[0].removeprefix(f"{name}, ")
        log(f"{name}: skipped {len(skipped):,} bad row{'s' if len(skipped) > 1 else ''} (first: {first})")


def _renamed_columns(columns: dict[str, object], taken: Collection[str]) -> dict[str, object]:
    """Return columns under free names: input_NAME, or input_input_NAME ..., if NAME is taken."""
    renamed: dict[str, object] = {}
    for name, value in columns.items():
        free_name = name
        while free_name in taken or free_name in renamed or (free_name != name and free_name in columns):
            free_name = f"input_{free_name}"
        renamed[free_name] = value
    return renamed


def write_predictions(predictions: Iterable[Prediction], path: Path, *, spreadsheet_safe: bool = False) -> int:
    """Write predictions to a csv, tsv or jsonl file, whole or not at all; return their number."""
    count = 0
    with (
        atomic_write(path) as aside,
        aside.open("w", encoding="utf-8", newline="") as file,
        progress(f"Predicting into {path}", None, "rows") as advance,
    ):
        write = prediction_writer(path.suffix.lower().lstrip("."), file, spreadsheet_safe=spreadsheet_safe)
        for prediction in predictions:
            write(prediction)
            advance(1)
            count += 1
    return count


def predict_shards(
    model: str | Path | Run | Predictor,
    sources: Sequence[Path],
    folder: Path,
    *,
    spreadsheet_safe: bool = False,
    **options: Any,
) -> Iterator[tuple[Path, int]]:
    """Predict many files with `predict_file`, each into a file of a folder: csv for csv, tsv for tsv, jsonl for others.

    Yield the path of each one, and how many rows were predicted: 0 if the file was complete. `answers.json` lists
    complete files, so that a prediction that was interrupted continues with the first one that is not.
    """
    predictor = model if isinstance(model, Predictor) else open_predictor(model)
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
        if target in shards and (folder / target).is_file():
            yield folder / target, 0
            continue
        predictions = predict_file(predictor, source, **options)
        rows = write_predictions(predictions, folder / target, spreadsheet_safe=spreadsheet_safe)
        shards[target] = {**shard, "rows": rows}
        write_json(shards_file, shards)
        yield folder / target, rows


def _shard_name(source: Path) -> str:
    name = Path(source.name.removesuffix(".gz"))
    suffix = name.suffix.lower()
    return name.stem + (suffix if suffix in (".csv", ".tsv") else ".jsonl")


def prediction_writer(format: str, file: TextIO, *, spreadsheet_safe: bool = False) -> Callable[[Prediction], None]:
    """Return a function that writes predictions to an open file as "csv", "tsv" or "jsonl".

    In csv and tsv a list is one cell, and each probability a column. With `spreadsheet_safe`, an apostrophe precedes
    cells that a spreadsheet would run as a formula (https://owasp.org/www-community/attacks/CSV_Injection), and all
    cells of a csv are quoted.
    """
    if format == "jsonl":
        return lambda prediction: print(to_json(prediction, file), file=file)
    quoting = csv.QUOTE_ALL if spreadsheet_safe else csv.QUOTE_MINIMAL
    write_cells = csv.writer(file, quoting=quoting).writerow
    header: list[str] = []

    def cell_text(value: object) -> str:
        # tsv lacks quoting: a tab or a line end would end the cell.
        cell = " ".join(_cell(value).split()) if format == "tsv" else _cell(value)
        is_formula = cell.startswith(FORMULA_SIGNS) and not isinstance(value, int | float)
        return f"'{cell}" if spreadsheet_safe and is_formula else cell

    def write_row(values: Iterable[object]) -> None:
        cells = [cell_text(value) for value in values]
        if format == "tsv":
            print("\t".join(cells), file=file)
        else:
            write_cells(cells)

    def write(prediction: Prediction) -> None:
        cells = {name: value for name, value in prediction.items() if name != "probabilities"}
        cells |= {f"probability_{label}": value for label, value in prediction.get("probabilities", {}).items()}
        if not header:
            header.extend(cells)
            write_row(header)
        write_row(cells.get(name) for name in header)

    return write


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return ", ".join(each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
