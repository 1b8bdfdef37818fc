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
    texts: Sequence[str],
    tokens: Sequence[dict[str, np.ndarray]],
    expected: np.ndarray,
    labels: Sequence[str],
) -> dict[str, Any]:
    """Compare both signatures of a SavedModel with the Keras model's logits.

    Args:
        saved_model: the SavedModel's folder.
        texts: real texts.
        tokens: the same texts as token ids, a batch of `BATCH` each.
        expected: the Keras model's logits of the texts, float32 (texts, classes).
        labels: the labels, in the order of those logits.

    Returns:
        {"rows", "tolerance", "max_logit_difference": {signature: float}, "labels_equal": True, "latency_ms": {"p50",
        "p95"} of one text through `serving_default`}.

    Raises:
        WorkError: a logit differs by more than `TOLERANCE`, a label differs, or the export cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="tfhub_ft-") as folder:
        questions, answers = Path(folder) / "questions.npz", Path(folder) / "answers.npz"
        arrays = {f"{name}_{i}": array for i, batch in enumerate(tokens) for name, array in batch.items()}
        np.savez(questions, texts=json.dumps(texts), **arrays)
        command = [sys.executable, "-m", "tfhub_ft.exports.proof", str(saved_model), str(questions), str(answers)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise WorkError(f"the export cannot be run in a fresh process: {done.stderr.strip().splitlines()[-1]}")
        with np.load(answers) as found:
            return _compared(dict(found), expected, np.array(labels))


def _compared(found: dict[str, np.ndarray], expected: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    differences = {}
    for signature in ("serving_default", "tokens"):
        difference = float(np.abs(found[f"{signature}_logits"] - expected).max())
        same = (found[f"{signature}_label"] == labels[expected.argmax(-1)]).all()
        if not difference <= TOLERANCE or not same:
            raise WorkError(
                f"the export answers differently from the model ({signature}: logits differ by {difference:.2g},"
                f" {TOLERANCE:g} is allowed{'' if same else '; labels differ'}): it was not kept"
            )
        differences[signature] = difference
    p50, p95 = np.percentile(found["seconds"] * 1000, [50, 95]).round(2).tolist()
    return {
        "rows": len(expected),
        "tolerance": TOLERANCE,
        "max_logit_difference": differences,
        "labels_equal": True,
        "latency_ms": {"p50": p50, "p95": p95},
    }


def _answer(saved_model: str, questions: str, answers: str) -> None:
    """What the fresh process does: nothing of this project is needed to run an export."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers the operations of the tokenizer

    loaded = tf.saved_model.load(saved_model)
    with np.load(questions) as asked:
        texts, arrays = json.loads(str(asked["texts"])), dict(asked)
    names = ("input_word_ids", "input_mask", "input_type_ids")
    count = -(-len(texts) // BATCH)
    batches = {
        "serving_default": [{"text": tf.constant(texts[i * BATCH : (i + 1) * BATCH])} for i in range(count)],
        "tokens": [{name: tf.constant(arrays[f"{name}_{i}"]) for name in names} for i in range(count)],
    }
    found = {}
    for signature, inputs in batches.items():
        outputs = [loaded.signatures[signature](**batch) for batch in inputs]
        found[f"{signature}_logits"] = np.concatenate([o["logits"].numpy() for o in outputs])
        words = np.concatenate([o["label"].numpy() for o in outputs])
        found[f"{signature}_label"] = np.array([word.decode() for word in words])
    seconds = []
    for text in texts[:TIMED]:
        began = time.perf_counter()
        loaded.signatures["serving_default"](text=tf.constant([text]))
        seconds.append(time.perf_counter() - began)
    np.savez(answers, seconds=np.array(seconds), **found)


if __name__ == "__main__":
    _answer(*sys.argv[1:])
