"""Run a SavedModel with TensorFlow."""

from functools import cached_property
from pathlib import Path
from typing import Any

from tfhub_ft.inference.runtimes.base import SERVING_DEFAULT, Batch, Runtime, to_arrays
from tfhub_ft.utils.saved_graph import check_graph


class SavedModelRuntime(Runtime):
    """A SavedModel with its signatures."""

    packages = ("tensorflow_text",)

    @cached_property
    def model(self) -> Any:
        """The loaded SavedModel."""
        import tensorflow as tf
        import tensorflow_text  # noqa: F401  registers the operations of tokenizers

        self.check(self.path)
        return tf.saved_model.load(str(self.path))

    def __call__(self, batch: Batch, signature: str = SERVING_DEFAULT) -> Batch:
        import tensorflow as tf

        return to_arrays(self.model.signatures[signature](**{name: tf.constant(a) for name, a in batch.items()}))

    @staticmethod
    def check(path: Path) -> None:
        check_graph(path)
