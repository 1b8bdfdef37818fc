"""The base class of Keras layers with text inputs."""

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf


class TextLayer(keras.layers.Layer):
    """A layer with one batch of texts, or a list or tuple of two batches, as inputs.

    A batch is a string tensor of shape (batch,) or (batch, 1), a list of strings, an array or a Series; a single string
    is a batch of one.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        # XLA does not support strings.
        self.supports_jit = False

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        is_batch = not isinstance(inputs, list | tuple) or isinstance(next(iter(inputs), ""), str | bytes)
        batches = [self._as_tensor(batch) for batch in ([inputs] if is_batch else inputs)]
        if len(batches) > 2:
            raise InputError(f"{self.name}: expected one batch of texts, or two for pairs, got {len(batches)}")
        sizes = {batch.shape[0] for batch in batches if len(batch.shape)} - {None}
        if len(sizes) > 1:
            raise InputError(
                f"{self.name}: expected two batches of the same size, got {' and '.join(map(str, sizes))} texts"
            )
        return super().__call__(batches[0] if len(batches) == 1 else batches, **kwargs)

    def _as_tensor(self, batch: Any) -> "tf.Tensor | keras.KerasTensor":
        """Convert a batch of texts to a string tensor, eager or symbolic, of rank 2 or less."""
        import tensorflow as tf

        if isinstance(batch, tf.Tensor) and batch.dtype != tf.string and not tf.executing_eagerly():
            # Keras builds subclassed models with float placeholders.
            return tf.cast(batch, tf.string)
        if not isinstance(batch, tf.Tensor | keras.KerasTensor):
            batch = tf.convert_to_tensor(self._as_array(batch), tf.string)
        shape = tf.TensorShape(batch.shape)
        if batch.dtype != "string" or (shape.rank or 0) > 2 or (shape.rank == 2 and shape[1] not in (1, None)):
            raise InputError(
                f"{self.name}: expected strings of shape (batch,), got {tf.as_dtype(batch.dtype).name} of shape {shape}"
            )
        return batch

    def _as_array(self, batch: Any) -> np.ndarray:
        is_string_array = isinstance(batch, np.ndarray) and batch.dtype.kind in "US"
        array = batch if is_string_array else np.asarray(batch, dtype=object)
        for row, text in enumerate(() if is_string_array else array.flat):
            if not isinstance(text, str | bytes):
                raise InputError(f"{self.name}: expected strings, got {type(text).__name__} in row {row}")
        return array


def flat(texts: "tf.Tensor") -> "tf.Tensor":
    """Reshape a string tensor of shape (), (batch,) or (batch, 1) to (batch,)."""
    import tensorflow as tf

    return tf.squeeze(texts, -1) if texts.shape.rank == 2 else tf.reshape(texts, [-1])
