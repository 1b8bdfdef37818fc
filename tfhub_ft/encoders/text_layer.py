"""The base of the Keras layers that read texts."""

from typing import Any

import keras
import numpy as np

from tfhub_ft.utils.errors import InputError


class TextLayer(keras.layers.Layer):
    """A layer whose inputs are texts.

    Call arguments:
        inputs: a batch of texts, or a list or tuple of two batches for pairs. A batch is a string tensor of shape
            (batch,) or (batch, 1), a list of strings, an array or a Series; a single string is a batch of one.

    Raises:
        InputError: the inputs are not texts, or not one or two batches of them.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        # XLA has no strings.
        self.supports_jit = False

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        is_batch = not isinstance(inputs, list | tuple) or isinstance(next(iter(inputs), ""), str | bytes)
        batches = [self._as_tensor(batch) for batch in ([inputs] if is_batch else inputs)]
        if len(batches) > 2:
            raise InputError(f"{self.name}: got {len(batches)} batches of texts; pass one, or a list of two for pairs")
        sizes = {batch.shape[0] for batch in batches if len(batch.shape)} - {None}
        if len(sizes) > 1:
            raise InputError(f"{self.name}: got pairs of batches that differ in size; pass as many texts in each")
        return super().__call__(batches[0] if len(batches) == 1 else batches, **kwargs)

    def _as_tensor(self, batch: Any) -> Any:
        """A batch of texts as a tensor, eager or symbolic, of type string and rank 2 at most."""
        import tensorflow as tf

        if isinstance(batch, tf.Tensor) and batch.dtype != tf.string and not tf.executing_eagerly():
            # Keras builds a subclassed model with placeholders of floats.
            return tf.cast(batch, tf.string)
        if not isinstance(batch, tf.Tensor | keras.KerasTensor):
            batch = tf.convert_to_tensor(self._as_array(batch), tf.string)
        shape = tf.TensorShape(batch.shape)
        if batch.dtype != "string" or (shape.rank or 0) > 2 or (shape.rank == 2 and shape[1] not in (1, None)):
            raise InputError(
                f"{self.name}: expects strings of shape (batch,), got {tf.as_dtype(batch.dtype).name} of shape {shape}"
            )
        return batch

    def _as_array(self, batch: Any) -> np.ndarray:
        is_of_strings = isinstance(batch, np.ndarray) and batch.dtype.kind in "US"
        array = batch if is_of_strings else np.asarray(batch, dtype=object)
        for row, text in enumerate(() if is_of_strings else array.flat):
            if not isinstance(text, str | bytes):
                raise InputError(f"{self.name}: expects texts, got {type(text).__name__} in row {row}; pass strings")
        return array


def flat(texts: Any) -> Any:
    """A string tensor of shape (), (batch,) or (batch, 1) as one of shape (batch,)."""
    import tensorflow as tf

    return tf.squeeze(texts, -1) if texts.shape.rank == 2 else tf.reshape(texts, [-1])
