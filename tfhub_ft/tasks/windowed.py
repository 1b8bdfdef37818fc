"""The base class of tasks that predict positions in a text, whose long texts become windows."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tfhub_ft.encoders.packing import TOKEN_INPUTS
from tfhub_ft.tasks.base import Segments, Task, Tensors, Thresholds
from tfhub_ft.utils.console import with_bar

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfhub_ft.data.windows import WindowRows


class WindowedTask(Task):
    """A task whose model has a `WindowPreprocessor`.

    TensorFlow operations cut texts into windows and join the windows' predictions, so a run and its exports predict
    with the same operations.
    """

    example_unit = "windows"

    def words_of(
        self, preprocessor: Any, inputs: Sequence[Segments]
    ) -> "tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor, tf.Tensor | None]":
        """Return the words of rows, their starts and ends, all ragged (rows, words), and the first segment or None."""
        raise NotImplementedError

    def encode(self, preprocessor: Any, inputs: Sequence[Segments]) -> "WindowRows":
        from tfhub_ft.data.windows import window_rows

        return window_rows(preprocessor, inputs, lambda batch: self.words_of(preprocessor, batch), kind=self.name)

    def window_logits(self, model: "keras.Model", windows: Tensors) -> "tf.Tensor":
        """Return the logits of each token of windows, float32 (windows, length, ...)."""
        return model.get_layer("token_model")({name: windows[name] for name in TOKEN_INPUTS}, training=False)


def score_by_row(
    score_batch: Callable[[list[Segments]], Sequence[Any]], model: "keras.Model", precision: str
) -> "Callable[[WindowRows], list[Any]]":
    """Return a function that scores rows in batches of similar size; `score_batch` returns a result for each row."""
    from tfhub_ft.data.batches import batches_by_size
    from tfhub_ft.models.forward import computed_in

    def score(tokens: "WindowRows") -> list[Any]:
        results: dict[int, Any] = {}
        for batch in with_bar(batches_by_size(tokens.inputs), "Scoring", len(tokens.inputs)):
            results.update(zip(batch, score_batch([tokens.inputs[i] for i in batch]), strict=True))
        return [results[i] for i in range(len(tokens.inputs))]

    return computed_in(precision, model, score)


def text_function(
    task: WindowedTask, model: "keras.Model", labels: Sequence[str], thresholds: Thresholds
) -> Callable[..., Tensors]:
    """Return `serving_fn` as a graph that takes string tensors (batch,) by the names of the fields."""
    import tensorflow as tf

    signature = {field: tf.TensorSpec((None,), tf.string, name=field) for field in task.fields}
    graph = tf.function(
        lambda segments: task.serving_fn(model, [segments[field] for field in task.fields], labels, thresholds),
        input_signature=[signature],
    )
    return lambda **segments: graph(segments)
