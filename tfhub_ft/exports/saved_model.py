"""Convert a Keras text model to a SavedModel for TF Serving."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.encoders.truncation import call_truncated
from tfhub_ft.export_folder import LABELS_ASSET, TASK_ASSET
from tfhub_ft.inference.runtimes.keras import embedding_model
from tfhub_ft.utils.keras_compat import flatten_layers

if TYPE_CHECKING:
    import keras

    from tfhub_ft.exports.context import ExportContext
    from tfhub_ft.tasks.base import Task


def convert_to_saved_model(context: "ExportContext", quantization: str, folder: Path) -> dict[str, Any]:
    """Write the SavedModel of an export.

    Returns:
        {"outputs": {signature: {name: "dtype (shape)"}}, and what `prepare_for_serving` returns}.
    """
    run = context.run
    write_saved_model(context.model, context.task, run.labels, run.thresholds, folder)
    return serving_entry(folder, context)


def serving_entry(folder: Path, context: "ExportContext") -> dict[str, Any]:
    """Prepare a SavedModel for TF Serving; return what export.json keeps of it."""
    from tfhub_ft.exports.serving.config import model_name, prepare_for_serving
    from tfhub_ft.exports.serving.signatures import output_types

    operations = prepare_for_serving(folder, context.warmup_feeds, model_name(context.folder))
    return {**operations, "outputs": output_types(folder)}


def write_saved_model(
    model: "keras.Model", task: "Task", labels: Sequence[str], decision: dict[str, Any], folder: Path
) -> None:
    """Write a text-in model as a SavedModel for TF Serving.

    Its signatures are `serving_default`, which takes the model's texts by name, string (batch,); and `tokens`, which
    takes `input_word_ids`, `input_mask` and `input_type_ids`, int32 (batch, length), cut to the preprocessor's
    `seq_length`. Both give what the task serves, by name. A bi-encoder has a third one, `embed`, from `text` to
    `embedding`, float32 (batch, hidden). assets.extra holds labels.json, and task.json with all that turns texts into
    tokens and logits into predictions.

    Args:
        model: the text-in model, with a `preprocessor` and a `token_model`.
        task: says what is served.
        labels: the labels, in the order of the logits.
        decision: the thresholds of the answers.
        folder: a folder that does not exist yet.
    """
    import tensorflow as tf

    network, most = model.get_layer("token_model"), model.get_layer("preprocessor").seq_length
    names = [tensor.name for tensor in model.inputs]
    texts = {name: tf.TensorSpec((None,), tf.string, name=name) for name in names}
    tokens = {name: tf.TensorSpec((None, None), tf.int32, name=name) for name in network.input}
    # The variables and modules themselves, not the Keras layers around them: those would save every value twice.
    served = tf.Module()
    served.weights = [weight.value for weight in model.weights]
    served.modules = [layer.module for layer in flatten_layers(model) if getattr(layer, "module", None)]

    @tf.function(input_signature=[texts])
    def from_text(segments):  # noqa: ANN001, ANN202
        return task.serving_fn(model, [segments[name] for name in names], labels, decision)

    @tf.function(input_signature=[tokens])
    def from_tokens(features):  # noqa: ANN001, ANN202
        return task.serving_outputs(call_truncated(network, features, most), labels, decision)

    signatures = {"serving_default": from_text, "tokens": from_tokens}
    if embed := embedding_model(model):

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
        def embedding(text):  # noqa: ANN001, ANN202
            return {"embedding": embed(model.get_layer("preprocessor")(text), training=False)}

        signatures["embed"] = embedding
    tf.saved_model.save(served, str(folder), signatures=signatures)
    write_assets(folder, described(model, task, labels, decision))


def write_assets(folder: Path, description: dict[str, Any]) -> None:
    """Write what a SavedModel says of itself into its assets.extra."""
    (folder / TASK_ASSET).parent.mkdir()
    for asset, content in ((TASK_ASSET, description), (LABELS_ASSET, description["labels"])):
        (folder / asset).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def described(model: "keras.Model", task: "Task", labels: Sequence[str], decision: dict[str, Any]) -> dict[str, Any]:
    """Return what an artifact says of itself: all that turns texts into tokens and logits into predictions."""
    preprocessor = model.get_layer("preprocessor")
    return {
        "task": task.name,
        "inputs": [tensor.name for tensor in model.inputs],
        "labels": list(labels),
        "decision": decision,
        "preprocessor": {"class": type(preprocessor).__name__, "config": preprocessor.get_config()},
    }
