"""Weights of a language model in a SavedModel: float32, bfloat16 or int8."""

import contextlib
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from tfhub_ft.utils.precision import matrix_products_in

if TYPE_CHECKING:
    from tfhub_ft.language_models.language_model_layer import LanguageModel

BLOCK = 64


class QuantizedWeights:
    """The weights of a layer, with matrices in float32 ("none"), bfloat16 or int8, and vectors in float32.

    With bfloat16 weights the layer also multiplies in bfloat16, which is fast where the processor supports it. int8
    weights become float32 when the SavedModel is loaded: TensorFlow lacks a fast product of float32 and int8, and a
    conversion for each token would take as long as the token.

    Attributes:
        tracked: Everything that the SavedModel must contain.
    """

    def __init__(self, layer: "LanguageModel", quantization: str):
        self.layer, self.quantization = layer, quantization
        quantize = {"bfloat16": _to_bfloat16, "int8": Int8Weight}.get(quantization)
        matrices = [weight for weight in layer.weights if quantize and len(weight.shape) > 1]
        self._replaced = [(weight, quantize(weight)) for weight in matrices] if quantize else []
        replaced_ids = set(map(id, matrices))
        self.tracked = [weight.value for weight in layer.weights if id(weight) not in replaced_ids]
        for _, weight in self._replaced:
            self.tracked += [weight, weight.values, weight.scales] if isinstance(weight, Int8Weight) else [weight]

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Let the layer compute with these weights in the body of a tf.function."""
        scope = keras.StatelessScope()
        for weight, quantized in self._replaced:
            scope.add_update((weight, quantized.read() if isinstance(quantized, Int8Weight) else quantized))
        precision = "bfloat16" if self.quantization == "bfloat16" else "float32"
        with matrix_products_in(precision, self.layer), scope:
            yield


def _to_bfloat16(weight: keras.Variable) -> tf.Variable:
    return tf.Variable(tf.cast(weight.value, tf.bfloat16), trainable=False)


class Int8Weight(tf.saved_model.experimental.TrackableResource):
    """A weight in int8, with a scale for each block of 64 values; it becomes float32 when its SavedModel is loaded.

    Reference:
        Dettmers et al. 2022, https://arxiv.org/abs/2110.02861 (a scale for each block)
    """

    def __init__(self, weight: keras.Variable):
        super().__init__()
        self.shape = tuple(weight.shape)
        flat = np.asarray(weight).reshape(-1)
        blocks = np.pad(flat, (0, -flat.size % BLOCK)).reshape(-1, BLOCK)
        scales = np.maximum(np.abs(blocks).max(1, keepdims=True) / 127, np.finfo("float32").tiny)
        self.values = tf.Variable(np.round(blocks / scales).astype("int8"), trainable=False)
        self.scales = tf.Variable(scales.astype("float32"), trainable=False)
        self._shared_name = f"weight_{uuid.uuid4()}"

    def read(self) -> tf.Tensor:
        """Return the weight as float32."""
        value = tf.raw_ops.ReadVariableOp(resource=self.resource_handle, dtype=tf.float32)
        return tf.ensure_shape(value, self.shape)

    def _create_resource(self) -> tf.Tensor:
        return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=self.shape, shared_name=self._shared_name)

    def _initialize(self) -> None:
        values = tf.cast(self.values, tf.float32) * self.scales
        value = tf.reshape(tf.reshape(values, [-1])[: int(np.prod(self.shape))], self.shape)
        tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=value)
