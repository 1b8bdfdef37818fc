"""Verify that an artifact reproduces the Keras model's predictions on the run's own rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfhub_ft.export_folder import Entry
from tfhub_ft.exports.context import ExportContext
from tfhub_ft.exports.formats import ParityReport, Tolerance
from tfhub_ft.inference.runtimes.base import Batch, single_rows
from tfhub_ft.inference.runtimes.model import output_logits
from tfhub_ft.utils.errors import RunError

if TYPE_CHECKING:
    from tfhub_ft.inference.runtimes.isolated import IsolatedRuntime

TRIMMED_VOCABULARY = Tolerance(agreement=0.98, score=0.01)


def verify(runtime: "IsolatedRuntime", context: ExportContext, format: str, quantization: str) -> ParityReport:
    """Compare an artifact, opened in an isolated process, with the Keras model.

    Raises:
        RunError: They differ by more than the tolerance, or the artifact cannot be run.
    """
    tolerance = context.formats[format].quantizations[quantization]
    batches = context.batches(format, quantization)
    outputs = {signature: [runtime(batch, signature) for batch in each] for signature, each in batches.items()}
    if runtime.outputs_only_logits:
        outputs = {
            signature: [{"logits": output_logits(arrays, context.task)} for arrays in each]
            for signature, each in outputs.items()
        }
    expected = context.expected(format, quantization, runtime)
    differences = compare_outputs(outputs, expected, tolerance, texts=runtime.outputs_texts)
    signature, timed = next(iter(batches.items()))
    rows, score = sum(len(next(iter(batch.values()))) for batch in timed), None
    report = ParityReport(rows=rows)
    if tolerance.outputs is not None:
        report["tolerance"] = tolerance.outputs
    report["max_logit_difference"] = differences if len(differences) > 1 else next(iter(differences.values()))
    if tolerance.agreement is None and runtime.outputs_texts:
        report["labels_equal"] = True
    if tolerance.agreement is not None:
        rows, agreement, score = context.evaluate(runtime, format, outputs)
        reference = context.reference
        compared = compare_predictions(reference.score_name, reference.score, agreement, score, tolerance, rows)
        report["rows"] = rows
        report.update(compared)
    report["verified_on"] = context.rows.verified_on(rows, labels=score is not None)
    measured = runtime.measure([], single_rows(timed), signature=signature, timed=context.timed_rows)
    report["latency_ms"] = measured.latency_ms
    return context.finish_report(report, outputs)


def compare_outputs(
    outputs: Mapping[str, Sequence[Batch]],
    expected: Mapping[str, Sequence[Batch]],
    tolerance: Tolerance,
    *,
    texts: bool = True,
) -> dict[str, float]:
    """Return the largest difference of the first output of each signature from the Keras model's.

    Raises:
        RunError: Outputs differ by more than the tolerance.
    """
    differences, equal_texts, text_fault = {}, [], ""
    for signature, batches in expected.items():
        first = next(iter(batches[0]))
        for actual_arrays, expected_arrays in zip(outputs[signature], batches, strict=True):
            for name, array in expected_arrays.items():
                if array.dtype.kind == "O" and not texts:
                    continue
                place, actual = f"{signature}: {name}", actual_arrays.get(name)
                if actual is None or actual.shape != array.shape:
                    shape = "missing" if actual is None else actual.shape
                    raise RunError(f"{place} is {shape}, expected {array.shape}")
                if array.dtype.kind == "O":
                    equal = actual == array
                    equal_texts += equal.ravel().tolist()
                    if not equal.all():
                        pair = actual[~equal][0].decode(), array[~equal][0].decode()
                        text_fault = f"{place} differs: got {pair[0]!r}, expected {pair[1]!r}"
                    continue
                difference = float(np.abs(actual.astype("float64") - array).max(initial=0))
                _check_difference(place, difference, array, tolerance)
                if name == first:
                    differences[signature] = max(differences.get(signature, 0.0), difference)
    if tolerance.outputs is not None and equal_texts and np.mean(equal_texts) < tolerance.texts:
        share = f"{np.mean(equal_texts):.1%} of the texts are equal, at least {tolerance.texts:.0%} must be"
        raise RunError(f"{text_fault} ({share})")
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
    metric: str | None,
    model_score: float | None,
    agreement: float | None,
    score: float | None,
    tolerance: Tolerance,
    rows: int,
) -> ParityReport:
    """Return the agreement and the score of an artifact with those of the Keras model.

    Raises:
        RunError: Too few predictions are equal, or the score is too low.
    """
    faults, scores = [], None
    if agreement is not None and tolerance.agreement is not None and agreement < tolerance.agreement:
        required = f"at least {tolerance.agreement:.0%} must be"
        faults.append(f"{agreement:.1%} of the predictions for {rows:,} rows are equal, {required}")
    if score is not None and metric is not None and model_score is not None:
        scores = {"name": metric, "model": model_score, "form": score}
        is_perplexity = metric == "perplexity"
        loss = score / model_score - 1 if is_perplexity else model_score - score
        if not loss <= tolerance.score + 1e-9:
            name, change, allowed = metric.replace("_", " "), "falls", f"{tolerance.score:g}"
            if is_perplexity:
                change, allowed = "rises", f"{tolerance.score:.1%}"
            faults.append(f"{name} {change} from {model_score:.4f} to {score:.4f}, by more than {allowed}")
    if faults:
        raise RunError("; ".join(faults))
    return ParityReport(agreement=agreement, score=scores)


def verification_summary(entry: Entry) -> str:
    """Return which rows an artifact of export.json was verified on, such as "24 rows of reviews.csv, with labels"."""
    # Earlier versions recorded only the number of rows.
    if not (verified_on := entry.get("verified_on")):
        return f"{entry['rows']:,} rows"
    files = ", ".join(Path(file).name for file in verified_on["files"])
    kept = ", kept by the run" if verified_on["kept_by_run"] else ""
    return f"{verified_on['rows']:,} rows of {files}{kept}, with{'' if verified_on['labels'] else 'out'} labels"
