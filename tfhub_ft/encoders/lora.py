"""LoRA: an encoder's matrices stay as they are, and a low-rank update of each is trained in their place.

Hu et al. 2021, https://arxiv.org/abs/2106.09685
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfhub_ft.encoders.bert_forward import role_of
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import atomic_write

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
    """The matrices that get an update, each with its inputs and outputs.

    Args:
        shapes: of the weights that may be changed, by their names in the SavedModel.
        targets: of `TARGETS`.
        rank: of the updates.

    Returns:
        {name: (inputs, outputs)}, in the order of `shapes`.

    Raises:
        InputError: a target is unknown or there is none to change, or the rank does not fit.

    Example:
        updated_matrices({"transformer/layer_0/self_attention/query/kernel": (384, 12, 32)}, ("query",), 8)
    """
    if unknown := [target for target in targets if target not in TARGETS]:
        raise InputError(f"--lora-targets {unknown[0]}: must be some of {', '.join(TARGETS)}, with commas between")
    wanted = {f"{TARGETS[target]}/kernel" for target in targets}
    found = {name: _as_matrix(name, shape) for name, shape in shapes.items() if _part(name) in wanted}
    if not found:
        raise InputError(f"--lora-targets {','.join(targets)}: --freeze leaves none of these to be changed")
    width = min(min(sizes) for sizes in found.values())
    if not 1 <= rank <= width:
        raise InputError(f"--lora-rank {rank}: must be from 1 to {width}, the encoder's width")
    return found


def _part(name: str) -> str | None:
    """A weight's role without its layer."""
    role = role_of(name)
    return role.split("/", 1)[1] if role and role.startswith("layer_") else role


def _as_matrix(name: str, shape: Sequence[int]) -> tuple[int, int]:
    """Heads belong to the outputs of query, key and value, and to the inputs of what follows them."""
    outputs = shape[-1] if "attention_output" in name else int(np.prod(shape[1:]))
    return int(np.prod(shape)) // outputs, outputs


def write_adapter(path: Path, updates: Mapping[str, Sequence[Any]], described: Mapping[str, str]) -> None:
    """Write low-rank updates into a safetensors file.

    Args:
        path: the file.
        updates: for each weight's name its factors, float32 (inputs, rank) and (rank, outputs).
        described: what the file says of them.
    """
    from safetensors.numpy import save

    tensors = {
        f"{name}/{side}": np.asarray(factor)
        for name, factors in updates.items()
        for side, factor in zip(("down", "up"), factors, strict=True)
    }
    with atomic_write(path) as aside:
        aside.write_bytes(save(tensors, metadata=dict(described)))


def read_adapter(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The factors by name, and what the file says of them.

    Raises:
        InputError: it is no such file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'cannot be read'}") from None
    except SafetensorError as error:
        raise InputError(f"{path} is no adapter ({error})") from None
