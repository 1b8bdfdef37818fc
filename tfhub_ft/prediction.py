"""Answers of a trained or exported model, for texts and for files of any size."""

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from tfhub_ft.arguments import check_path, check_texts, check_type, plain_text, type_name
from tfhub_ft.console import decode_input, progress, to_json, with_bar
from tfhub_ft.data.batches import TokenRows
from tfhub_ft.data.columns import Column
from tfhub_ft.data.rows import read_rows
from tfhub_ft.errors import InputError, RowFault
from tfhub_ft.exports.saved_model import read_task, versions
from tfhub_ft.files import check_output, check_place, contents, write_json, written_aside
from tfhub_ft.run import Run
from tfhub_ft.settings import PRECISIONS
from tfhub_ft.tasks.task import Task, described_task
from tfhub_ft.training.strategies import answers_of_replicas

if TYPE_CHECKING:
    import keras

BATCH = 64
BATCH_CHARACTERS = 2**17
SHARDS = "answers.json"
# What an error calls a row, and the row's segments: texts, or messages in place of a prompt.
NamedRow = tuple[str, tuple[Any, ...]]


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
    named = ((f"text {number}", row) for number, row in enumerate(rows, 1))
    return [answer for _, answer in _answered(predictor, named)]


class Predictor:
    """A run or an export that answers; loaded once, when it is first called, for many calls of `predict`.

    Args:
        task: what is answered.
        labels: the labels, in the order of the logits.
        load: makes the function from rows of segments to answers.
        name: of the run or the export.
    """

    def __init__(
        self,
        task: Task,
        labels: Sequence[str],
        load: Callable[[], Callable[[Sequence[tuple[str, ...]]], list[dict[str, Any]]]],
        name: str,
    ):
        self.task, self.labels, self._load, self.name = task, labels, load, name

    @cached_property
    def _answer(self) -> Callable[[Sequence[tuple[str, ...]]], list[dict[str, Any]]]:
        return self._load()

    def __call__(self, rows: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
        """The answers of rows, each a tuple of the task's segments."""
        return self._answer(rows) if rows else []

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

    Args:
        model: as for `predict`.
        precision: of a run's matrix products: "float32", "bfloat16", "float16", or "auto", which is bfloat16 where the
            processor multiplies it fast. An export has its own.

    Raises:
        InputError: there is no such model, or it is an export that is asked for another precision.

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
    return _lite_predictor(path) if is_lite else _saved_model_predictor(path if is_saved_model else found[-1])


def logits_function(
    network: "keras.Model", *, batch_size: int = BATCH, scoring: bool = False
) -> Callable[[TokenRows], np.ndarray]:
    """A function from tokenized rows to their logits, computed in batches of similar length.

    Args:
        network: a model that takes token ids, or what else a batch of the rows is. One that was made within the scope
            of a tf.distribute strategy answers on all its replicas.
        batch_size: rows at once.
        scoring: whether a bar shows how far it is.

    Returns:
        A function that gives float32 (rows, classes), in the order of the rows.
    """
    import tensorflow as tf

    step: Any = None

    def logits_of(tokens: TokenRows) -> np.ndarray:
        nonlocal step
        order = list(tokens.by_length(batch_size))
        strategy = getattr(network, "distribute_strategy", None)
        if strategy and strategy.num_replicas_in_sync > 1:
            return answers_of_replicas(strategy, network, tokens.batch, order)
        step = step or tf.function(
            lambda batch: network(batch, training=False), input_signature=[tokens.signature], autograph=False
        )
        batches = with_bar(order, "Scoring", len(tokens)) if scoring else order
        answers = np.concatenate([step(tokens.batch(rows)).numpy() for rows in batches])
        logits = np.empty_like(answers)
        logits[np.concatenate(order)] = answers
        return logits

    return logits_of


def graph_answerer(
    call: Callable[..., dict[str, Any]],
    names: Sequence[str],
    worded: Callable[[dict[str, np.ndarray], Sequence[tuple[str, ...]]], list[dict[str, Any]]],
) -> Callable[[Sequence[tuple[str, ...]]], list[dict[str, Any]]]:
    """A function from rows of segments to answers, by a graph that takes texts, in batches of similar length.

    Args:
        call: takes string tensors (batch,) by name, and gives outputs by name.
        names: of the segments.
        worded: from a batch's outputs and its rows to answers.
    """
    import tensorflow as tf

    def answer(rows: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
        for number, row in enumerate(rows):
            if not all(isinstance(segment, str) for segment in row):
                raise RowFault(number, "has messages, where an export reads a prompt alone: predict by the run")
        answers: list[Any] = [None] * len(rows)
        for batch in batches_by_size(rows):
            columns = zip(names, zip(*(rows[i] for i in batch), strict=True), strict=True)
            outputs = call(**{name: tf.constant(column) for name, column in columns})
            outputs = {name: tensor.numpy() for name, tensor in outputs.items()}
            for i, each in zip(batch, worded(outputs, [rows[i] for i in batch]), strict=True):
                answers[i] = each
        return answers

    return answer


def batches_by_size(rows: Sequence[tuple[str, ...]]) -> Iterator[list[int]]:
    """Indices of rows of texts, from the shortest to the longest, in batches of 64, fewer where texts are long."""
    sizes = [sum(map(len, row)) for row in rows]
    batch: list[int] = []
    for i in sorted(range(len(rows)), key=sizes.__getitem__):
        if batch and (len(batch) == BATCH or (len(batch) + 1) * sizes[i] > BATCH_CHARACTERS):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _run_predictor(run: Run, precision: str) -> Predictor:
    task = run.recipe.task

    def load() -> Callable[[Sequence[tuple[str, ...]]], list[dict[str, Any]]]:
        from tfhub_ft.encoders import HubEncoder
        from tfhub_ft.training.hardware import keep_freed_memory, matrix_products_in, resolve_precision

        keep_freed_memory()
        model, resolved = run.load_model(), resolve_precision(precision)
        if resolved != "float32":
            for layer in model._flatten_layers():
                if isinstance(layer, HubEncoder) and layer.is_native:
                    layer.round_kernels(resolved)
        answer = task.answerer(model, run.labels, run.decision)

        def answer_in_precision(rows: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
            with matrix_products_in(resolved, model):
                return answer(rows)

        return answer_in_precision

    return Predictor(task, run.labels, load, str(run.path.resolve()))


def _saved_model_predictor(path: Path) -> Predictor:
    described = read_task(path)
    task, inputs = described_task(described, path), described["inputs"]

    def load() -> Callable[[Sequence[tuple[str, ...]]], list[dict[str, Any]]]:
        import tensorflow as tf
        import tensorflow_text  # noqa: F401  registers the operations of the tokenizer

        signature = tf.saved_model.load(str(path)).signatures["serving_default"]

        def worded(outputs: dict[str, np.ndarray], rows: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
            return task.served_answers(outputs, rows, described["labels"], described["decision"])

        return graph_answerer(signature, inputs, worded)

    return Predictor(task, described["labels"], load, str(path.resolve()))


def _lite_predictor(path: Path) -> Predictor:
    from tfhub_ft.exports.lite_model import LiteModel

    lite = LiteModel(path)
    return Predictor(lite.task, lite.labels, lambda: lite.answers, str(path.resolve()))


def predict_file(
    model: "str | Path | Run | Predictor", source: "Path | TextIO", *, columns: Sequence[Column] | None = None
) -> Iterator[dict]:
    """Answer the rows of a file or of a stream of lines, in bounded memory.

    Args:
        model: as for `predict`.
        source: a csv, tsv or jsonl file; or a txt file or an open stream, a row a line, blank lines skipped, the two
            texts of a pair with a tab between them.
        columns: the columns that csv, tsv and jsonl files are read by; the task's own names by default.

    Yields:
        For each row, in order, its texts by the task's names (text, or sentence1 and sentence2) and the answer.

    Raises:
        InputError: the file or a row is not as it must be; or there is no such model.
    """
    predictor = model if isinstance(model, Predictor) else open_predictor(model)
    rows = _rows(source, columns or predictor.task.text_columns(), predictor)
    for segments, answer in _answered(predictor, rows):
        yield {**dict(zip(predictor.task.fields, segments, strict=True)), **answer}


def _rows(source: Path | TextIO, columns: Sequence[Column], predictor: Predictor) -> Iterator[NamedRow]:
    if isinstance(source, Path) and source.suffix.lower() != ".txt":
        for row in read_rows(source, columns):
            yield f"{source}, line {row.line}", tuple(row.values[column.name] for column in columns)
        return
    name = str(source) if isinstance(source, Path) else "standard input"
    try:
        lines = source.open("rb") if isinstance(source, Path) else source.buffer
    except OSError as error:
        raise InputError(f"{source}: {error.strerror}") from None
    empty = True
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig") if isinstance(source, Path) else decode_input(line)
            text = text.rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(f"{name}, line {number}: byte {error.start + 1} is not UTF-8; save it as UTF-8") from None
        if text.strip():
            empty = False
            segments = text.split("\t") if len(predictor.task.fields) > 1 else text
            place = f"{name}, line {number}"
            yield place, predictor.segments(segments, place)
    if empty:
        raise InputError(f"{name} has no texts")


def _answered(predictor: Predictor, rows: Iterable[NamedRow]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """The segments of each row and its answer; some rows are answered at once."""
    rows = iter(rows)
    while window := list(itertools.islice(rows, predictor.task.answered_at_once)):
        names, segments = zip(*window, strict=True)
        try:
            answers = predictor(segments)
        except RowFault as fault:
            raise InputError(f"{names[fault.row]}: {fault}") from None
        yield from zip(segments, answers, strict=True)


def write_answers(answers: Iterable[dict[str, Any]], path: Path) -> int:
    """Write answers to a file, whole or not at all; its suffix tells the format: csv, tsv or jsonl.

    Returns:
        How many there were.
    """
    count = 0
    with (
        written_aside(path) as aside,
        aside.open("w", encoding="utf-8", newline="") as file,
        progress(f"Answering into {path}", None, "rows") as advance,
    ):
        write = answer_writer(path.suffix.lower().lstrip("."), file)
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
    columns: Sequence[Column] | None = None,
) -> Iterator[tuple[Path, int]]:
    """Answer many files, each into a file of a folder; those that a run before this one has answered are left alone.

    A file's answers are whole or not there, and `answers.json`, written after each, names those that are: a prediction
    that was stopped or killed goes on with the first file that it lists not, and every row is answered once.

    Args:
        model: as for `predict`.
        sources: csv, tsv, jsonl or txt files.
        folder: where a file is written for each, by its name: csv for csv, tsv for tsv, jsonl for others.
        columns: as for `predict_file`.

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
    check_place(folder, "--output")
    for source, target in zip(sources, targets, strict=True):
        if folder.is_dir() and folder.samefile(source.parent):
            raise InputError(f"--output {folder}: is the folder of the input {source}; choose another folder")
        check_output(folder / target, "--output", sources)
    listed = folder / SHARDS
    done = json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() else {}
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
        rows = write_answers(predict_file(predictor, source, columns=columns), folder / target)
        done[target] = {**now, "rows": rows}
        write_json(listed, done)
        yield folder / target, rows


def _shard_name(source: Path) -> str:
    name = source.name.removesuffix(".gz")
    stem, suffix = Path(name).stem, Path(name).suffix.lower()
    return stem + (suffix if suffix in (".csv", ".tsv") else ".jsonl")


def answer_writer(form: str, file: TextIO) -> Callable[[dict[str, Any]], None]:
    """A function that writes answers to an open file as "csv", "tsv" or "jsonl", the texts first.

    In csv and tsv a list is one cell, its parts between commas, and each probability a column of its own.
    """
    if form == "jsonl":
        return lambda answer: print(to_json(answer, file), file=file)
    write_row = csv.writer(file).writerow if form == "csv" else _tsv_row(file)
    header: list[str] = []

    def write(answer: dict[str, Any]) -> None:
        cells = {name: value for name, value in answer.items() if name != "probabilities"}
        cells |= {f"probability_{label}": value for label, value in answer.get("probabilities", {}).items()}
        if not header:
            header.extend(cells)
            write_row(header)
        write_row([_cell(cells[name]) for name in header])

    return write


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _tsv_row(file: TextIO) -> Callable[[list[str]], None]:
    # A tab or a line end inside a text would end its field: the format has no quoting.
    return lambda row: print("\t".join(" ".join(str(cell).split()) for cell in row), file=file)
