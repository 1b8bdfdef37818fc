"""What computes a `HubEncoder`: our own operations, or the SavedModel's graph."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tfhub_ft.encoders.architecture_detection import native_spec, read_values
from tfhub_ft.encoders.backends.base import Backend
from tfhub_ft.encoders.backends.graph import GraphBackend
from tfhub_ft.encoders.backends.native import NativeBackend
from tfhub_ft.encoders.saved_module import describe, open_module
from tfhub_ft.utils.errors import InputError

IMPLEMENTATIONS = ("auto", "native", "graph")


def read_backend(folder: Path, encoder: str, implementation: str, seed: int) -> Callable[[Any], Backend]:
    """Read an encoder from its SavedModel; return a function from the layer to its backend.

    Raises:
        InputError: the SavedModel is not a text encoder, or not of the family that `implementation` asks for.
    """
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
    opened = open_module(folder, seed=seed)
    return partial(GraphBackend, spec=describe(opened[0], encoder), values=opened[0].variables, opened=opened)


def backend_of_spec(spec: dict[str, Any], digest: str | None) -> Callable[[Any], Backend]:
    """Like `read_backend`, for a layer that gets its weights later; weights with another digest are refused."""
    return partial(NativeBackend if "architecture" in spec else GraphBackend, spec=spec, digest=digest)
