"""Exporting a run: the next version of an export folder, proven, or nothing."""

import json
import os
import re
from collections.abc import Sequence
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
    inputs = run.sample

    import numpy as np

    from tfhub_ft.exports.card import model_card
    from tfhub_ft.exports.proof import prove
    from tfhub_ft.exports.saved_model import write_saved_model

    say(f"Loading {run.path}")
    model = run.load_model()
    names = [tensor.name for tensor in model.inputs]
    tokens, logits = _tokens_and_logits(model, inputs)
    expected = {name: np.asarray(t) for name, t in run.recipe.task.served(logits, run.labels, run.decision).items()}
    version = _next_version(folder)
    with written_aside(folder / str(version)) as aside:
        say("Writing the SavedModel")
        write_saved_model(model, run.recipe.task, run.labels, run.decision, aside)
        say(f"Comparing its answers with the model's on {len(inputs)} rows, in a fresh process")
        proof = prove(aside, names, inputs, tokens, expected)
        size = folder_bytes(aside)
    form = {"version": version, "path": str(version), "bytes": size, **proof}
    form["written"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    exports["forms"].append({"form": "saved_model", **form})
    write_json(folder / "export.json", exports)
    write_text(folder / "README.md", model_card(run, metrics, folder.name, form))
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


def _tokens_and_logits(
    model: "keras.Model", inputs: Sequence[Sequence[str]]
) -> tuple[list[dict[str, "np.ndarray"]], "np.ndarray"]:
    """The rows as token ids, in batches, and the Keras model's logits of them."""
    import numpy as np
    import tensorflow as tf

    from tfhub_ft.exports.proof import BATCH

    batches, logits = [], []
    for start in range(0, len(inputs), BATCH):
        segments = [tf.constant(column) for column in zip(*inputs[start : start + BATCH], strict=True)]
        tokens = model.get_layer("preprocessor")(segments if len(segments) > 1 else segments[0])
        batches.append({name: ids.numpy() for name, ids in tokens.items()})
        logits.append(model.get_layer("token_model")(tokens, training=False).numpy())
    return batches, np.concatenate(logits)
