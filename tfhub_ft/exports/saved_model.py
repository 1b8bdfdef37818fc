"""Convert a Keras text model to a SavedModel for TF Serving."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.encoders.truncation import call_truncated
from tfhub_ft.export_folder import LABELS_ASSET, TASK_ASSET, Description, Entry
from tfhub_ft.inference.runtimes.keras import embedding_model
from tfhub_ft.utils.keras_compat import flatten_layers

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfhub_ft.exports.context import ExportContext
    from tfhub_ft.tasks.base import Task


def convert_to_saved_model(context: "ExportContext", quantization: str, folder: Path) -> Entry:
    """Write the SavedModel of an export."""
    run = context.run
    write_saved_model(context.model, context.task, run.labels, run.thresholds, folder)
    return serving_entry(folder, context)


def serving_entry(folder: Path, context: "ExportContext") -> Entry:
    """Prepare a SavedModel for TF Serving; return the fields "ops", "lacking_in_tf_serving" and "outputs"."""
    from tfhub_ft.exports.serving.config import model_name, prepare_for_serving
    from tfhub_ft.exports.serving.signatures import output_types

    operations = prepare_for_serving(folder, context.warmup_feeds, model_name(context.folder))
    return {**operations, "outputs": output_types(folder)}


def write_saved_model(
    model: "keras.Model", task: "Task", labels: Sequence[str], thresholds: dict[str, Any], folder: Path
) -> None:
    """Write a text-in model as a SavedModel with up to three signatures.

    `serving_default` takes texts by name, string (batch,). `tokens` takes `input_word_ids`, `input_mask` and
    `input_type_ids`, int32 (batch, length), truncated to the preprocessor's `seq_length`, or int32 (batch, windows,
    length) if the model pools windows. Both return the task's
    serving outputs. For a bi-encoder, `embed` takes `text` and returns `embedding`, float32 (batch, hidden).
    """
    import tensorflow as tf

    network, seq_length = model.get_layer("token_model"), model.get_layer("preprocessor").seq_length
    names = [tensor.name for tensor in model.inputs]
    texts = {name: tf.TensorSpec((None,), tf.string, name=name) for name in names}
    tokens = token_specs(network)
    # Keras layers would save every variable twice.
    served: Any = tf.Module()
    served.weights = [weight.value for weight in model.weights]
    served.modules = [layer.module for layer in flatten_layers(model) if getattr(layer, "module", None)]

    @tf.function(input_signature=[texts])
    def from_text(segments):  # noqa: ANN001, ANN202
        return task.serving_fn(model, [segments[name] for name in names], labels, thresholds)

    @tf.function(input_signature=[tokens])
    def from_tokens(features):  # noqa: ANN001, ANN202
        return task.serving_outputs(call_truncated(network, features, seq_length), labels, thresholds)

    signatures = {"serving_default": from_text, "tokens": from_tokens}
    if embed := embedding_model(model):

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
        def embedding(text):  # noqa: ANN001, ANN202
            return {"embedding": embed(model.get_layer("preprocessor")(text), training=False)}

        signatures["embed"] = embedding
    tf.saved_model.save(served, str(folder), signatures=signatures)
    write_assets(folder, describe_model(model, task, labels, thresholds))


def token_specs(network: "keras.Model") -> "dict[str, tf.TensorSpec]":
    """Return the specifications of the inputs of a token model, int32 of any size."""
    import tensorflow as tf

    tensors: Any = network.input
    return {name: tf.TensorSpec([None] * len(tensors[name].shape), tf.int32, name=name) for name in tensors}


def write_assets(folder: Path, description: Description) -> None:
    """Write the description of a SavedModel into its assets.extra."""
    (folder / TASK_ASSET).parent.mkdir()
    for asset, content in ((TASK_ASSET, description), (LABELS_ASSET, description["labels"])):
        (folder / asset).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def describe_model(
    model: "keras.Model", task: "Task", labels: Sequence[str], thresholds: dict[str, Any]
) -> Description:
    """Return what an artifact needs to make tokens of texts, and predictions of logits."""
    preprocessor = model.get_layer("preprocessor")
    return {
        "task": task.name,
        "inputs": [tensor.name for tensor in model.inputs],
        "labels": list(labels),
        "decision": thresholds,
        "preprocessor": {"class": type(preprocessor).__name__, "config": preprocessor.get_config()},
    }
