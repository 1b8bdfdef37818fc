"""A Keras text model as a SavedModel that TF Serving answers from."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tfhub_ft.encoders.truncation import call_truncated
from tfhub_ft.utils.console import log
from tfhub_ft.utils.documents import check_distinct, parse_json
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import atomic_write, folder_bytes
from tfhub_ft.utils.keras_compat import flatten_layers
from tfhub_ft.utils.saved_graph import load_graph

if TYPE_CHECKING:
    import keras

    from tfhub_ft.exports.context import ExportContext
    from tfhub_ft.tasks.base import Task

TASK_ASSET, LABELS_ASSET = "assets.extra/task.json", "assets.extra/labels.json"


def export_saved_model(work: "ExportContext") -> dict[str, Any]:
    """The next version of an export folder, a SavedModel, proven, or nothing.

    Returns:
        What export.json says of it.

    Raises:
        RunError: it answers differently from the model.
    """
    from tfhub_ft.exports.serving.config import model_name, prepare_for_serving, write_serving_files
    from tfhub_ft.exports.verify import verify_saved_model

    run, version, calls = work.run, next_version(work.folder), work.calls
    with atomic_write(work.folder / str(version)) as aside:
        log("Writing the SavedModel")
        write_saved_model(work.model, work.task, run.labels, run.decision, aside)
        operations = prepare_for_serving(aside, work.warmup_feeds, model_name(work.folder))
        log("Comparing its predictions with the model's, in a fresh process")
        proof = verify_saved_model(aside, calls)
        size = folder_bytes(aside)
        write_serving_files(work.folder)
    proof["verified_on"] = work.rows.described(proof["rows"], labels=False)
    return {"form": "saved_model", "version": version, "path": str(version), "bytes": size, **operations, **proof}


def versions(folder: Path) -> list[Path]:
    """Return the SavedModels that TF Serving finds in a folder, the newest last: its subfolders named by a number."""
    return [path for path in _numbered(folder) if (path / "saved_model.pb").is_file()]


def next_version(folder: Path) -> int:
    """Return the number of the next SavedModel in a folder that TF Serving reads versions from."""
    return 1 + max((int(path.name) for path in _numbered(folder)), default=0)


def _numbered(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("*") if re.fullmatch("[0-9]+", path.name)]
    return sorted(found, key=lambda path: (int(path.name), path.name))


def write_saved_model(
    model: "keras.Model", task: "Task", labels: Sequence[str], decision: dict[str, Any], folder: Path
) -> None:
    """Write a text-in model as a SavedModel for TF Serving.

    Its signatures are `serving_default`, which takes the model's texts by name, string (batch,); and `tokens`, which
    takes `input_word_ids`, `input_mask` and `input_type_ids`, int32 (batch, length), cut to the preprocessor's
    `seq_length`. Both give what the task serves, by name. A bi-encoder has a third one, `embed`, from `text` to
    `embedding`, float32 (batch, hidden). In assets.extra stand labels.json, and task.json with all that turns texts
    into tokens and logits into answers.

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
    (folder / TASK_ASSET).parent.mkdir()
    for asset, content in ((TASK_ASSET, described(model, task, labels, decision)), (LABELS_ASSET, list(labels))):
        (folder / asset).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def described(model: "keras.Model", task: "Task", labels: Sequence[str], decision: dict[str, Any]) -> dict[str, Any]:
    """What an export keeps of itself: all that turns texts into tokens and logits into answers."""
    preprocessor = model.get_layer("preprocessor")
    return {
        "task": task.name,
        "inputs": [tensor.name for tensor in model.inputs],
        "labels": list(labels),
        "decision": decision,
        "preprocessor": {"class": type(preprocessor).__name__, "config": preprocessor.get_config()},
    }


def read_task(saved_model: Path) -> dict[str, Any]:
    """What `write_saved_model` kept in task.json.

    Raises:
        InputError: the folder is no export of tfhub_ft.
    """
    try:
        content = (saved_model / TASK_ASSET).read_text(encoding="utf-8")
        return parse_description(content)
    except (OSError, ValueError) as error:
        raise InputError(f"{saved_model} is no export of tfhub_ft: {TASK_ASSET} cannot be read ({error})") from None


def parse_description(content: str | bytes) -> dict[str, Any]:
    """Parse what `described` returned, as JSON.

    Raises:
        ValueError: it is something else.
    """
    description = parse_json(content, {"task": str, "inputs": [str], "labels": [str], "decision": dict})
    check_distinct(description["labels"])
    return description


def saved_preprocessor(saved_model: Path, loaded: Any = None) -> Any:
    """Return the preprocessing layer of a SavedModel that `write_saved_model` wrote.

    Args:
        saved_model: its folder.
        loaded: what `load_graph` returned for it, if it is loaded.
    """
    from tfhub_ft.inference.runtimes.tflite import preprocessor_layer

    layer = preprocessor_layer(read_task(saved_model)["preprocessor"])
    modules = (loaded or load_graph(saved_model)).modules
    module = next(module for module in modules if hasattr(module, "bert_pack_inputs"))
    layer.take(module, SimpleNamespace(name=str(saved_model)))
    return layer


def embedding_model(model: "keras.Model") -> "keras.Model | None":
    """The part of a bi-encoder that embeds one text's tokens; None where a model is none."""
    layers = model.get_layer("token_model").layers
    return next((layer for layer in layers if layer.name == "embedding_model"), None)
