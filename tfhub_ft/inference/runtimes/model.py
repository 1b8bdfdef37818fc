"""Give a runtime the interface of a Keras model, so that tasks predict with both alike."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tfhub_ft.encoders.packing import TOKEN_INPUTS
from tfhub_ft.export_folder import Description
from tfhub_ft.inference.batching import Decoded, PredictFn, Prediction, Segments, make_graph_predict_fn, make_predict_fn
from tfhub_ft.inference.runtimes.base import Batch, Runtime
from tfhub_ft.metrics.calibration import logits_of
from tfhub_ft.tasks.base import Task
from tfhub_ft.tasks.windowed import WindowedTask
from tfhub_ft.utils.errors import RunError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfhub_ft.data.batches import TokenRows

Rows = Sequence[Segments]


class RuntimeModel:
    """A runtime with the layers that a task expects of a Keras model.

    `description` has the "labels", the "decision" and, if the runtime reads texts instead of tokens, the "inputs".
    """

    input = TOKEN_INPUTS

    def __init__(
        self,
        runtime: Runtime,
        task: Task,
        description: Description,
        load_preprocessor: "Callable[[], keras.layers.Layer] | None" = None,
        *,
        reads_texts: bool = False,
    ):
        self.runtime, self.task, self.reads_texts = runtime, task, reads_texts
        self.labels, self.thresholds = description["labels"], description["decision"]
        self.inputs, self.load_preprocessor = description.get("inputs", ()), load_preprocessor
        self._error: RunError | None = None

    @property
    def _keras_model(self) -> "keras.Model":
        return cast("keras.Model", self)

    @cached_property
    def predict(self) -> PredictFn:
        """A function from rows of segments to predictions; it raises a RunError if the artifact cannot be run."""
        if self.reads_texts:
            predict_fn = self._text_function(self._decode)
        else:
            predict_fn = make_predict_fn(self.task, self._keras_model, self.labels, self.thresholds)

        def predict(rows: Rows) -> list[Prediction]:
            try:
                return predict_fn(rows)
            except Exception:
                # TensorFlow replaces the message of an error inside a graph.
                if self._error:
                    raise self._error from None
                raise

        return predict

    def predict_and_score(self, rows: Rows, tokens: "TokenRows | None") -> tuple[list[Prediction] | None, Any]:
        """Return predictions, and what `Task.metrics` takes; None for what the runtime does not output.

        `tokens` are the rows as `Task.encode` returns them, or None to compute no scores.
        """
        task = self.task
        tokens = tokens if task.primary_metric else None
        if tokens is not None and not isinstance(task, WindowedTask):
            if self.reads_texts:
                logits = np.stack(self._text_function(lambda outputs, _: list(self._logits(outputs)))(rows))
            else:
                logits = task.make_score_fn(self._keras_model)(tokens)
            return task.decode_serving_outputs({"logits": logits}, rows, self.labels, self.thresholds), logits
        # Without a primary metric, SavedModels and ONNX files output token ids for tokens, which are not predictions.
        predicts = self.reads_texts or self.runtime.outputs_only_logits or bool(task.primary_metric)
        scores = None if tokens is None else task.make_score_fn(self._keras_model)(tokens)
        return self.predict(rows) if predicts else None, scores

    def get_layer(self, name: str) -> Any:
        """Return the layer `preprocessor` or `token_model`."""
        return self if name == "token_model" else self._preprocessor

    def __call__(self, tokens: "dict[str, tf.Tensor]", training: bool = False) -> "tf.Tensor":
        """Return the logits, float32 (batch, ...), of int32 tensors (batch, length) by name."""
        import tensorflow as tf

        logits = tf.numpy_function(
            lambda *arrays: self._token_logits(dict(zip(tokens, arrays, strict=True))), [*tokens.values()], tf.float32
        )
        return tf.ensure_shape(logits, [None] * (3 if isinstance(self.task, WindowedTask) else 2))

    def _token_logits(self, batch: Batch) -> np.ndarray:
        try:
            outputs = self.runtime(batch, "tokens")
        except RunError as error:
            self._error = error
            raise
        return self._logits(outputs)

    def _logits(self, outputs: Batch) -> np.ndarray:
        return output_logits(outputs, self.task)

    @cached_property
    def _preprocessor(self) -> "keras.layers.Layer | None":
        import tensorflow as tf

        # A graph that uses it may be traced before it is loaded.
        with tf.init_scope():
            return self.load_preprocessor and self.load_preprocessor()

    def _text_function(self, decode: Callable[[Batch, Rows], Sequence[Decoded]]) -> Callable[[Rows], list[Decoded]]:
        """Return a function from rows of texts to what `decode` returns for the outputs of their batches."""

        def call(**texts: "tf.Tensor") -> Batch:
            return self.runtime({name: column.numpy() for name, column in texts.items()})

        return make_graph_predict_fn(call, self.inputs, decode, batch_size=self.runtime.max_batch_size)

    def _decode(self, outputs: Batch, rows: Rows) -> list[Prediction]:
        if self.runtime.outputs_only_logits:
            outputs = {"logits": self._logits(outputs)}
        return self.task.decode_serving_outputs(outputs, rows, self.labels, self.thresholds)


def tflite_outputs(task: Task, logits: "tf.Tensor") -> "dict[str, tf.Tensor]":
    """Return the only output of a TFLite file: the probabilities, or the logits of tasks without an activation."""
    import tensorflow as tf

    if task.output_activation:
        return {"probabilities": {"softmax": tf.nn.softmax, "sigmoid": tf.sigmoid}[task.output_activation](logits)}
    return {"logits": logits}


def output_logits(outputs: Batch, task: Task) -> np.ndarray:
    """Return the logits among the outputs of a SavedModel or an ONNX file, or those of a TFLite file's output."""
    if "logits" not in outputs:
        (output,) = outputs.values()
        # Probabilities give logits up to a constant, on which predictions do not depend.
        return logits_of(output, task.output_activation).astype("float32") if task.output_activation else output
    return outputs["logits"]
