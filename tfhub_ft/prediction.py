"""Answers of a trained or exported model, for texts and for files of any size."""

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from tfhub_ft.data.batches import TokenRows, tokenize
from tfhub_ft.data.rows import Column, read_rows
from tfhub_ft.errors import InputError
from tfhub_ft.exports.saved_model import LABELS_ASSET
from tfhub_ft.files import written_aside
from tfhub_ft.run import Run

if TYPE_CHECKING:
    import keras

BATCH = 32
WINDOW = 4096


def predict(model: "str | Path | Run | Predictor", texts: Sequence[str]) -> list[dict[str, Any]]:
    """The answers of a run or of an export. What `tfhub-ft predict` does.

    Args:
        model: a run, a run folder, an export folder (its newest version is taken) or a SavedModel folder.
        texts: the texts.

    Returns:
        An answer for each text, in order; of a classifier {"label", "score", "probabilities": {label: probability}}.

    Raises:
        InputError: there is no such model, or a text is empty.

    Example:
        tfhub_ft.predict("runs/reviews", ["a warm, funny film"])[0]["label"]
    """
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"text {number} is empty")
    predictor = model if callable(model) else open_predictor(model)
    return list(itertools.chain.from_iterable(predictor(part) for part in _windows(texts)))


Predictor = Callable[[Sequence[str]], list[dict[str, Any]]]


def open_predictor(model: str | Path | Run) -> Predictor:
    """Load a run or an export, once, for many calls of `predict`.

    Args:
        model: as for `predict`.

    Returns:
        A function from texts to their answers.
    """
    if isinstance(model, Run):
        return _run_predictor(model)
    path = Path(model)
    if (path / "saved_model.pb").is_file():
        return _saved_model_predictor(path)
    versions = sorted((p for p in path.glob("[0-9]*") if (p / "saved_model.pb").is_file()), key=lambda p: int(p.name))
    if versions:
        return _saved_model_predictor(versions[-1])
    return _run_predictor(Run(path))


def logits_function(network: "keras.Model", *, batch_size: int = BATCH) -> Callable[[TokenRows], np.ndarray]:
    """A function from tokenized rows to their logits, computed in batches of similar length.

    Args:
        network: a model that takes token ids.
        batch_size: rows at once.

    Returns:
        A function that gives float32 (rows, classes), in the order of the rows.
    """
    import tensorflow as tf

    signature = {name: tf.TensorSpec((None, None), tf.int32) for name in network.input}
    step = tf.function(lambda tokens: network(tokens, training=False), input_signature=[signature])

    def logits_of(tokens: TokenRows) -> np.ndarray:
        order = list(tokens.by_length(batch_size))
        answers = np.concatenate([step(tokens.batch(rows)).numpy() for rows in order])
        logits = np.empty_like(answers)
        logits[np.concatenate(order)] = answers
        return logits

    return logits_of


def _run_predictor(run: Run) -> Predictor:
    model = run.load_model()
    network, preprocessor = model.get_layer("token_model"), model.get_layer("preprocessor")
    task, labels, logits_of = run.recipe.task, run.labels, logits_function(network)

    def answer(texts: Sequence[str]) -> list[dict[str, Any]]:
        return task.answers(logits_of(tokenize(preprocessor, [(text,) for text in texts])), labels)

    return answer


def _saved_model_predictor(path: Path) -> Predictor:
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers the operations of the tokenizer

    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures.get("serving_default")
    outputs = set(signature.structured_outputs) if signature else set()
    if not {"probabilities", "label", "score"} <= outputs:
        raise InputError(f"{path} is no export of a classifier: its outputs are {', '.join(sorted(outputs)) or 'none'}")
    labels = json.loads((path / LABELS_ASSET).read_text(encoding="utf-8"))

    def answer(texts: Sequence[str]) -> list[dict[str, Any]]:
        answers: list[Any] = [None] * len(texts)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            batch = {k: v.numpy() for k, v in signature(tf.constant([texts[i] for i in rows])).items()}
            for i, label, score, each in zip(
                rows, batch["label"], batch["score"], batch["probabilities"].tolist(), strict=True
            ):
                probabilities = dict(zip(labels, each, strict=True))
                answers[i] = {"label": label.decode(), "score": float(score), "probabilities": probabilities}
        return answers

    return answer


def predict_file(
    model: "str | Path | Predictor", source: "Path | TextIO", *, columns: Sequence[Column]
) -> Iterator[dict]:
    """Answer the rows of a file or of a stream of lines, in bounded memory.

    Args:
        model: as for `predict`.
        source: a csv, tsv or jsonl file; or a txt file or an open stream, a text a line, blank lines skipped.
        columns: the columns that csv, tsv and jsonl files are read by.

    Yields:
        {"text", "label", "score", "probabilities"} for each row, in order.

    Raises:
        InputError: the file or a row is not as it must be; or there is no such model.
    """
    texts = _texts(source, columns)
    first = list(itertools.islice(texts, 1))
    predictor = model if callable(model) else open_predictor(model)
    for window in _windows(itertools.chain(first, texts)):
        for text, answer in zip(window, predictor(window), strict=True):
            yield {"text": text, **answer}


def _texts(source: Path | TextIO, columns: Sequence[Column]) -> Iterator[str]:
    if isinstance(source, Path) and source.suffix.lower() != ".txt":
        yield from (row.values["text"] for row in read_rows(source, columns))
        return
    name = str(source) if isinstance(source, Path) else "standard input"
    try:
        lines = source.open("rb") if isinstance(source, Path) else source.buffer
    except OSError as error:
        raise InputError(f"{source}: {error.strerror}") from None
    empty = True
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(f"{name}, line {number}: byte {error.start + 1} is no UTF-8") from None
        if text.strip():
            empty = False
            yield text
    if empty:
        raise InputError(f"{name} has no texts")


def _windows(texts: Iterable[str]) -> Iterator[list[str]]:
    texts = iter(texts)
    while window := list(itertools.islice(texts, WINDOW)):
        yield window


def write_answers(answers: Iterable[dict[str, Any]], path: Path) -> int:
    """Write answers to a file, whole or not at all; its suffix tells the format: csv, tsv or jsonl.

    Returns:
        How many there were.
    """
    count = 0
    with written_aside(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        write = answer_writer(path.suffix.lower().lstrip("."), file)
        for answer in answers:
            write(answer)
            count += 1
    return count


def answer_writer(form: str, file: TextIO) -> Callable[[dict[str, Any]], None]:
    """A function that writes answers to an open file as "csv", "tsv" or "jsonl"; columns text, label, score first."""
    if form == "jsonl":
        return lambda answer: print(json.dumps(answer, ensure_ascii=False), file=file)
    write_row = csv.writer(file).writerow if form == "csv" else _tsv_row(file)
    header: list[str] = []

    def write(answer: dict[str, Any]) -> None:
        if not header:
            header.extend(["text", "label", "score", *(f"probability_{label}" for label in answer["probabilities"])])
            write_row(header)
        numbers = [answer["score"], *answer["probabilities"].values()]
        write_row([answer["text"], answer["label"], *(f"{number:.6g}" for number in numbers)])

    return write


def _tsv_row(file: TextIO) -> Callable[[list[str]], None]:
    # A tab or a line end inside a text would end its field: the format has no quoting.
    return lambda row: print("\t".join(" ".join(str(cell).split()) for cell in row), file=file)
