"""The base of tasks that predict places in a text: windows, words, and predictions computed in the graph."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tfhub_ft.encoders.packing import TOKEN_INPUTS
from tfhub_ft.tasks.base import Task

if TYPE_CHECKING:
    import keras

    from tfhub_ft.data.windows import WindowRows


class WindowedTask(Task):
    """A task whose model has a `WindowPreprocessor`: long texts become windows, which are put together again.

    Windows are cut and put together by TensorFlow operations, so that a run and its exports answer by the same ones.
    """

    example_unit = "windows"

    def words_of(self, preprocessor: Any, inputs: Sequence[tuple[str, ...]]) -> tuple[Any, Any, Any, Any]:
        """The words of rows, where each starts and ends, all ragged (rows, words), and the first segment or None."""
        raise NotImplementedError

    def encode(self, preprocessor: Any, inputs: Sequence[tuple[str, ...]]) -> "WindowRows":
        from tfhub_ft.data.windows import window_rows

        return window_rows(preprocessor, inputs, lambda some: self.words_of(preprocessor, some), kind=self.name)

    def window_logits(self, model: "keras.Model", windows: dict[str, Any]) -> Any:
        """The logits of each token of windows, float32 (windows, length, ...)."""
        return model.get_layer("token_model")({name: windows[name] for name in TOKEN_INPUTS}, training=False)


def text_function(
    task: WindowedTask, model: "keras.Model", labels: Sequence[str], thresholds: dict[str, Any]
) -> Callable[..., dict[str, Any]]:
    """Return `serving_fn` as a graph that takes string tensors (batch,) by the names of the fields."""
    import tensorflow as tf

    signature = {field: tf.TensorSpec((None,), tf.string, name=field) for field in task.fields}
    graph = tf.function(
        lambda segments: task.serving_fn(model, [segments[field] for field in task.fields], labels, thresholds),
        input_signature=[signature],
    )
    return lambda **segments: graph(segments)
