"""The predictions of scored rows, next to their labels."""

from collections.abc import Iterator, Sequence
from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.data.rows import Row
from tfhub_ft.evaluation.scored import Scored
from tfhub_ft.metrics.scores import guess_metrics
from tfhub_ft.tasks.base import Logits, Task
from tfhub_ft.tasks.masked_lm import MaskedLM
from tfhub_ft.tasks.prediction_columns import prediction_columns, table_cells
from tfhub_ft.tasks.question_answering import BestSpans, QuestionAnswering, predicted_answers
from tfhub_ft.tasks.retrieval import Retrieval
from tfhub_ft.tasks.token_classification import TokenClassification, tags_by_row

if TYPE_CHECKING:
    import keras

Columns = dict[str, Any]
ROWS_AT_ONCE = 1024


def predicted_rows(scored: Scored, model: "keras.Model", tokens: Any) -> Iterator[Columns]:
    """Yield the rows of predictions.csv: the line, the texts, the label and the prediction of each scored row.

    Args:
        scored: The rows and their logits.
        model: The text-in model that predicts.
        tokens: The rows as `Task.encode` returns them.
    """
    if scored.task.plugin:
        for row in scored.written:
            yield {"prompt": row["prompt"], "reply": row["true reply"], "prediction": row["trained"]}
        return
    logits = _row_logits(scored, model, tokens)
    for start in range(0, len(scored.rows), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        rows = [*scored.rows[part]]
        for row, columns in zip(rows, _row_columns(scored.task, rows, logits[part], scored), strict=True):
            yield {"line": row.line, **columns}


def _row_logits(scored: Scored, model: "keras.Model", tokens: Any) -> Logits:
    """Return what `_row_columns` predicts from, with an entry for each row."""
    if isinstance(scored.task, Retrieval):
        bank = model.get_layer("token_model").get_layer("reply_bank").get_weights()[0]
        return scored.logits[:, 0] @ bank.T
    if isinstance(scored.task, MaskedLM):
        sums = np.zeros((len(scored.rows), scored.logits.shape[-1]))
        np.add.at(sums, tokens.row, scored.logits)
        return sums
    return scored.logits


@singledispatch
def _row_columns(task: Task, rows: Sequence[Row], logits: Logits, scored: Scored) -> list[Columns]:
    """Return the columns of some rows from their logits."""
    if type(task).make_score_fn is not Task.make_score_fn and not isinstance(task, Retrieval):
        # The logits of another task may be anything.
        return [row.values for row in rows]
    inputs = [task.prediction_inputs(row) for row in rows]
    predictions = task.decode_serving_outputs({"logits": logits}, inputs, scored.labels, scored.thresholds)
    return [_beside_label(task, row, prediction) for row, prediction in zip(rows, predictions, strict=True)]


def _beside_label(task: Task, row: Row, prediction: Columns) -> Columns:
    columns = table_cells(prediction_columns(prediction))
    predicted = columns.pop(task.decision_field or "score")
    # The score of a label is one of its probabilities.
    numbers = {
        name: value
        for name, value in columns.items()
        if isinstance(value, float) and (name not in prediction or "probabilities" not in prediction)
    }
    return {**row.values, "prediction": predicted, **numbers}


@_row_columns.register
def _(task: TokenClassification, rows: Sequence[Row], logits: Logits, scored: Scored) -> list[Columns]:
    predicted, _ = tags_by_row(logits, [], scored.labels)
    return [
        {
            "text": " ".join(row.values["tokens"]),
            "tags": " ".join(row.values["tags"]),
            "prediction": " ".join(tags),
        }
        for row, tags in zip(rows, predicted, strict=True)
    ]


@_row_columns.register
def _(task: QuestionAnswering, rows: Sequence[Row], logits: Logits, scored: Scored) -> list[Columns]:
    predicted = predicted_answers(logits, scored.thresholds)
    return [
        {
            **row.values,
            "answers": [*dict.fromkeys(answer["text"] for answer in row.values["answers"])],
            "prediction": answer,
            **table_cells({"score": _answer_score(spans, answer)}),
        }
        for row, answer, spans in zip(rows, predicted, logits, strict=True)
    ]


def _answer_score(spans: BestSpans, answer: str) -> float:
    """Return the probability of an answer, or of "no answer", as `QuestionAnswering.serving_fn` does."""
    from scipy.special import softmax

    probabilities = softmax([*spans["logits"], spans["null_logit"]])
    return float(probabilities[0 if answer else -1])


@_row_columns.register
def _(task: MaskedLM, rows: Sequence[Row], logits: np.ndarray, scored: Scored) -> list[Columns]:
    columns = []
    for row, sums in zip(rows, logits, strict=True):
        count, accuracy, perplexity = guess_metrics(sums[None])
        scores = table_cells({"masked_accuracy": accuracy, "perplexity": perplexity})
        columns.append({**row.values, "masked_tokens": count, **scores})
    return columns
