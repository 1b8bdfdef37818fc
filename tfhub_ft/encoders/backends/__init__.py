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
    """Read an encoder from its SavedModel.

    Args:
        folder: the SavedModel folder.
        encoder: its name in errors.
        implementation: "native", "graph", or "auto": native where the family is known.
        seed: of the dropout.

    Returns:
        A function from the layer to its backend.

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
    """Return the backend of a layer that gets its weights later, as a function like that of `read_backend`.

    Args:
        spec: the backend's `spec`.
        digest: the SHA-256 that weights read from where the encoder's name leads must have.
    """
    return partial(NativeBackend if "architecture" in spec else GraphBackend, spec=spec, digest=digest)
