"""The proof that a TFLite file answers as its Keras model: numbers, labels and scores on rows of the run."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.exports.verification_examples import VerificationExamples
from tfhub_ft.inference.batching import make_predict_fn
from tfhub_ft.inference.runtimes.isolated import IsolatedResult, one_by_one, run_isolated, token_feed
from tfhub_ft.inference.runtimes.tflite import LiteModel, logits_of_output
from tfhub_ft.tasks.base import decisions
from tfhub_ft.utils.errors import RunError

if TYPE_CHECKING:
    import keras

    from tfhub_ft.run import Run

BATCH, COMPARED = 8, 200
LOGITS = 1e-4


@dataclass(frozen=True)
class Tolerance:
    """How far a form may be off.

    Args:
        agreement: the least share of labels that are the model's.
        loss: the most that its score may fall, 1 being the best score.
    """

    agreement: float
    loss: float


TOLERANCES = {
    "none": Tolerance(0.99, 0.005),
    "float16": Tolerance(0.99, 0.005),
    "dynamic": Tolerance(0.98, 0.01),
    "int8": Tolerance(0.95, 0.02),
}


class KerasAnswers:
    """What a run's model answers on rows of its own, computed once for all forms.

    Args:
        run: the run.
        model: its model.
        rows: the rows.
    """

    def __init__(self, run: "Run", model: "keras.Model", rows: VerificationExamples):
        self.model, self.rows, self.task = model, rows, run.recipe.task
        self.labels, self.decision = run.labels, run.decision

    @cached_property
    def decisions(self) -> list[Any]:
        """What of the answers is right or wrong."""
        predict = make_predict_fn(self.task, self.model, self.labels, self.decision)
        return decisions(self.task, predict(self.rows.asked), self.labels)

    @cached_property
    def tokens(self) -> Any:
        """The rows as the task's scores take them."""
        return self.task.encode(self.model.get_layer("preprocessor"), self.rows.inputs)

    @cached_property
    def score(self) -> float | None:
        """The score that must be kept; None where the task has none, or the rows no truth."""
        return self.score_of(self.task.make_score_fn(self.model)(self.tokens)) if self._scored else None

    @property
    def _scored(self) -> bool:
        return bool(self.task.primary_metric) and len(self.rows.inputs) > 0

    def score_of(self, logits: Any) -> float | None:
        """The score of these logits of the rows."""
        return self.task.metrics(logits, self.rows.targets, self.labels, self.decision)[self.task.primary_metric]

    def check(self, quantization: str, decisions: Sequence[Any], score: float | None) -> dict[str, Any]:
        """Hold a form's decisions and its score against the model's.

        Returns:
            {"agreement": share of equal decisions or None, "score": {"name", "model", "form"} or None}.

        Raises:
            RunError: too few are equal, or the score is too low, by `TOLERANCES`.
        """
        agreement, told = share_equal(decisions, self.decisions), None
        if self.score is not None:
            told = {"name": self.task.primary_metric, "model": self.score, "form": score}
        _check_answers(quantization, agreement, told, len(self.rows.asked))
        return {"agreement": agreement, "score": told}

    def batches(self, rows: Sequence[tuple[str, ...]]) -> list[dict[str, np.ndarray]]:
        """The tokens of rows, in batches of similar length."""
        ordered = sorted(rows, key=lambda row: sum(map(len, row)))
        preprocessor = self.model.get_layer("preprocessor")
        return [token_feed(preprocessor, ordered[start : start + BATCH]) for start in range(0, len(ordered), BATCH)]

    def outputs(self, feeds: Sequence[dict[str, np.ndarray]]) -> list[np.ndarray]:
        """The logits of batches of tokens, as a file's output tells them."""
        network = self.model.get_layer("token_model")
        return [self._told(network(feed, training=False)) for feed in feeds]

    def text_outputs(self, batches: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Return the logits of batches of texts, as a file's output has them."""
        import tensorflow as tf

        return [self._told(self.model(tf.constant(texts), training=False)) for texts in batches]

    def _told(self, logits: Any) -> np.ndarray:
        return self.task.logits_from_tflite(np.asarray(self.task.tflite_output(logits)))


def prove_lite(file: Path, quantization: str, keras_answers: KerasAnswers) -> dict[str, Any]:
    """Compare a TFLite file with the Keras model that it was made of.

    Args:
        file: the file.
        quantization: says how far it may be off.
        keras_answers: what the model answers.

    Returns:
        {"rows", "verified_on": which rows, "max_logit_difference", "agreement": share of equal labels or None,
        "score": {"name", "model", "form"} or None, "latency_ms": {"p50", "p95"} of one row without padding}.

    Raises:
        RunError: it is too far off, or cannot be run.
    """
    lite, rows, task = LiteModel(file), keras_answers.rows, keras_answers.task
    found, expected = _raw(lite, keras_answers)
    outputs = [logits_of_output(task, next(iter(output.values()))) for output in found.outputs]
    difference = max(float(np.abs(one - other).max(initial=0)) for one, other in zip(outputs, expected, strict=True))
    _check_logits(quantization, difference)
    predicted = decisions(task, lite.answers(rows.asked), keras_answers.labels)
    score = None
    if keras_answers.score is not None:
        logits = (
            lite.logits_of_texts(rows.asked) if lite.reads_texts else task.make_score_fn(lite)(keras_answers.tokens)
        )
        score = keras_answers.score_of(logits)
    return {
        "rows": len(rows.asked),
        "verified_on": rows.described(len(rows.asked), labels=score is not None),
        "max_logit_difference": difference,
        **keras_answers.check(quantization, predicted, score),
        "latency_ms": found.latency_ms,
    }


def _raw(lite: LiteModel, keras_answers: KerasAnswers) -> tuple[IsolatedResult, list[np.ndarray]]:
    """What the file gives in a fresh process, and what the model says of the same."""
    asked = keras_answers.rows.asked[:COMPARED]
    if lite.reads_texts:
        texts = [text for (text,) in asked]
        batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
        feeds = [{"text": np.array([text.encode() for text in batch])} for batch in batches]
        return run_isolated("tflite_text", lite.file, feeds, one_by_one(feeds)), keras_answers.text_outputs(batches)
    feeds = keras_answers.batches(asked)
    return run_isolated("tflite", lite.file, feeds, one_by_one(feeds)), keras_answers.outputs(feeds)


def share_equal(found: Sequence[Any], expected: Sequence[Any]) -> float | None:
    """The share of decisions that are what was expected; None where answers are numbers and nothing is decided."""
    if not expected:
        return None
    if len(found) != len(expected):
        return 0.0
    return sum(one == other for one, other in zip(found, expected, strict=True)) / len(expected)


def _check_logits(quantization: str, difference: float) -> None:
    if not np.isfinite(difference):
        raise RunError("its answers are no numbers")
    if quantization == "none" and not difference <= LOGITS:
        raise RunError(f"logits differ by {difference:.2g}, {LOGITS:g} is allowed")


def _check_answers(quantization: str, agreement: float | None, score: dict[str, Any] | None, rows: int) -> None:
    allowed, faults = TOLERANCES[quantization], []
    if agreement is not None and agreement < allowed.agreement:
        faults.append(f"{agreement:.1%} of the answers to {rows:,} rows agree, {allowed.agreement:.0%} is the least")
    if score and not score["form"] >= score["model"] - allowed.loss - 1e-9:
        name = score["name"].replace("_", " ")
        faults.append(f"{name} falls from {score['model']:.4f} to {score['form']:.4f}, by more than {allowed.loss:g}")
    if faults:
        raise RunError("; ".join(faults))
