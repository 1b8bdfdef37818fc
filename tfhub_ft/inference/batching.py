"""Predict rows of texts in batches of similar length."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.data.batches import TEXTS_AT_ONCE, batches_by_size, tokenize
from tfhub_ft.models.forward import make_logits_fn
from tfhub_ft.tasks.base import Task, load_plugin
from tfhub_ft.tasks.windowed import WindowedTask, text_function
from tfhub_ft.utils.errors import RowError

if TYPE_CHECKING:
    import keras

PredictFn = Callable[[Sequence[tuple[str, ...]]], list[dict[str, Any]]]


def make_predict_fn(task: Task, model: "keras.Model", labels: Sequence[str], thresholds: dict[str, Any]) -> PredictFn:
    """Return a function from rows of segments to predictions.

    Args:
        task: of the model.
        model: the text-in model of a run, or what takes its place for an export.
        labels: the labels, in the order of the logits.
        thresholds: turn logits into predictions.
    """
    if plugin := load_plugin(task):
        return plugin.make_predict_fn(model)
    if isinstance(task, WindowedTask):
        return make_graph_predict_fn(
            text_function(task, model, labels, thresholds),
            task.fields,
            lambda outputs, rows: task.decode_serving_outputs(outputs, rows, labels, thresholds),
        )
    preprocessor, logits_of = model.get_layer("preprocessor"), make_logits_fn(model.get_layer("token_model"))

    def predict(rows: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
        logits = logits_of(tokenize(preprocessor, rows))
        return task.decode_serving_outputs({"logits": logits}, rows, labels, thresholds)

    return predict


def make_graph_predict_fn(
    call: Callable[..., dict[str, Any]],
    names: Sequence[str],
    decode: Callable[[dict[str, np.ndarray], Sequence[tuple[str, ...]]], Sequence[Any]],
    *,
    batch_size: int = TEXTS_AT_ONCE,
) -> Callable[[Sequence[tuple[str, ...]]], list[Any]]:
    """Return a function from rows of segments to predictions, by a graph that takes texts.

    Args:
        call: takes string tensors (batch,) by name, and returns outputs by name.
        names: of the segments.
        decode: returns what is predicted for each row, from a batch's outputs and its rows.
        batch_size: rows at once; batches have rows of similar length.
    """
    import tensorflow as tf

    def predict(rows: Sequence[tuple[str, ...]]) -> list[Any]:
        for number, row in enumerate(rows):
            if not all(isinstance(segment, str) for segment in row):
                raise RowError(number, "has messages, where an export reads a prompt alone: predict by the run")
        predictions: list[Any] = [None] * len(rows)
        for batch in batches_by_size(rows, batch_size):
            columns = zip(names, zip(*(rows[i] for i in batch), strict=True), strict=True)
            outputs = call(**{name: tf.constant(column) for name, column in columns})
            outputs = {name: np.asarray(output) for name, output in outputs.items()}
            for i, each in zip(batch, decode(outputs, [rows[i] for i in batch]), strict=True):
                predictions[i] = each
        return predictions

    return predict
