"""Exporting a run: the next version of an export folder, proven, or nothing."""

import json
import os
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.console import say
from tfhub_ft.errors import InputError
from tfhub_ft.files import folder_bytes, write_json, write_text, written_aside
from tfhub_ft.run import Run

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tfhub_ft.exports.proof import Call


def export(run: str | Path | Run, *, output_dir: str | Path) -> Path:
    """Export a run as a SavedModel and prove that it answers as the run's model does. What `tfhub-ft export` does.

    The export folder is laid out as TF Serving wants it: a SavedModel in `1/`, the next one in `2/`, and so on;
    export.json tells what was proven of each, README.md is the model card of the newest.

    Args:
        run: a finished run or its folder.
        output_dir: the export folder, such as saved_models/reviews; made where there is none.

    Returns:
        The folder of the new version.

    Raises:
        InputError: the run is not finished, or the folder holds the exports of something else.
        WorkError: the export answers differently from the model; nothing is left behind.

    Example:
        tfhub_ft.export("runs/reviews", output_dir="saved_models/reviews")
    """
    run = run if isinstance(run, Run) else Run(run)
    folder = Path(output_dir)
    exports = _existing_exports(folder, run)
    metrics = run.metrics

    from tfhub_ft.exports.card import model_card
    from tfhub_ft.exports.proof import prove
    from tfhub_ft.exports.saved_model import write_saved_model
    from tfhub_ft.exports.serving import prepare_for_serving, write_serving_files

    say(f"Loading {run.path}")
    model = run.load_model()
    calls = _calls(model, run)
    feeds = {signature: call.feeds[0] for signature, call in calls.items()}
    version = _next_version(folder)
    with written_aside(folder / str(version)) as aside:
        say("Writing the SavedModel")
        write_saved_model(model, run.recipe.task, run.labels, run.decision, aside)
        operations = prepare_for_serving(aside, feeds, folder.name)
        say(f"Comparing its answers with the model's on {len(run.sample)} rows, in a fresh process")
        proof = prove(aside, calls)
        size = folder_bytes(aside)
    form = {"version": version, "path": str(version), "bytes": size, **operations, **proof}
    form["written"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    exports["forms"].append({"form": "saved_model", **form})
    write_json(folder / "export.json", exports)
    write_serving_files(folder)
    write_text(folder / "README.md", model_card(run, metrics, folder, form, feeds))
    return folder / str(version)


def _existing_exports(folder: Path, run: Run) -> dict[str, Any]:
    path = folder / "export.json"
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output-dir {folder} is a file")
    if not path.is_file():
        strangers = [p.name for p in folder.iterdir() if not p.name.startswith(".")] if folder.is_dir() else []
        if strangers:
            raise InputError(f"--output-dir {folder} holds other things ({strangers[0]} ...) and no export.json")
        return {"recipe": run.recipe.name, "labels": run.labels, "forms": []}
    exports = json.loads(path.read_text(encoding="utf-8"))
    if exports["recipe"] != run.recipe.name or exports["labels"] != run.labels:
        raise InputError(
            f"--output-dir {folder} holds exports of the recipe {exports['recipe']} with the labels"
            f" {', '.join(exports['labels'][:5])}: name another folder"
        )
    return exports


def _next_version(folder: Path) -> int:
    names = os.listdir(folder) if folder.is_dir() else []
    return 1 + max((int(name) for name in names if re.fullmatch(r"\d+", name)), default=0)


def _calls(model: "keras.Model", run: Run) -> "dict[str, Call]":
    """The run's sample rows as each signature takes them, with the Keras model's answers."""
    import numpy as np

    from tfhub_ft.exports.proof import BATCH, Call
    from tfhub_ft.exports.saved_model import embedding_model

    names = [tensor.name for tensor in model.inputs]
    columns = [np.array(column) for column in zip(*run.sample, strict=True)]
    starts = range(0, len(run.sample), BATCH)
    texts = [
        {name: column[start : start + BATCH] for name, column in zip(names, columns, strict=True)} for start in starts
    ]
    task, labels, decision = run.recipe.task, run.labels, run.decision
    tokens = [_tokens(model, list(feed.values())) for feed in texts]
    network = model.get_layer("token_model")
    calls = {
        "serving_default": Call(
            texts,
            [_arrays(task.served_of_texts(model, _constants(feed.values()), labels, decision)) for feed in texts],
        ),
        "tokens": Call(
            tokens, [_arrays(task.served(network(feed, training=False), labels, decision)) for feed in tokens]
        ),
    }
    if embed := embedding_model(model):
        feeds = [{"text": feed[names[0]]} for feed in texts]
        embeddings = [_arrays({"embedding": embed(_tokens(model, [feed["text"]]), training=False)}) for feed in feeds]
        calls["embed"] = Call(feeds, embeddings)
    return calls


def _tokens(model: "keras.Model", segments: "Iterable[np.ndarray]") -> "dict[str, np.ndarray]":
    texts = _constants(segments)
    return _arrays(model.get_layer("preprocessor")(texts if len(texts) > 1 else texts[0]))


def _constants(segments: "Iterable[np.ndarray]") -> list[Any]:
    import tensorflow as tf

    return [tf.constant(segment) for segment in segments]


def _arrays(tensors: dict[str, Any]) -> "dict[str, np.ndarray]":
    import numpy as np

    return {name: np.asarray(tensor) for name, tensor in tensors.items()}
