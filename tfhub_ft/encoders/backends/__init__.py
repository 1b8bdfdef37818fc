"""The two implementations of `HubEncoder`: native operations, or the SavedModel's graph."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras

from tfhub_ft.encoders.architecture_detection import native_spec, read_values
from tfhub_ft.encoders.backends.graph import GraphBackend
from tfhub_ft.encoders.backends.native import NativeBackend
from tfhub_ft.encoders.saved_module import EncoderSpec, describe, open_module
from tfhub_ft.utils.errors import InputError

IMPLEMENTATIONS = ("auto", "native", "graph")
MakeBackend = Callable[[keras.layers.Layer], NativeBackend | GraphBackend]


def read_backend(folder: Path, encoder: str, implementation: str, seed: int) -> MakeBackend:
    """Read an encoder from its SavedModel; return a function that makes the backend of a layer."""
    if implementation not in IMPLEMENTATIONS:
        raise InputError(f"--implementation {implementation}: not one of {', '.join(IMPLEMENTATIONS)}")
    if implementation != "graph":
        try:
            spec = native_spec(folder, encoder)
        except InputError:
            if implementation == "native":
                raise
        else:
            values = read_values(folder)
            return partial(NativeBackend, spec=spec, values=[values[v["name"]] for v in spec["variables"]])
    module, workspace = open_module(folder, seed=seed)
    spec = describe(module, encoder)
    return partial(GraphBackend, spec=spec, values=module.variables, opened=(module, workspace))


def backend_of_spec(spec: EncoderSpec, digest: str | None) -> MakeBackend:
    """Return a function that makes the backend of a layer which gets its weights, with this digest, later."""
    return partial(NativeBackend if "architecture" in spec else GraphBackend, spec=spec, digest=digest)
