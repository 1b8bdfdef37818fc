"""The weights of a language model as a SavedModel keeps them: float32, or in half or a quarter of the bytes."""

import contextlib
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from tfhub_ft.utils.precision import matrix_products_in

if TYPE_CHECKING:
    from tfhub_ft.language_models.language_model_layer import LanguageModel

BLOCK = 64


class QuantizedWeights:
    """The weights of a layer in another form; vectors, such as those of norms, are float32 in all of them.

    With weights in bfloat16 the layer multiplies in bfloat16 too, which is fast where the processor can do it. Those in
    int8 are made float32 once, when the SavedModel is loaded: TensorFlow has no fast product of float32 and int8, and
    to make them float32 for each token would take as long as the token.

    Args:
        layer: the layer.
        quantization: "none" (float32), "bfloat16" or "int8".

    Attributes:
        tracked: what a SavedModel must hold.
    """

    def __init__(self, layer: "LanguageModel", quantization: str):
        self.layer, self.quantization = layer, quantization
        keep = {"bfloat16": _in_bfloat16, "int8": Int8Weight}.get(quantization)
        self._replaced = [(weight, keep(weight)) for weight in layer.weights if keep and len(weight.shape) > 1]
        replaced = {id(weight) for weight, _ in self._replaced}
        self.tracked = [weight.value for weight in layer.weights if id(weight) not in replaced]
        for _, kept in self._replaced:
            self.tracked += [kept, kept.values, kept.scales] if isinstance(kept, Int8Weight) else [kept]

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Within this context the layer computes with these weights; for the body of one tf.function."""
        scope = keras.StatelessScope()
        for weight, kept in self._replaced:
            scope.add_update((weight, kept.read() if isinstance(kept, Int8Weight) else kept))
        precision = "bfloat16" if self.quantization == "bfloat16" else "float32"
        with matrix_products_in(precision, self.layer), scope:
            yield


def _in_bfloat16(weight: Any) -> tf.Variable:
    return tf.Variable(tf.cast(weight.value, tf.bfloat16), trainable=False)


class Int8Weight(tf.saved_model.experimental.TrackableResource):
    """A weight in int8, each 64 values with a scale of their own, that is made float32 when its SavedModel is loaded.

    Args:
        weight: a variable of Keras.

    Reference:
        Dettmers et al. 2022, https://arxiv.org/abs/2110.02861 (a scale for each block)
    """

    def __init__(self, weight: Any):
        super().__init__()
        self.shape = tuple(weight.shape)
        flat = weight.numpy().reshape(-1)
        blocks = np.pad(flat, (0, -flat.size % BLOCK)).reshape(-1, BLOCK)
        scales = np.maximum(np.abs(blocks).max(1, keepdims=True) / 127, np.finfo("float32").tiny)
        self.values = tf.Variable(np.round(blocks / scales).astype("int8"), trainable=False)
        self.scales = tf.Variable(scales.astype("float32"), trainable=False)
        self._shared_name = f"weight_{uuid.uuid4()}"

    def read(self) -> tf.Tensor:
        """The weight as float32."""
        value = tf.raw_ops.ReadVariableOp(resource=self.resource_handle, dtype=tf.float32)
        return tf.ensure_shape(value, self.shape)

    def _create_resource(self) -> tf.Tensor:
        return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=self.shape, shared_name=self._shared_name)

    def _initialize(self) -> None:
        values = tf.cast(self.values, tf.float32) * self.scales
        value = tf.reshape(tf.reshape(values, [-1])[: int(np.prod(self.shape))], self.shape)
        tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=value)
