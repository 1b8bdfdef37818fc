"""The proof that an export answers as the model that it was made of: computed in a fresh process, on real rows."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfhub_ft.errors import WorkError

TOLERANCE = 1e-4
BATCH = 32
TIMED = 50


def prove(
    saved_model: Path,
    names: Sequence[str],
    inputs: Sequence[Sequence[str]],
    tokens: Sequence[dict[str, np.ndarray]],
    expected: dict[str, np.ndarray],
) -> dict[str, Any]:
    """Compare both signatures of a SavedModel with the Keras model's outputs.

    Args:
        saved_model: the SavedModel's folder.
        names: the names of the text inputs.
        inputs: real rows, a text an input each.
        tokens: the same rows as token ids, a batch of `BATCH` each.
        expected: what the Keras model says of the rows, an array of (rows, ...) for each output, "logits" among them.

    Returns:
        {"rows", "tolerance", "max_logit_difference": {signature: float}, "outputs": {name: "dtype (shape)"},
        "labels_equal": True, "latency_ms": {"p50", "p95"} of one row through `serving_default`}.

    Raises:
        WorkError: a logit differs by more than `TOLERANCE`, another output by more than that share of its range, a
            word differs, or the export cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="tfhub_ft-") as folder:
        questions, answers = Path(folder) / "questions.npz", Path(folder) / "answers.npz"
        arrays = {f"{name}_{i}": array for i, batch in enumerate(tokens) for name, array in batch.items()}
        np.savez(questions, rows=json.dumps({"names": list(names), "inputs": [list(row) for row in inputs]}), **arrays)
        command = [sys.executable, "-m", "tfhub_ft.exports.proof", str(saved_model), str(questions), str(answers)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise WorkError(f"the export cannot be run in a fresh process: {done.stderr.strip().splitlines()[-1]}")
        with np.load(answers) as found:
            return _compared(dict(found), {name: _plain(array) for name, array in expected.items()})


def _compared(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> dict[str, Any]:
    differences = {}
    for signature in ("serving_default", "tokens"):
        for name, array in expected.items():
            answer = found.get(f"{signature}_{name}")
            fault = f"it has no output {name}" if answer is None else _fault(name, answer, array)
            if fault:
                raise WorkError(
                    f"the export answers differently from the model ({signature}: {fault}): it was not kept"
                )
        differences[signature] = float(np.abs(found[f"{signature}_logits"] - expected["logits"]).max())
    p50, p95 = np.percentile(found["seconds"] * 1000, [50, 95]).round(2).tolist()
    return {
        "rows": len(expected["logits"]),
        "tolerance": TOLERANCE,
        "max_logit_difference": differences,
        "labels_equal": True,
        "outputs": {name: _described(array) for name, array in expected.items()},
        "latency_ms": {"p50": p50, "p95": p95},
    }


def _fault(name: str, found: np.ndarray, expected: np.ndarray) -> str | None:
    if found.shape != expected.shape:
        return f"{name} has the shape {found.shape}, not {expected.shape}"
    if expected.dtype.kind != "f":
        return None if (found == expected).all() else f"{name} differs"
    difference = float(np.abs(found - expected).max())
    allowed = TOLERANCE if name == "logits" else TOLERANCE * max(1.0, float(np.ptp(expected)))
    return None if difference <= allowed else f"{name} differ by {difference:.2g}, {allowed:g} is allowed"


def _described(array: np.ndarray) -> str:
    kind = "string" if array.dtype.kind == "U" else array.dtype.name
    return f"{kind} ({', '.join(['batch', *map(str, array.shape[1:])])})"


def _plain(array: np.ndarray) -> np.ndarray:
    """Bytes as text: an array of numbers or of str, which needs no pickle to be stored."""
    return np.vectorize(lambda word: word.decode(), otypes=["U"])(array) if array.dtype.kind == "O" else array


def _answer(saved_model: str, questions: str, answers: str) -> None:
    """What the fresh process does: nothing of this project is needed to run an export."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers the operations of the tokenizer

    loaded = tf.saved_model.load(saved_model)
    with np.load(questions) as asked:
        rows, arrays = json.loads(str(asked["rows"])), dict(asked)
    tokens = ("input_word_ids", "input_mask", "input_type_ids")

    def texts(start: int, size: int) -> dict[str, Any]:
        columns = zip(*rows["inputs"][start : start + size], strict=True)
        return {name: tf.constant(column) for name, column in zip(rows["names"], columns, strict=True)}

    count = len(rows["inputs"])
    batches = {
        "serving_default": [texts(start, BATCH) for start in range(0, count, BATCH)],
        "tokens": [{n: tf.constant(arrays[f"{n}_{i}"]) for n in tokens} for i in range(-(-count // BATCH))],
    }
    found = {}
    for signature, inputs in batches.items():
        outputs = [loaded.signatures[signature](**batch) for batch in inputs]
        for name in outputs[0]:
            found[f"{signature}_{name}"] = np.concatenate([_plain(output[name].numpy()) for output in outputs])
    seconds = []
    for start in range(min(TIMED, count)):
        began = time.perf_counter()
        loaded.signatures["serving_default"](**texts(start, 1))
        seconds.append(time.perf_counter() - began)
    np.savez(answers, seconds=np.array(seconds), **found)


if __name__ == "__main__":
    _answer(*sys.argv[1:])
