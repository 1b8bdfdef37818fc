"""Give a runtime the interface of a trained model, so that both predict by the task's own code."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from tfhub_ft.encoders.packing import TOKEN_INPUTS
from tfhub_ft.inference.batching import make_graph_predict_fn, make_predict_fn
from tfhub_ft.inference.runtimes.base import Batch, Runtime
from tfhub_ft.metrics.calibration import logits_of
from tfhub_ft.tasks.base import Task
from tfhub_ft.tasks.windowed import WindowedTask
from tfhub_ft.utils.errors import RunError

Rows = Sequence[tuple[str, ...]]


class RuntimeModel:
    """A runtime with the layers that a task expects of a Keras model.

    Args:
        runtime: the runtime.
        task: the task.
        description: what the artifact says of itself: "labels", "decision" and, where it reads texts, "inputs".
        load_preprocessor: returns the layer that makes the tokens.
        reads_texts: whether the runtime is called with texts instead of tokens.
    """

    input = TOKEN_INPUTS

    def __init__(
        self,
        runtime: Runtime,
        task: Task,
        description: dict[str, Any],
        load_preprocessor: Callable[[], Any] | None = None,
        *,
        reads_texts: bool = False,
    ):
        self.runtime, self.task, self.description = runtime, task, description
        self.labels, self.decision = description["labels"], description["decision"]
        self.load_preprocessor, self.reads_texts, self._fault = load_preprocessor, reads_texts, None

    @cached_property
    def predict(self) -> Callable[[Rows], list[dict[str, Any]]]:
        """A function from rows of segments to predictions.

        It raises a RunError where the artifact cannot be run.
        """
        if self.reads_texts:
            predict = self._text_function(self._decode)
        else:
            predict = make_predict_fn(self.task, self, self.labels, self.decision)

        def predict_rows(rows: Rows) -> list[dict[str, Any]]:
            try:
                return predict(rows)
            except Exception:
                # TensorFlow rewords errors within its graphs.
                if self._fault:
                    raise self._fault from None
                raise

        return predict_rows

    def predict_and_score(self, rows: Rows, tokens: Any) -> tuple[list[dict[str, Any]] | None, Any]:
        """Return predictions, and what the task's `metrics` takes; None for what the runtime does not output.

        Tasks that predict places in a text are scored by the tokens of the rows' own words, as in training.

        Args:
            rows: rows of segments.
            tokens: the same rows as the task's scores take them; None where there is nothing to score.
        """
        task = self.task
        scored = bool(task.primary_metric) and tokens is not None
        if scored and not isinstance(task, WindowedTask):
            if self.reads_texts:
                logits = np.stack(self._text_function(lambda outputs, _: self._logits(outputs))(rows))
            else:
                logits = task.make_score_fn(self)(tokens)
            return task.decode_serving_outputs({"logits": logits}, rows, self.labels, self.decision), logits
        # From tokens on, a SavedModel and an ONNX file of a task without a score output the best ones, by number.
        tells = self.reads_texts or self.runtime.outputs_only_logits or bool(task.primary_metric)
        return self.predict(rows) if tells else None, task.make_score_fn(self)(tokens) if scored else None

    def get_layer(self, name: str) -> Any:
        """Return the layer `preprocessor` or `token_model`, as a Keras model has them."""
        return self if name == "token_model" else self._preprocessor

    def __call__(self, tokens: dict[str, Any], training: bool = False) -> Any:
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
            self._fault = error
            raise
        return self._logits(outputs)

    def _logits(self, outputs: Batch) -> np.ndarray:
        return output_logits(outputs, self.task)

    @cached_property
    def _preprocessor(self) -> Any:
        import tensorflow as tf

        # A graph that uses it may be traced before it is loaded.
        with tf.init_scope():
            return self.load_preprocessor()

    def _text_function(self, decode: Callable[[Batch, Rows], Sequence[Any]]) -> Callable[[Rows], list[Any]]:
        """Return a function from rows of texts to what `decode` makes of the outputs for a batch of them."""

        def call(**texts: Any) -> Batch:
            return self.runtime({name: column.numpy() for name, column in texts.items()})

        return make_graph_predict_fn(call, self.description["inputs"], decode, batch_size=self.runtime.max_batch_size)

    def _decode(self, outputs: Batch, rows: Rows) -> list[dict[str, Any]]:
        if self.runtime.outputs_only_logits:
            outputs = {"logits": self._logits(outputs)}
        return self.task.decode_serving_outputs(outputs, rows, self.labels, self.decision)


def tflite_outputs(task: Task, logits: Any) -> dict[str, Any]:
    """Return the one output of a TFLite file by its name: probabilities where logits have an activation."""
    import tensorflow as tf

    if task.output_activation:
        return {"probabilities": {"softmax": tf.nn.softmax, "sigmoid": tf.sigmoid}[task.output_activation](logits)}
    return {"logits": logits}


def output_logits(outputs: Batch, task: Task) -> np.ndarray:
    """Return the logits among the outputs of a SavedModel or an ONNX file, or of the one output of a TFLite file."""
    if "logits" not in outputs:
        (output,) = outputs.values()
        # Up to what predictions do not depend on, where they are probabilities.
        return logits_of(output, task.output_activation).astype("float32") if task.output_activation else output
    return outputs["logits"]
