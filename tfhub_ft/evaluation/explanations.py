"""Explain predictions by the words of their texts."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.data.batches import TokenRows, tokenize
from tfhub_ft.encoders.packing import split_head_and_tail
from tfhub_ft.tasks.base import Prediction, Segments, Task
from tfhub_ft.tasks.classification import Classification
from tfhub_ft.tasks.multilabel import Multilabel
from tfhub_ft.tasks.regression import Regression, on_scale
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras

    from tfhub_ft.encoders.word_spans import WordSpan

# {"text", "start", "end", "attribution"}, also "field" of pairs and "label" of many labels.
Word = dict[str, Any]
ExplainFn = Callable[[Sequence[Segments], Sequence[Prediction]], list[Prediction]]
OPTION = "--explain"


def check_explainable(task: Task, settings: Any, path: object) -> None:
    """Raise an InputError if the predictions of a run cannot be explained, as far as its settings tell."""
    if not isinstance(task, Classification | Multilabel | Regression):
        raise InputError(f"{OPTION}: {path} predicts neither labels nor a number of a text or a pair; leave it out")
    if getattr(settings, "mode", None) == "bi-encoder":
        raise InputError(f"{OPTION}: {path} compares two embeddings; train with --mode pair for explanations")
    if getattr(settings, "long_texts", None) == "windows":
        raise InputError(f"{OPTION}: {path} reads --long-texts windows; train with truncate or head-tail")
    if getattr(settings, "implementation", None) == "graph":
        raise InputError(f"{OPTION}: {path} computes its encoder by a graph; train with --implementation native")


def format_attribution(attribution: float) -> str:
    """Return an attribution with its sign and two decimals, below 0.1 with two digits."""
    return f"{attribution:+.2f}" if abs(attribution) >= 0.1 else f"{attribution:+.2g}"


def make_explain_fn(
    task: Task, model: "keras.Model", labels: Sequence[str], *, max_steps: int | None = None
) -> ExplainFn:
    """Return a function from rows of segments and their predictions to explanations, in the order of the rows.

    An explanation is {"explanation": words, "explanation_error": number}. Each word has its "text", its "start" and
    "end" in characters and its "attribution": how much it raises the log-odds of the predicted label (of each predicted
    label, or of the most likely one without any; of "out of scope"), or the predicted number, compared to a text whose
    words are not known. The error is how much the attributions miss the whole difference. Words that the model does not
    read, because the text is too long, are left out.

    Raises:
        InputError: The encoder is computed by its graph, or a layer reads token ids outside the encoder.
    """
    from tfhub_ft.encoders.word_spans import word_spans
    from tfhub_ft.models.integrated_gradients import IntegratedGradients

    preprocessor = model.get_layer("preprocessor")
    attribute = IntegratedGradients(model.get_layer("token_model"), preprocessor.mask_id, task.output_activation)
    reads_tail = getattr(preprocessor, "long_texts", "truncate") == "head-tail"
    head = split_head_and_tail(preprocessor.seq_length - 2)[0] if reads_tail else None
    scale = float(np.diff(on_scale(np.array([0.0, 1.0]), labels))[0]) if isinstance(task, Regression) else 1.0

    def explain(rows: Sequence[Segments], predictions: Sequence[Prediction]) -> list[Prediction]:
        outputs = [_outputs(task, prediction, labels) for prediction in predictions]
        row_of = np.repeat(np.arange(len(rows)), [len(each) for each in outputs])
        tokens = tokenize(preprocessor, rows)
        flat = [output for row_outputs in outputs for output in row_outputs]
        attributions = attribute(tokens.subset(row_of), [index for index, _, _ in flat], max_steps)
        spans = [word_spans(preprocessor, segments) for segments in zip(*rows, strict=True)]
        explanations: list[Prediction] = [{"explanation": [], "explanation_error": 0.0} for _ in rows]
        start = 0
        for row, (_, label, sign), error in zip(row_of.tolist(), flat, attributions.errors, strict=True):
            end = start + int(tokens.lengths[row])
            values = sign * scale * attributions.values[start:end]
            named = {} if label is None else {"label": label}
            row_spans = [segment_spans[row] for segment_spans in spans]
            words = _words(tokens, row, values, rows[row], row_spans, task.fields, head)
            explanations[row]["explanation"] += [{**named, **word} for word in words]
            error = round(float(error) * scale, 6)
            explanations[row]["explanation_error"] = max(explanations[row]["explanation_error"], error)
            start = end
        return explanations

    return explain


def _outputs(task: Task, prediction: Mapping[str, Any], labels: Sequence[str]) -> list[tuple[int, str | None, float]]:
    """Return the logits that explain a prediction: the index, the label if a row may have several, and the sign."""
    if isinstance(task, Regression):
        return [(0, None, 1.0)]
    probabilities = prediction["probabilities"]
    likeliest = max(probabilities, key=probabilities.__getitem__)
    if isinstance(task, Multilabel):
        return [(labels.index(label), label, 1.0) for label in prediction["labels"] or [likeliest]]
    label = prediction["label"]
    # Out of scope, which lacks a logit, are texts to which even the most likely label does not apply.
    return [(labels.index(label), None, 1.0) if label in probabilities else (labels.index(likeliest), None, -1.0)]


def _words(
    tokens: TokenRows,
    row: int,
    values: np.ndarray,
    segments: Segments,
    spans: "Sequence[Sequence[WordSpan]]",
    fields: Sequence[str],
    head: int | None,
) -> list[Word]:
    """Return the words of a row with the sums of the attributions, (tokens,), of their tokens.

    Of a truncated text, the first `head` tokens and the last ones are read, or only the first ones.
    """
    from tfhub_ft.models.integrated_gradients import is_special

    some = slice(tokens.starts[row], tokens.starts[row + 1])
    types = tokens.type_ids[some]
    is_word = ~is_special(TokenRows(tokens.word_ids[some], types, np.array([0, len(types)])))
    words: list[Word] = []
    for number, (field, text, text_spans) in enumerate(zip(fields, segments, spans, strict=True)):
        read = _of_all_tokens(values[is_word & (types == number)], sum(span.tokens for span in text_spans), head)
        position = 0
        for span in text_spans:
            of_word = read[position : position + span.tokens]
            position += span.tokens
            if np.isfinite(of_word).any():
                word = {"text": text[span.start : span.end], "start": span.start, "end": span.end}
                attribution = round(float(np.nansum(of_word)), 6)
                words.append(({"field": field} if len(fields) > 1 else {}) | word | {"attribution": attribution})
    return words


def _of_all_tokens(values: np.ndarray, count: int, head: int | None) -> np.ndarray:
    """Return values for all tokens of a text: NaN for those not read, which follow the first `head` or are the last."""
    head = len(values) if head is None or len(values) == count else head
    return np.concatenate([values[:head], np.full(count - len(values), np.nan), values[head:]])
