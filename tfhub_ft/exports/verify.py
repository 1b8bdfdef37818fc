"""Verify that an artifact reproduces the Keras model's predictions on the run's own rows."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from tfhub_ft.exports.context import ExportContext
from tfhub_ft.exports.formats import Tolerance
from tfhub_ft.inference.runtimes.base import Batch, single_rows
from tfhub_ft.inference.runtimes.model import output_logits
from tfhub_ft.utils.errors import RunError

if TYPE_CHECKING:
    from tfhub_ft.inference.runtimes.isolated import IsolatedRuntime


TRIMMED_VOCABULARY = Tolerance(agreement=0.98, score=0.01)


class ParityReport(TypedDict, total=False):
    """What export.json keeps of a verification.

    `max_logit_difference` is a number, or one for each signature; `agreement` the share of equal predictions, None
    where predictions are numbers; `score` {"name", "model", "form"}, None without a metric or
    labels; `latency_ms` {"p50", "p95"} of one row without padding.
    """

    rows: int
    verified_on: dict[str, Any]
    tolerance: float
    max_logit_difference: float | dict[str, float]
    labels_equal: bool
    agreement: float | None
    score: dict[str, Any] | None
    latency_ms: dict[str, float]


def verify(runtime: "IsolatedRuntime", context: ExportContext, format: str, quantization: str) -> ParityReport:
    """Compare an artifact with the Keras model it was made from.

    Args:
        runtime: the artifact, opened in a process of its own.
        context: the export, whose rows and Keras model are the reference.
        format: the artifact's format.
        quantization: its quantization.

    Raises:
        RunError: they differ by more than the tolerance of the format and the quantization, or the artifact cannot be
            run.
    """
    tolerance = context.formats[format].quantizations[quantization]
    batches = context.batches(format, quantization)
    outputs = {name: [runtime(batch, name) for batch in each] for name, each in batches.items()}
    if runtime.outputs_only_logits:
        outputs = {
            name: [{"logits": output_logits(each, context.task)} for each in found] for name, found in outputs.items()
        }
    expected = context.expected(format, quantization, runtime)
    differences = compare_outputs(outputs, expected, tolerance, texts=runtime.outputs_texts)
    signature, timed = next(iter(batches.items()))
    report = ParityReport(rows=sum(len(next(iter(batch.values()))) for batch in timed))
    if tolerance.outputs is not None:
        report["tolerance"] = tolerance.outputs
    report["max_logit_difference"] = differences if len(differences) > 1 else next(iter(differences.values()))
    score = None
    if tolerance.agreement is None and runtime.outputs_texts:
        report["labels_equal"] = True
    if tolerance.agreement is not None:
        report["rows"], agreement, score = context.evaluate(runtime, format, outputs)
        report |= compare_predictions(context.reference, agreement, score, tolerance, report["rows"])
    report["verified_on"] = context.rows.described(report["rows"], labels=score is not None)
    measured = runtime.measure([], single_rows(timed), signature=signature, timed=context.timed_rows)
    report["latency_ms"] = measured.latency_ms
    return context.completed(report, outputs)


def compare_outputs(
    outputs: Mapping[str, Sequence[Batch]],
    expected: Mapping[str, Sequence[Batch]],
    tolerance: Tolerance,
    *,
    texts: bool = True,
) -> dict[str, float]:
    """Compare outputs with those of the Keras model.

    Args:
        outputs: by signature, the outputs of each batch.
        expected: the same of the Keras model.
        tolerance: the tolerance.
        texts: whether the artifact outputs texts.

    Returns:
        The largest difference of the first output of each signature.

    Raises:
        RunError: they differ by more.
    """
    differences, equal, different = {}, [], ""
    for signature, batches in expected.items():
        first = next(iter(batches[0]))
        for found, wanted in zip(outputs[signature], batches, strict=True):
            for name, array in wanted.items():
                if array.dtype.kind == "O" and not texts:
                    continue
                place = f"{signature}: {name}"
                if name not in found or found[name].shape != array.shape:
                    shape = found[name].shape if name in found else "missing"
                    raise RunError(f"{place} is {shape}, expected {array.shape}")
                if array.dtype.kind == "O":
                    equal += (same := found[name] == array).ravel().tolist()
                    if not same.all():
                        pair = found[name][~same][0], array[~same][0]
                        different = f"{place} differs: {pair[0].decode()!r}, the model's is {pair[1].decode()!r}"
                    continue
                difference = float(np.abs(found[name].astype("float64") - array).max(initial=0))
                _check_difference(place, difference, array, tolerance)
                if name == first:
                    differences[signature] = max(differences.get(signature, 0.0), difference)
    if tolerance.outputs is not None and equal and np.mean(equal) < tolerance.texts:
        share = f"{np.mean(equal):.1%} of the texts are equal, {tolerance.texts:.0%} is the least"
        raise RunError(f"{different} ({share})")
    return differences


def _check_difference(place: str, difference: float, expected: np.ndarray, tolerance: Tolerance) -> None:
    if not np.isfinite(difference):
        raise RunError(f"{place} has values that are not finite")
    if tolerance.outputs is None:
        return
    if expected.dtype.kind != "f":
        allowed = 0.0
    elif place.endswith("logits"):
        allowed = tolerance.outputs
    else:
        allowed = tolerance.outputs * max(1.0, float(np.abs(expected).max(initial=0)))
    if difference > allowed:
        raise RunError(f"{place} differ by {difference:.2g}, {allowed:g} is allowed")


def compare_predictions(
    reference: Any, agreement: float | None, score: float | None, tolerance: Tolerance, rows: int
) -> ParityReport:
    """Compare predictions and their score with those of the Keras model.

    Args:
        reference: has the `score` and the `score_name` of the Keras model.
        agreement: the share of equal predictions; None where predictions are numbers.
        score: their score; None where there is none.
        tolerance: the tolerance.
        rows: how many rows were predicted.

    Returns:
        {"agreement", "score"} of a `ParityReport`.

    Raises:
        RunError: too few predictions are equal, or the score is too low.
    """
    faults = []
    if agreement is not None and agreement < tolerance.agreement:
        faults.append(f"{agreement:.1%} of the answers to {rows:,} rows agree, {tolerance.agreement:.0%} is the least")
    if score is None:
        scores = None
    else:
        scores = {"name": reference.score_name, "model": reference.score, "form": score}
        is_perplexity = reference.score_name == "perplexity"
        worse = score / reference.score - 1 if is_perplexity else reference.score - score
        if not worse <= tolerance.score + 1e-9:
            name, allowed = reference.score_name.replace("_", " "), f"{tolerance.score:g}"
            change, allowed = ("rises", f"{tolerance.score:.1%}") if is_perplexity else ("falls", allowed)
            faults.append(f"{name} {change} from {reference.score:.4f} to {score:.4f}, by more than {allowed}")
    if faults:
        raise RunError("; ".join(faults))
    return ParityReport(agreement=agreement, score=scores)


def verified_on(entry: dict[str, Any]) -> str:
    """Return in words which rows an artifact was verified on, how many, and whether they have labels.

    Args:
        entry: its entry in export.json; versions that did not record the rows left their number.
    """
    if not (on := entry.get("verified_on")):
        return f"{entry['rows']:,} rows"
    kept = ", kept by the run" if on["kept_by_run"] else ""
    return f"{on['rows']:,} rows of {', '.join(on['files'])}{kept}, with{'' if on['labels'] else 'out'} labels"
