"""Select the weights to freeze by their depth in the encoder."""

import re
from collections.abc import Iterable, Sequence

from tfhub_ft.utils.errors import InputError

SHARED = "this encoder's layers share their weights or are not named by depth"
_LAYER = re.compile(r"(?:^|/|_)(?:layer|layers|block)[._]*(\d+)(?=[/_]|$)", re.IGNORECASE)


def depth_of(name: str) -> int | None:
    """Return the layer of a variable, counted from 0; None for embeddings and poolers."""
    match = _LAYER.search(name)
    return int(match.group(1)) if match else None


def frozen_names(names: Sequence[str], freeze: str) -> set[str]:
    """Return the names of the variables that a value of `freeze` excludes from training."""
    if freeze == "none":
        return set()
    if freeze == "all":
        return set(names)
    poolers = {name for name in names if "pooler" in name}
    if freeze == "all-but-pooler":
        return set(names) - poolers
    embeddings = {name for name in names if depth_of(name) is None and "embedding" in name}
    if freeze == "embeddings":
        return embeddings
    match, layers = re.fullmatch(r"(all-but-)?(\d+)", freeze), _layers(names)
    if not match:
        raise InputError(f"--freeze {freeze}: not one of none, embeddings, N, all-but-N, all-but-pooler, all")
    if not layers:
        raise InputError(f"--freeze {freeze}: {SHARED}; use none, embeddings, all-but-pooler or all")
    count = int(match.group(2))
    if count > len(layers):
        raise InputError(f"--freeze {freeze}: the encoder has {len(layers)} layers")
    frozen_layers = layers[: len(layers) - count] if match.group(1) else layers[:count]
    return embeddings | {name for name in names if depth_of(name) in frozen_layers}


def top_layers(names: Sequence[str], count: int, option: str) -> set[str]:
    """Return the names of the variables of the top layers and the pooler."""
    layers = _layers(names)
    if not layers or count > len(layers):
        raise InputError(f"{option} {count}: {f'the encoder has {len(layers)} layers' if layers else SHARED}")
    top = layers[len(layers) - count :]
    return {name for name in names if "pooler" in name or depth_of(name) in top}


def _layers(names: Iterable[str]) -> list[int]:
    return sorted({depth for name in names if (depth := depth_of(name)) is not None})
