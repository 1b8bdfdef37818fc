"""An encoder that is computed natively, written as a TF Hub SavedModel of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.encoders.native import Architecture, encode, role_of
from tfhub_ft.encoders.preprocessor_layer import TOKEN_INPUTS

if TYPE_CHECKING:
    import numpy as np


def write_encoder(folder: Path, values: Mapping[str, "np.ndarray"], architecture: Architecture) -> None:
    """Write a SavedModel that follows the TF Hub text API: trainable, with dropout, for any batch and length.

    Args:
        folder: a folder that does not exist yet, or is empty.
        values: float32 weights by the names that TF Hub's encoders have, such as "word_embeddings/embeddings".
        architecture: what the encoder is besides.

    Example:
        write_encoder(Path("smaller/encoder"), encoder.values, Architecture(layers=6, shared=False, heads=12))

    Reference:
        https://www.tensorflow.org/hub/common_saved_model_apis/text#transformer-encoders
    """
    import tensorflow as tf

    module = _module(values, architecture)
    tokens = {name: tf.TensorSpec((None, None), tf.int32, name=name) for name in TOKEN_INPUTS}
    for training in (False, True):
        module.__call__.get_concrete_function(tokens, training=training)
    serve = tf.function(
        lambda **inputs: {k: v for k, v in module(inputs).items() if k != "encoder_outputs"}, autograph=False
    )
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve.get_concrete_function(**tokens)})


def _module(values: Mapping[str, "np.ndarray"], architecture: Architecture) -> Any:
    import tensorflow as tf

    class Encoder(tf.train.Checkpoint):
        def __init__(self):
            super().__init__()
            self.variables = [tf.Variable(value, name=name) for name, value in values.items()]
            self.trainable_variables = list(self.variables)
            self.regularization_losses = []

        @tf.function(autograph=False)
        def __call__(self, inputs: dict[str, Any], training: bool = False) -> dict[str, Any]:
            weights = {role_of(name): held.read_value() for name, held in zip(values, self.variables, strict=True)}
            drop = (lambda x, rate, _: tf.nn.dropout(x, rate)) if training else None
            outputs = encode(weights, architecture, inputs, dtype="float32", drop=drop, own_gradients=False)
            return {**outputs, "default": outputs["pooled_output"]}

    return Encoder()
