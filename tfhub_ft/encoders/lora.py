"""Select the matrices of LoRA updates, and read and write adapters.

Hu et al. 2021, https://arxiv.org/abs/2106.09685
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfhub_ft.encoders.bert_forward import role_of
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import atomic_write

if TYPE_CHECKING:
    import keras

TARGETS = {
    "query": "self_attention/query",
    "key": "self_attention/key",
    "value": "self_attention/value",
    "attention_output": "self_attention/attention_output",
    "intermediate": "intermediate",
    "output": "output",
    "pooler": "pooler_transform",
}
DEFAULT_TARGETS = ("query", "value")


def updated_matrices(
    shapes: Mapping[str, Sequence[int]], targets: Sequence[str], rank: int
) -> dict[str, tuple[int, int]]:
    """Return the input and output size of each matrix to update, from the shapes of all weights by name."""
    if unknown := [target for target in targets if target not in TARGETS]:
        raise InputError(f"--lora-targets {unknown[0]}: expected a comma-separated list of {', '.join(TARGETS)}")
    kernels = {f"{TARGETS[target]}/kernel" for target in targets}
    matrices = {name: _matrix_size(name, shape) for name, shape in shapes.items() if _part(name) in kernels}
    if not matrices:
        raise InputError(f"--lora-targets {','.join(targets)}: --freeze excludes all of these")
    width = min(min(sizes) for sizes in matrices.values())
    if not 1 <= rank <= width:
        raise InputError(f"--lora-rank {rank}: must be from 1 to {width} (the encoder's width)")
    return matrices


def _part(name: str) -> str | None:
    """Return a weight's role without its layer."""
    role = role_of(name)
    return role.split("/", 1)[1] if role and role.startswith("layer_") else role


def _matrix_size(name: str, shape: Sequence[int]) -> tuple[int, int]:
    # Heads are an axis of the outputs of query, key and value, and of the inputs of the attention output.
    outputs = shape[-1] if "attention_output" in name else int(np.prod(shape[1:]))
    return int(np.prod(shape)) // outputs, outputs


def write_adapter(path: Path, updates: "Mapping[str, Sequence[keras.Variable]]", metadata: Mapping[str, str]) -> None:
    """Write the factors of LoRA updates and metadata into a safetensors file."""
    from safetensors.numpy import save

    tensors = {
        f"{name}/{side}": np.asarray(factor)
        for name, factors in updates.items()
        for side, factor in zip(("down", "up"), factors, strict=True)
    }
    with atomic_write(path) as new_file:
        new_file.write_bytes(save(tensors, metadata=dict(metadata)))


def read_adapter(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the factors by name, and the metadata."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'cannot be read'}") from None
    except SafetensorError as error:
        raise InputError(f"{path}: not an adapter ({error})") from None
