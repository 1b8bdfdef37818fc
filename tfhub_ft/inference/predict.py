"""Answers of a trained or exported model, for texts and for files of any size."""

import csv
import itertools
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TextIO

from tfhub_ft.data.batches import batches_by_size, tokenize, truncation_warning
from tfhub_ft.data.columns import Column, is_nan
from tfhub_ft.data.rows import ReadOptions
from tfhub_ft.data.texts import TextRow, read_texts
from tfhub_ft.export_folder import check_artifact, read_description, versions
from tfhub_ft.inference.batching import make_predict_fn
from tfhub_ft.inference.runtimes.isolated import IsolatedRuntime
from tfhub_ft.inference.runtimes.model import RuntimeModel
from tfhub_ft.inference.runtimes.preprocessor import saved_preprocessor, tflite_preprocessor
from tfhub_ft.inference.runtimes.saved_model import SavedModelRuntime
from tfhub_ft.inference.runtimes.tflite import TFLiteRuntime, TFLiteTextRuntime
from tfhub_ft.run import Run
from tfhub_ft.settings import PRECISIONS, TrainingSettings
from tfhub_ft.tasks.base import Task, described_task
from tfhub_ft.utils.arguments import check_path, check_texts, check_type, plain_text, type_name
from tfhub_ft.utils.console import log, progress, to_json, warn
from tfhub_ft.utils.documents import read_json
from tfhub_ft.utils.errors import InputError, RowError, RunError
from tfhub_ft.utils.files import atomic_write, check_output, check_writable, contents, write_json
from tfhub_ft.utils.processes import check_not_forked

COUNTED_AT_ONCE = 1024
SHARDS = "answers.json"
FORMULA_SIGNS = tuple("=+-@\t\r\n＝＋－＠")


def predict(
    model: "str | Path | Run | Predictor",
    texts: "str | Iterable[str | tuple[str, str] | list[str]]",
    *,
    precision: str = "float32",
) -> list[dict[str, Any]]:
    """Predict by a run or an export. What `tfhub-ft predict` does.

    Args:
        model: a run, a run folder, an export folder (its newest version is taken), a SavedModel folder or a TFLite
            file.
        texts: one text, or a list, tuple, generator, NumPy array, pandas Series or string tensor of texts; for a recipe
            that reads pairs, tuples of two texts. Bytes are UTF-8.
        precision: of a run's matrix products; see `open_predictor`.

    Returns:
        A prediction for each text, in order, as the recipe's task words it; by a classifier {"label", "score",
        "probabilities": {label: probability}}.

    Raises:
        InputError: the model is not found, the texts are a table or a mapping, or a text is missing or empty.

    Example:
        tfhub_ft.predict("runs/reviews", ["a warm, funny film"])[0]["label"]
        tfhub_ft.predict("runs/pairs", [("It rains.", "The street is wet.")])[0]["label"]
    """
    rows = check_texts("texts", texts)
    predictor = model if isinstance(model, Predictor) else open_predictor(model, precision=precision)
    rows = [predictor.segments(text, f"text {number}") for number, text in enumerate(rows, 1)]
    named = (TextRow(f"text {number}", row, row, {}) for number, row in enumerate(rows, 1))
    predictions = [prediction for _, prediction in _predicted(predictor, named, None)]
    if predictor is not model:
        warn_of_truncation(predictor, rows)
    return predictions


def warn_of_truncation(predictor: "Predictor", rows: Sequence[tuple[str, ...]]) -> None:
    """Warn of rows of segments that have more tokens than the model reads."""
    if truncated := predictor.truncated_rows(rows):
        warn(truncation_warning(f"{truncated:,} of {len(rows):,} texts", predictor.seq_length))


class Predictor:
    """A run or an export that answers; loaded once, when it is first called, for many calls of `predict`.

    A pickled predictor holds the path and the precision, and loads the model again. A predictor cannot be used in a
    process that was forked after TensorFlow was started.

    Args:
        task: what is answered.
        labels: the labels, in the order of the logits.
        load: makes the function from rows of segments to answers.
        name: of the run or the export.
        load_preprocessor: gives the layer that tokenizes its texts, or None.
        settings: of the run; None of an export.
        precision: of the run's matrix products.
    """

    def __init__(
        self,
        task: Task,
        labels: Sequence[str],
        load: Callable[[], Callable[[Sequence[tuple[str, ...]]], list[dict[str, Any]]]],
        name: str,
        load_preprocessor: Callable[[], Any],
        settings: TrainingSettings | None = None,
        precision: str = "float32",
    ):
        self.task, self.labels, self._load, self.name, self.settings = task, labels, load, name, settings
        self._load_preprocessor = load_preprocessor
        self.precision = precision
        self._loaded_in: int | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen_predictor, (self.name, self.precision)

    def read_options(self, *, delimiter: str | None, encoding: str | None, header: bool) -> ReadOptions:
        """How files are read, with the delimiter and the encoding of the run where none is named or detected."""
        usual = {name: getattr(self.settings, name, None) for name in ("delimiter", "encoding")}
        return ReadOptions(delimiter, encoding, header, usual["delimiter"], usual["encoding"])

    @cached_property
    def _answer(self) -> Callable[[Sequence[tuple[str, ...]]], list[dict[str, Any]]]:
        self._loaded_in = os.getpid()
        return self._load()

    def __call__(self, rows: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
        """The answers of rows, each a tuple of the task's segments.

        Raises:
            InputError: the process was forked after TensorFlow was started.
        """
        check_not_forked(self.name, self._loaded_in)
        return self._answer(rows) if rows else []

    @cached_property
    def _preprocessor(self) -> Any:
        return self._load_preprocessor()

    @property
    def seq_length(self) -> int:
        """The tokens that are read of a row, or of a window of it."""
        return self._preprocessor.seq_length

    def truncated_rows(self, rows: Sequence[tuple[str, ...]]) -> int:
        """How many rows of segments have more tokens than the model reads; 0 where it reads long texts in windows.

        Texts that may be too long are tokenized once more, so it takes longer than a sum of lengths.
        """
        from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor
        from tfhub_ft.encoders.window_preprocessor import WindowPreprocessor

        layer = self._preprocessor
        if not isinstance(layer, HubPreprocessor) or isinstance(layer, WindowPreprocessor):
            return 0
        # A character has at most one token where it is ASCII, and at most three after Unicode decomposition.
        most = [sum(len(text) * (1 if text.isascii() else 3) for text in row) + len(row) + 1 for row in rows]
        long = [row for row, tokens in zip(rows, most, strict=True) if tokens > layer.seq_length]
        return sum(tokenize(layer, [long[i] for i in batch]).truncated_rows for batch in batches_by_size(long))

    def segments(self, text: Any, name: str) -> tuple[str, ...]:
        """A text, or a tuple or list of texts, as the task's segments.

        Raises:
            InputError: they are too few or too many, or one is empty or not a text.
        """
        fields = self.task.fields
        try:
            text = plain_text(text)
        except UnicodeDecodeError as error:
            raise InputError(f"{name}: byte {error.start + 1} is not UTF-8; decode it first") from None
        except UnicodeEncodeError as error:
            raise InputError(f"{name}: character {error.start + 1} is a lone surrogate; replace it") from None
        segments = text if isinstance(text, tuple) else (text,)
        if len(segments) != len(fields):
            raise InputError(f"{name}: this model reads {' and '.join(fields)} of each row")
        for segment, field in zip(segments, fields, strict=True):
            place = name if len(fields) == 1 else f"{name}: {field}"
            if not isinstance(segment, str):
                raise InputError(f"{place} is {type_name(segment)}; expected a str")
            if not segment.strip():
                raise InputError(f"{place} is empty")
        return segments


def open_predictor(model: str | Path | Run, *, precision: str = "float32") -> Predictor:
    """A run or an export, ready for many calls of `predict`.

    In a web server, load and call it in the workers: TensorFlow does not work in a process that was forked after it was
    started.

    Args:
        model: as for `predict`.
        precision: of a run's matrix products: "float32", "bfloat16", "float16", or "auto", which is bfloat16 where the
            processor multiplies it fast. An export has its own.

    Raises:
        InputError: there is no such model, it is an export that was changed since it was exported, or one that is asked
            for another precision.

    Example:
        predictor = open_predictor("runs/reviews", precision="auto")
        predict(predictor, ["a warm, funny film"])
    """
    if check_type("precision", precision, str, f"one of {', '.join(PRECISIONS)}") not in PRECISIONS:
        raise InputError(f"--precision {precision}: must be one of {', '.join(PRECISIONS)}")
    if isinstance(model, Run):
        return _run_predictor(model, precision)
    path = check_path("model", model, "a run, or the path of a run or an export")
    is_lite, is_saved_model = path.suffix == ".tflite", (path / "saved_model.pb").is_file()
    found = versions(path)
    if not (is_lite or is_saved_model or found):
        return _run_predictor(Run(path), precision)
    if precision not in ("float32", "auto"):
        raise InputError(f"--precision {precision}: {path} is an export, which has its own; leave it out")
    return _tflite_predictor(path) if is_lite else _saved_model_predictor(path if is_saved_model else found[-1])


def _reopen_predictor(name: str, precision: str) -> Predictor:
    return open_predictor(name, precision=precision)


def _run_predictor(run: Run, precision: str) -> Predictor:
    task, load_model = run.recipe.task, cache(run.load_model)

    def load() -> Callable[[Sequence[tuple[str, ...]]], list[dict[str, Any]]]:
        from tfhub_ft.encoders import HubEncoder
        from tfhub_ft.utils.keras_compat import flatten_layers
        from tfhub_ft.utils.precision import keep_freed_memory, matrix_products_in, resolve_precision

        keep_freed_memory()
        model, resolved = load_model(), resolve_precision(precision)
        if resolved != "float32":
            for layer in flatten_layers(model):
                if isinstance(layer, HubEncoder):
                    layer.backend.cast_kernels(resolved)
        answer = make_predict_fn(task, model, run.labels, run.thresholds)

        def answer_in_precision(rows: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
            with matrix_products_in(resolved, model):
                return answer(rows)

        return answer_in_precision

    def preprocessor() -> Any:
        return load_model().get_layer("preprocessor")

    return Predictor(task, run.labels, load, str(run.path.resolve()), preprocessor, run.settings, precision)


def _saved_model_predictor(path: Path) -> Predictor:
    check_artifact(path)
    described, runtime = read_description(path), SavedModelRuntime(path)
    model = RuntimeModel(runtime, described_task(described, path), described, reads_texts=True)

    def preprocessor() -> Any:
        return saved_preprocessor(path, runtime.model) if "preprocessor" in described else None

    return Predictor(model.task, model.labels, lambda: model.predict, str(path.resolve()), preprocessor)


def _tflite_predictor(path: Path) -> Predictor:
    described = read_description(path)
    kind = TFLiteTextRuntime if described["reads_texts"] else TFLiteRuntime
    # A file that was changed can end the process that loads it.
    is_safe = check_artifact(path)

    def load() -> Callable[[Sequence[tuple[str, ...]]], list[dict[str, Any]]]:
        runtime = kind(path) if is_safe else IsolatedRuntime(kind).open(path)
        model = RuntimeModel(runtime, task, described, preprocessor, reads_texts=described["reads_texts"])

        def predict(rows: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
            try:
                return model.predict(rows)
            except RunError as error:
                raise InputError(f"{error}; restore the file, or export its run again") from None

        return predict

    task, preprocessor = described_task(described, path), cache(lambda: tflite_preprocessor(path))
    return Predictor(task, described["labels"], load, str(path.resolve()), preprocessor)


def predict_file(
    model: "str | Path | Run | Predictor",
    source: "str | Path | TextIO",
    *,
    columns: Sequence[Column] | None = None,
    options: ReadOptions | None = None,
    skip_bad_rows: bool = False,
    keep_columns: bool = False,
) -> Iterator[dict]:
    """Predict the rows of a file or of a stream of lines, in bounded memory.

    A row without a text, such as a blank line of a txt file, has an empty prediction: every row keeps its place.

    Args:
        model: as for `predict`.
        source: a file of rows; or a txt file or an open stream, a text a line, the two texts of a pair with a tab
            between them.
        columns: the columns that the texts are read from; the task's own names by default.
        options: what the file itself does not tell.
        skip_bad_rows: count bad rows and leave them out, where the first one is an error otherwise.
        keep_columns: whether predictions have the other columns of the file, too. One that is called as a part of the
            prediction is called input_NAME.

    Yields:
        For each row, in order, the kept columns, its texts by the task's names (text, or sentence1 and sentence2) and
        the prediction, whose parts are None for a row without a text.

    Raises:
        InputError: the file or a row is not as it must be; or the model is not found.
    """
    predictor = model if isinstance(model, Predictor) else open_predictor(model)
    fields, skipped = predictor.task.fields, []
    counts = {"rows": 0, "empty": 0, "nan": 0, "truncated": 0}
    uncounted: list[tuple[str, ...]] = []

    def count_truncated() -> None:
        counts["truncated"] += predictor.truncated_rows(uncounted)
        uncounted.clear()

    rows = read_texts(
        source,
        columns or predictor.task.columns(labeled=False),
        options=options,
        keep_columns=keep_columns,
        on_bad_row=skipped.append if skip_bad_rows else None,
    )
    for row, prediction in _predicted(predictor, rows, skipped.append if skip_bad_rows else None):
        counts["rows"] += 1
        if row.segments is None:
            counts["empty"] += 1
        else:
            uncounted.append(row.segments)
        if len(uncounted) == COUNTED_AT_ONCE:
            count_truncated()
        counts["nan"] += any(isinstance(text, str) and is_nan(text) for text in row.texts)
        named = {**dict(zip(fields, row.texts, strict=True)), **prediction}
        yield {**_renamed(row.others, named), **named}
    count_truncated()
    name = "standard input" if hasattr(source, "read") else str(source)
    if counts["truncated"]:
        rows = f"{name}: {counts['truncated']:,} of {counts['rows']:,} rows"
        warn(truncation_warning(rows, predictor.seq_length))
    _say_counts(name, counts, skipped)


def _renamed(others: dict[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """The kept columns, called input_NAME, or input_input_NAME ..., where NAME is that of a text or a prediction."""
    renamed: dict[str, Any] = {}
    for name, value in others.items():
        free = name
        while free in taken or free in renamed or (free != name and free in others):
            free = f"input_{free}"
        renamed[free] = value
    return renamed


def _say_counts(name: str, counts: dict[str, int], skipped: Sequence[str]) -> None:
    if counts["empty"]:
        log(f"{name}: {counts['empty']:,} of {counts['rows']:,} rows without a text; their predictions are empty")
    if counts["nan"]:
        rows = f"{counts['nan']:,} row{'s' if counts['nan'] > 1 else ''}"
        warn(f"{name}: {rows} with the text nan, which pandas writes for a missing value")
    if skipped:
        first = skipped[0].removeprefix(f"{name}, ")
        log(f"{name}: skipped {len(skipped):,} bad row{'s' if len(skipped) > 1 else ''} (first: {first})")


def _predicted(
    predictor: Predictor, rows: Iterable[TextRow], on_bad_row: Callable[[str], None] | None
) -> Iterator[tuple[TextRow, dict[str, Any]]]:
    """Each row and its prediction; some rows are predicted at once. Those before the first prediction wait for it."""
    rows, blank, waiting = iter(rows), None, []
    while window := list(itertools.islice(rows, predictor.task.rows_at_once)):
        window, predictions = _window(predictor, window, on_bad_row)
        if blank is None and predictions:
            blank = _blank(predictions[0])
        found = iter(predictions)
        waiting += [(row, blank if row.segments is None else next(found)) for row in window]
        if blank is not None:
            yield from ((row, blank if prediction is None else prediction) for row, prediction in waiting)
            waiting = []
    yield from ((row, {}) for row, _ in waiting)


def _window(
    predictor: Predictor, window: list[TextRow], on_bad_row: Callable[[str], None] | None
) -> tuple[list[TextRow], list[dict[str, Any]]]:
    """The rows that can be predicted or have no text, and the predictions of the former."""
    while True:
        texts = [row for row in window if row.segments is not None]
        try:
            return window, predictor([row.segments for row in texts])
        except RowError as fault:
            bad = texts[fault.row]
            if on_bad_row is None:
                raise InputError(f"{bad.place}: {fault}") from None
            on_bad_row(f"{bad.place}: {fault}")
            window = [row for row in window if row is not bad]


def _blank(prediction: dict[str, Any]) -> dict[str, Any]:
    """A prediction of the same parts, all None."""
    return {name: dict.fromkeys(value) if isinstance(value, dict) else None for name, value in prediction.items()}


def write_answers(answers: Iterable[dict[str, Any]], path: Path, *, spreadsheet_safe: bool = False) -> int:
    """Write answers to a file, whole or not at all; its suffix tells the format: csv, tsv or jsonl.

    Args:
        answers: as `predict_file` yields them.
        path: the file.
        spreadsheet_safe: see `answer_writer`.

    Returns:
        How many there were.
    """
    count = 0
    with (
        atomic_write(path) as aside,
        aside.open("w", encoding="utf-8", newline="") as file,
        progress(f"Answering into {path}", None, "rows") as advance,
    ):
        write = answer_writer(path.suffix.lower().lstrip("."), file, spreadsheet_safe=spreadsheet_safe)
        for answer in answers:
            write(answer)
            advance(1)
            count += 1
    return count


def predict_shards(
    model: "str | Path | Run | Predictor",
    sources: Sequence[Path],
    folder: Path,
    *,
    spreadsheet_safe: bool = False,
    **how: Any,
) -> Iterator[tuple[Path, int]]:
    """Answer many files, each into a file of a folder; those that a run before this one has answered are left alone.

    A file's answers are whole or not there, and `answers.json`, written after each, names those that are: a prediction
    that was stopped or killed goes on with the first file that it lists not, and every row is answered once.

    Args:
        model: as for `predict`.
        sources: files as for `predict_file`.
        folder: where a file is written for each, by its name: csv for csv, tsv for tsv, jsonl for others.
        spreadsheet_safe: see `answer_writer`.
        how: the other arguments of `predict_file`.

    Yields:
        Each file of answers, and how many rows were answered now: 0 where it was there.

    Raises:
        InputError: a file or a row is not as it must be, or the folder holds answers of other files or of another
            model. What was answered before stays.
    """
    predictor = model if isinstance(model, Predictor) else open_predictor(model)
    targets = [_shard_name(source) for source in sources]
    for target in targets:
        if targets.count(target) > 1:
            raise InputError(f"--input: two files would both be answered in {folder / target}; answer them apart")
    check_writable(folder, "--output")
    for source, target in zip(sources, targets, strict=True):
        if folder.is_dir() and folder.samefile(source.parent):
            raise InputError(f"--output {folder}: is the folder of the input {source}; choose another folder")
        check_output(folder / target, "--output", sources)
    listed = folder / SHARDS
    done = read_json(listed, {str: {"input": str, "bytes": int, "model": str}}) if listed.is_file() else {}
    if not done and contents(folder):
        raise InputError(f"--output {folder}: not empty, and without predictions; choose another folder")
    for source, target in zip(sources, targets, strict=True):
        now = {"input": str(source.resolve()), "bytes": source.stat().st_size, "model": predictor.name}
        before = done.get(target)
        if before and {name: before[name] for name in now} != now:
            raise InputError(f"--output {folder}: {target} has answers of another file or model; name another folder")
        if before and (folder / target).is_file():
            yield folder / target, 0
            continue
        answers = predict_file(predictor, source, **how)
        rows = write_answers(answers, folder / target, spreadsheet_safe=spreadsheet_safe)
        done[target] = {**now, "rows": rows}
        write_json(listed, done)
        yield folder / target, rows


def _shard_name(source: Path) -> str:
    name = source.name.removesuffix(".gz")
    stem, suffix = Path(name).stem, Path(name).suffix.lower()
    return stem + (suffix if suffix in (".csv", ".tsv") else ".jsonl")


def answer_writer(form: str, file: TextIO, *, spreadsheet_safe: bool = False) -> Callable[[dict[str, Any]], None]:
    """A function that writes answers to an open file as "csv", "tsv" or "jsonl", the texts first.

    In csv and tsv a list is one cell, its parts between commas, and each probability a column of its own.

    Args:
        form: "csv", "tsv" or "jsonl".
        file: where to.
        spreadsheet_safe: of csv and tsv, whether cells that a spreadsheet would take for a formula begin with an
            apostrophe, and all cells of a csv are quoted.

    Reference:
        https://owasp.org/www-community/attacks/CSV_Injection
    """
    if form == "jsonl":
        return lambda answer: print(to_json(answer, file), file=file)
    quoting = csv.QUOTE_ALL if spreadsheet_safe else csv.QUOTE_MINIMAL
    write_cells = csv.writer(file, quoting=quoting).writerow
    header: list[str] = []

    def cell_of(value: Any) -> str:
        # A tab or a line end inside a text would end its field: tsv has no quoting.
        cell = " ".join(_cell(value).split()) if form == "tsv" else _cell(value)
        is_formula = cell.startswith(FORMULA_SIGNS) and not isinstance(value, int | float)
        return f"'{cell}" if spreadsheet_safe and is_formula else cell

    def write_row(values: Iterable[Any]) -> None:
        cells = [cell_of(value) for value in values]
        if form == "tsv":
            print("\t".join(cells), file=file)
        else:
            write_cells(cells)

    def write(answer: dict[str, Any]) -> None:
        cells = {name: value for name, value in answer.items() if name != "probabilities"}
        cells |= {f"probability_{label}": value for label, value in answer.get("probabilities", {}).items()}
        if not header:
            header.extend(cells)
            write_row(header)
        write_row(cells.get(name) for name in header)

    return write


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return ", ".join(each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
