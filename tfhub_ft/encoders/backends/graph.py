"""Compute an encoder with the graph of its SavedModel."""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from tfhub_ft.encoders.architecture_detection import recognize
from tfhub_ft.encoders.backends.base import Backend
from tfhub_ft.encoders.bert_forward import Architecture
from tfhub_ft.encoders.saved_module import open_module
from tfhub_ft.utils.files import copy_folder
from tfhub_ft.utils.precision import rewritten_graphs

if TYPE_CHECKING:
    import tensorflow as tf


def _refusing(option: str) -> Callable[..., None]:
    """Return a method that raises an InputError, for what only native encoders support."""
    return lambda backend, *_, **__: backend.require_native(option)


class GraphBackend(Backend):
    """Computes a `HubEncoder` with a SavedModel's graph, on variables that are the layer's weights.

    `opened` is the result of `open_module`; without it `load_assets` loads the graph.
    """

    # Holds the private copy of the SavedModel.
    _workspace: tempfile.TemporaryDirectory

    def __init__(self, layer: keras.layers.Layer, *, opened: tuple[Any, Any] | None = None, **options: Any):
        super().__init__(layer, **options)
        layer.module = None
        if opened:
            layer.module, self._workspace = opened

    def encode(self, tokens: "dict[str, tf.Tensor]", training: bool) -> dict[str, Any]:
        import tensorflow as tf

        if not self.is_loaded:
            return self._map_outputs(tf.zeros, *tf.unstack(tf.shape(tokens["input_word_ids"])))
        options = {"training": training} if self.spec["takes_training"] else {}
        return self.layer.module({name: tokens[name] for name in self.spec["inputs"]}, **options)

    def compute_in(self, precision: str) -> contextlib.AbstractContextManager:
        return rewritten_graphs(precision)

    @property
    def architecture(self) -> Architecture:
        self.require_weights()
        return recognize(self.layer.module, self.spec, Path(self._workspace.name), self.layer.encoder)

    def write(self, folder: Path) -> None:
        import tensorflow as tf

        self.save_assets(folder)
        tf.train.Checkpoint(self.layer.module).write(str(folder / "variables" / "variables"))

    def save_assets(self, folder: str | Path) -> None:
        self.require_weights()
        copy_folder(Path(self._workspace.name), Path(folder))

    def load_assets(self, folder: str | Path, name: str | None = None) -> None:
        variables = [variable.value for variable in self.layer.encoder_weights]
        opened = open_module(Path(folder), seed=self.layer.seed, variables=variables, name=name)
        self.layer.module, self._workspace = opened

    @property
    def is_loaded(self) -> bool:
        return self.layer.module is not None

    add_updates = enable_lora = load_lora_weights = save_lora_weights = _refusing("--lora-rank")
    set_dropout = _refusing("--encoder-dropout")
    restrict_vocabulary = _refusing("restrict_vocabulary")

    def merge_lora(self) -> None:
        """Do nothing: a graph has nothing to merge."""
