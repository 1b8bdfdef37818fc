"""The proof that an export answers as the model that it was made of: computed in a fresh process, on real rows."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfhub_ft.utils.errors import RunError
from tfhub_ft.utils.files import temporary_folder
from tfhub_ft.utils.memory import collect_seldom
from tfhub_ft.utils.processes import module_command, run_quietly

TOLERANCE = 1e-4
BATCH = 32
TIMED = 50


@dataclass(frozen=True)
class Call:
    """How a signature is called, and what it must answer.

    Args:
        feeds: batches of inputs by name, ids or texts, of `BATCH` rows each.
        expected: what the Keras model says of each batch, an array for each output.
    """

    feeds: Sequence[dict[str, np.ndarray]]
    expected: Sequence[dict[str, np.ndarray]]


def verify_saved_model(saved_model: Path, calls: dict[str, Call]) -> dict[str, Any]:
    """Compare the signatures of a SavedModel with the Keras model's outputs.

    Args:
        saved_model: the SavedModel's folder.
        calls: by signature; `serving_default`, which takes texts, is timed.

    Returns:
        {"rows", "tolerance", "max_logit_difference": {signature: float}, "outputs": {signature: {name: "dtype
        (shape)"}}, "labels_equal": True, "latency_ms": {"p50", "p95"} of one row through `serving_default`}.

    Raises:
        RunError: a number differs by more than `TOLERANCE` (as a share of its range, where that is above one), a
            word differs, or the export cannot be run.
    """
    return _compared(ask(saved_model, {signature: call.feeds for signature, call in calls.items()}), calls)


def ask(
    saved_model: Path, feeds: Mapping[str, Sequence[dict[str, np.ndarray]]], *, timed: int = TIMED
) -> dict[str, np.ndarray]:
    """Call the signatures of a SavedModel in a fresh process.

    Args:
        saved_model: the SavedModel's folder.
        feeds: for each signature batches of inputs by name.
        timed: how many rows are timed, one by one, through `serving_default`.

    Returns:
        {"SIGNATURE|NUMBER|OUTPUT": the answer to the batch of that number, six digits; "SIGNATURE|kind|OUTPUT": its
        dtype and shape in words; "seconds": of each row that was timed}.

    Raises:
        RunError: the export cannot be run.
    """
    with temporary_folder() as folder:
        questions, answers = Path(folder) / "questions.npz", Path(folder) / "answers.npz"
        arrays = {
            f"{signature}|{number:06}|{name}": array
            for signature, batches in feeds.items()
            for number, feed in enumerate(batches)
            for name, array in feed.items()
        }
        np.savez(questions, **arrays)
        words = [str(each) for each in (saved_model, questions, answers, timed)]
        run_quietly(module_command("tfhub_ft.exports.verify", *words), "the export cannot be run")
        with np.load(answers) as found:
            return dict(found)


def _compared(found: dict[str, np.ndarray], calls: dict[str, Call]) -> dict[str, Any]:
    differences, outputs = {}, {}
    for signature, call in calls.items():
        first, differences[signature] = next(iter(call.expected[0])), 0.0
        for number, expected in enumerate(call.expected):
            for name, array in expected.items():
                answer, array = found.get(f"{signature}|{number:06}|{name}"), _plain(array)
                wrong = f"it has no output {name}" if answer is None else fault(name, answer, array)
                if wrong:
                    raise RunError(
                        f"the export answers differently from the model ({signature}: {wrong}): it was not kept"
                    )
                if name == first and array.size:
                    differences[signature] = max(differences[signature], float(np.abs(answer - array).max()))
        outputs[signature] = {name: str(found[f"{signature}|kind|{name}"]) for name in call.expected[0]}
    p50, p95 = np.percentile(found["seconds"] * 1000, [50, 95]).round(2).tolist()
    return {
        "rows": sum(len(next(iter(feed.values()))) for feed in calls["serving_default"].feeds),
        "tolerance": TOLERANCE,
        "max_logit_difference": differences,
        "labels_equal": True,
        "outputs": outputs,
        "latency_ms": {"p50": p50, "p95": p95},
    }


def fault(name: str, found: np.ndarray, expected: np.ndarray) -> str | None:
    """What is wrong with an output, in words; None where it is what was expected.

    Args:
        name: the output's name: `logits` may differ by `TOLERANCE`, other numbers by that share of their range.
        found: what an export answered.
        expected: what the Keras model says, of the same shape.
    """
    if found.shape != expected.shape:
        return f"{name} has the shape {found.shape}, not {expected.shape}"
    if expected.dtype.kind != "f" or not expected.size:
        return None if (found == expected).all() else f"{name} differs"
    difference = float(np.abs(found - expected).max())
    allowed = TOLERANCE if name == "logits" else TOLERANCE * max(1.0, float(np.ptp(expected)))
    return None if difference <= allowed else f"{name} differ by {difference:.2g}, {allowed:g} is allowed"


def _plain(array: np.ndarray) -> np.ndarray:
    """Bytes as text: an array of numbers or of str, which needs no pickle to be stored."""
    return np.vectorize(lambda word: word.decode(), otypes=["U"])(array) if array.dtype.kind == "O" else array


def _described(output: Any) -> str:
    """The dtype and shape of an output, such as "float32 (batch, any, 13)"."""
    sizes = ("any" if size is None else str(size) for size in output.shape[1:])
    return f"{output.dtype.name} ({', '.join(['batch', *sizes])})"


def _answer(saved_model: str, questions: str, answers: str, timed: str) -> None:
    """What the fresh process does: nothing of this project is needed to run an export."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers the operations of the tokenizer

    loaded = tf.saved_model.load(saved_model)
    feeds: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    with np.load(questions) as asked:
        for key in sorted(asked):
            signature, number, name = key.split("|")
            feeds.setdefault(signature, {}).setdefault(number, {})[name] = asked[key]

    def call(signature: str, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = loaded.signatures[signature](**{name: tf.constant(array) for name, array in feed.items()})
        return {name: _plain(output.numpy()) for name, output in outputs.items()}

    found = {}
    for signature, batches in feeds.items():
        for name, output in loaded.signatures[signature].structured_outputs.items():
            found[f"{signature}|kind|{name}"] = np.array(_described(output))
        for number, feed in batches.items():
            for name, output in call(signature, feed).items():
                found[f"{signature}|{number}|{name}"] = output
    seconds = []
    rows = [
        {name: column[i : i + 1] for name, column in feed.items()}
        for feed in feeds["serving_default"].values()
        for i in range(len(next(iter(feed.values()))))
    ]
    for row in rows[: int(timed)]:
        began = time.perf_counter()
        call("serving_default", row)
        seconds.append(time.perf_counter() - began)
    np.savez(answers, seconds=np.array(seconds), **found)


if __name__ == "__main__":
    collect_seldom()
    _answer(*sys.argv[1:])
