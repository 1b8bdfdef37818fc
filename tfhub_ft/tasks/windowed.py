"""What tasks share that answer with a place in a text: windows, words, and answers computed in the graph."""

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

    def make_predict_fn(
        self, model: "keras.Model", labels: Sequence[str], decision: dict[str, Any]
    ) -> Callable[[Sequence[tuple[str, ...]]], list[dict[str, Any]]]:
        from tfhub_ft.inference.predict import graph_answerer

        return graph_answerer(
            self.text_function(model, labels, decision),
            self.fields,
            lambda outputs, rows: self.decode_serving_outputs(outputs, rows, labels, decision),
        )

    def text_function(
        self, model: "keras.Model", labels: Sequence[str], decision: dict[str, Any]
    ) -> Callable[..., dict[str, Any]]:
        """`serving_fn` as a graph that takes string tensors (batch,) by the fields' names."""
        import tensorflow as tf

        signature = {field: tf.TensorSpec((None,), tf.string, name=field) for field in self.fields}
        graph = tf.function(
            lambda segments: self.serving_fn(model, [segments[field] for field in self.fields], labels, decision),
            input_signature=[signature],
        )
        return lambda **segments: graph(segments)

    def window_logits(self, model: "keras.Model", windows: dict[str, Any]) -> Any:
        """The logits of each token of windows, float32 (windows, length, ...)."""
        return model.get_layer("token_model")({name: windows[name] for name in TOKEN_INPUTS}, training=False)
