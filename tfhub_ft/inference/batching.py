"""Predict rows of texts in batches of similar length."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tfhub_ft.data.batches import TEXTS_AT_ONCE, batches_by_size, tokenize
from tfhub_ft.models.forward import make_logits_fn
from tfhub_ft.tasks.base import Task, load_plugin
from tfhub_ft.tasks.windowed import WindowedTask, text_function
from tfhub_ft.utils.errors import RowError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Segments = tuple[str, ...]
Prediction = dict[str, Any]
PredictFn = Callable[[Sequence[Segments]], list[Prediction]]
Decoded = TypeVar("Decoded")


def make_predict_fn(task: Task, model: "keras.Model", labels: Sequence[str], thresholds: dict[str, Any]) -> PredictFn:
    """Return a function from rows of segments to predictions; `model` reads texts."""
    if plugin := load_plugin(task):
        return plugin.make_predict_fn(model)

    def decode(outputs: dict[str, np.ndarray], rows: Sequence[Segments]) -> list[Prediction]:
        return task.decode_serving_outputs(outputs, rows, labels, thresholds)

    if isinstance(task, WindowedTask):
        return make_graph_predict_fn(text_function(task, model, labels, thresholds), task.fields, decode)
    preprocessor, logits_of = model.get_layer("preprocessor"), make_logits_fn(model.get_layer("token_model"))
    return lambda rows: decode({"logits": logits_of(tokenize(preprocessor, rows))}, rows)


def make_graph_predict_fn(
    call: "Callable[..., dict[str, tf.Tensor] | dict[str, np.ndarray]]",
    names: Sequence[str],
    decode: Callable[[dict[str, np.ndarray], Sequence[Segments]], Sequence[Decoded]],
    *,
    batch_size: int = TEXTS_AT_ONCE,
) -> Callable[[Sequence[Segments]], list[Decoded]]:
    """Return a function from rows of segments to predictions.

    `call` returns outputs for string tensors (batch,) by the names of the segments; `decode` returns the predictions
    from the outputs of a batch and its rows.
    """
    import tensorflow as tf

    def predict(rows: Sequence[Segments]) -> list[Decoded]:
        for number, row in enumerate(rows):
            if not all(isinstance(segment, str) for segment in row):
                raise RowError(number, "has messages, but an export reads one prompt; predict with the run")
        predictions: dict[int, Decoded] = {}
        for batch in batches_by_size(rows, batch_size):
            columns = zip(names, zip(*(rows[i] for i in batch), strict=True), strict=True)
            outputs = call(**{name: tf.constant(column) for name, column in columns})
            arrays = {name: np.asarray(output) for name, output in outputs.items()}
            predictions.update(zip(batch, decode(arrays, [rows[i] for i in batch]), strict=True))
        return [predictions[i] for i in range(len(rows))]

    return predict
