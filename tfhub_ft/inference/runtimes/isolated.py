"""A form of a model, loaded, called and timed in a process of its own, as whoever gets the file will do it."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfhub_ft.utils.files import temporary_folder
from tfhub_ft.utils.memory import collect_seldom, peak_memory
from tfhub_ft.utils.processes import module_command, run_quietly
from tfhub_ft.utils.saved_graph import check_graph

Feed = dict[str, np.ndarray]
TIMED = 50


@dataclass(frozen=True)
class IsolatedResult:
    """What a process found.

    Args:
        outputs: arrays by name, for each feed.
        load_seconds: from opening the file to the first answer, without the import of the runtime.
        peak_memory_bytes: the most that the process held, its runtime included.
        row_seconds: of each timed call of one row.
        batch_seconds: of all feeds, one after the other, once all is warm.
    """

    outputs: list[Feed]
    load_seconds: float
    peak_memory_bytes: int
    row_seconds: np.ndarray
    batch_seconds: float

    @property
    def latency_ms(self) -> dict[str, float]:
        """{"p50", "p95"} of one row, in milliseconds."""
        p50, p95 = np.percentile(self.row_seconds * 1000, [50, 95]).round(2).tolist()
        return {"p50": p50, "p95": p95}


def run_isolated(
    kind: str, path: Path, feeds: Sequence[Feed], rows: Sequence[Feed], *, timed: int = TIMED
) -> IsolatedResult:
    """Call a form of a model in a fresh process.

    Args:
        kind: "tflite", "tflite_text", "onnx", "saved_model" (its texts), "saved_model_tokens", "saved_model_generate"
            or "saved_model_score".
        path: the file, or the SavedModel's folder.
        feeds: batches of inputs by name.
        rows: feeds of one row, which are timed.
        timed: how many of them at most.

    Raises:
        RunError: the form cannot be run.
        UntrustedCode: it is a SavedModel that may do more than compute, and --trust is not given.
    """
    if kind.startswith("saved_model"):
        check_graph(path)
    with temporary_folder() as folder:
        questions, answers = Path(folder) / "questions.npz", Path(folder) / "answers.npz"
        parts = {"feed": feeds, "row": rows[:timed]}
        arrays = {
            f"{part}|{number:06}|{name}": array
            for part, calls in parts.items()
            for number, call in enumerate(calls)
            for name, array in call.items()
        }
        np.savez(questions, **arrays)
        words = map(str, (path, questions, answers))
        run_quietly(module_command("tfhub_ft.inference.runtimes.isolated", kind, *words), f"{path} cannot be run")
        with np.load(answers) as found:
            outputs: list[Feed] = [{} for _ in feeds]
            for key in found:
                if "|" in key:
                    number, name = key.split("|")
                    outputs[int(number)][name] = found[key]
            return IsolatedResult(
                outputs=outputs,
                load_seconds=float(found["load_seconds"]),
                peak_memory_bytes=int(found["peak_memory_bytes"]),
                row_seconds=found["row_seconds"],
                batch_seconds=float(found["batch_seconds"]),
            )


def token_feed(preprocessor: Any, rows: Sequence[Sequence[str]]) -> Feed:
    """Rows of segments as tokens, padded to the longest of them."""
    import tensorflow as tf

    segments = [tf.constant(column) for column in zip(*rows, strict=True)]
    tokens = preprocessor(segments if len(segments) > 1 else segments[0])
    return {name: ids.numpy() for name, ids in tokens.items()}


def one_by_one(feeds: Sequence[Feed]) -> list[Feed]:
    """The rows of batches, each without its padding."""
    rows = []
    for feed in feeds:
        for number in range(len(next(iter(feed.values())))):
            row = {name: array[number : number + 1] for name, array in feed.items()}
            if "input_mask" in row:
                row = {name: array[:, : int(row["input_mask"].sum())] for name, array in row.items()}
            rows.append(row)
    return rows


def _lite(path: Path, *, reads_texts: bool = False) -> Callable[[Feed], Feed]:
    from tfhub_ft.inference.runtimes.tflite import signature_runner

    runner = signature_runner(path, reads_texts=reads_texts, threads=os.cpu_count())
    if reads_texts:
        return lambda feed: {k: v.copy() for k, v in runner(text=feed["text"].astype(object)).items()}
    return lambda feed: {name: output.copy() for name, output in runner(**feed).items()}


def _onnx(path: Path) -> Callable[[Feed], Feed]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    wanted = {each.name for each in session.get_inputs()}

    def call(feed: Feed) -> Feed:
        inputs = {name: array for name, array in feed.items() if name in wanted}
        return dict(zip(names, session.run(names, inputs), strict=True))

    return call


def _saved_model(path: Path, *, signature: str) -> Callable[[Feed], Feed]:
    call = _signature(path, signature)

    def numbers(feed: Feed) -> Feed:
        return {name: output.numpy() for name, output in call(feed).items() if output.dtype.name != "string"}

    return numbers


def _signature(path: Path, name: str) -> Callable[[Feed], dict[str, Any]]:
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers the operations of the tokenizer

    loaded = tf.saved_model.load(str(path))
    function = loaded.signatures[name]
    function.model = loaded
    return lambda feed: function(**{name: tf.constant(array) for name, array in feed.items()})


def _saved_writer(path: Path) -> Callable[[Feed], Feed]:
    call = _signature(path, "generate")
    return lambda feed: {"reply": np.array([reply.decode() for reply in call(feed)["reply"].numpy()])}


KINDS: dict[str, Callable[[Path], Callable[[Feed], Feed]]] = {
    "tflite": _lite,
    "tflite_text": lambda path: _lite(path, reads_texts=True),
    "onnx": _onnx,
    "saved_model": lambda path: _saved_model(path, signature="serving_default"),
    "saved_model_tokens": lambda path: _saved_model(path, signature="tokens"),
    "saved_model_generate": _saved_writer,
    "saved_model_score": lambda path: _saved_model(path, signature="score"),
}


def _import_runtime(kind: str) -> None:
    """What is imported once is not the model's."""
    if kind.startswith("tflite"):
        import ai_edge_litert.interpreter  # noqa: F401
    if kind == "onnx":
        import onnxruntime  # noqa: F401
    if kind.startswith("saved_model") or kind == "tflite_text":
        import tensorflow_text  # noqa: F401


def _answer(kind: str, path: str, questions: str, answers: str) -> None:
    parts: dict[str, dict[str, Feed]] = {"feed": {}, "row": {}}
    with np.load(questions) as asked:
        for key in sorted(asked):
            part, number, name = key.split("|")
            parts[part].setdefault(number, {})[name] = asked[key]
    feeds, rows = (list(calls.values()) for calls in parts.values())
    _import_runtime(kind)
    began = time.perf_counter()
    call = KINDS[kind](Path(path))
    call(rows[0])
    load_seconds = time.perf_counter() - began
    outputs = [call(feed) for feed in feeds]
    began = time.perf_counter()
    for feed in feeds:
        call(feed)
    batch_seconds = time.perf_counter() - began
    row_seconds = [_seconds(call, row) for row in rows]
    found: dict[str, Any] = {
        f"{number}|{name}": array for number, each in enumerate(outputs) for name, array in each.items()
    }
    found |= {"load_seconds": load_seconds, "batch_seconds": batch_seconds, "row_seconds": np.array(row_seconds)}
    np.savez(answers, peak_memory_bytes=peak_memory(), **found)


def _seconds(call: Callable[[Feed], Feed], row: Feed) -> float:
    call(row)
    began = time.perf_counter()
    call(row)
    return time.perf_counter() - began


if __name__ == "__main__":
    collect_seldom()
    _answer(*sys.argv[1:])
