"""The SavedModel with two entrances, text in and token ids in."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

    from tfhub_ft.tasks.classification import Classification

LABELS_ASSET = "assets.extra/labels.json"


def write_saved_model(model: "keras.Model", task: "Classification", labels: Sequence[str], folder: Path) -> None:
    """Write a text-in model as a SavedModel for TF Serving.

    Its signatures are `serving_default`, which takes `text`, string (batch,); and `tokens`, which takes
    `input_word_ids`, `input_mask` and `input_type_ids`, int32 (batch, length). Both give what the task serves, by
    name. The labels stand beside it in assets.extra/labels.json.

    Args:
        model: the text-in model, with a `preprocessor` and a `token_model`.
        task: says what is served.
        labels: the labels, in the order of the logits.
        folder: a folder that does not exist yet.
    """
    import tensorflow as tf

    network = model.get_layer("token_model")
    tokens = {name: tf.TensorSpec((None, None), tf.int32, name=name) for name in network.input}
    # The variables and modules themselves, not the Keras layers around them: those would save every value twice.
    served = tf.Module()
    served.weights = [weight.value for weight in model.weights]
    served.modules = [layer.module for layer in (*model.layers, *network.layers) if hasattr(layer, "module")]

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
    def from_text(text):  # noqa: ANN001, ANN202
        return task.served(model(text, training=False), labels)

    @tf.function(input_signature=[tokens])
    def from_tokens(features):  # noqa: ANN001, ANN202
        return task.served(network(features, training=False), labels)

    signatures = {"serving_default": from_text, "tokens": from_tokens}
    tf.saved_model.save(served, str(folder), signatures=signatures)
    (folder / LABELS_ASSET).parent.mkdir()
    (folder / LABELS_ASSET).write_text(json.dumps(list(labels), ensure_ascii=False), encoding="utf-8")
