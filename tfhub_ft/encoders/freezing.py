"""Which weights of an encoder stay as they are, by their depth."""

import re
from collections.abc import Sequence

from tfhub_ft.utils.errors import InputError

SHARED = "this encoder's layers share their weights or are not named by depth"
_LAYER = re.compile(r"(?:^|/|_)(?:layer|layers|block)[._]*(\d+)(?=[/_]|$)", re.IGNORECASE)


def depth_of(name: str) -> int | None:
    """The encoder layer that a variable belongs to, counted from 0; None where its name says no layer."""
    found = _LAYER.search(name)
    return int(found.group(1)) if found else None


def frozen_names(names: Sequence[str], freeze: str) -> set[str]:
    """The names of the variables that `freeze` keeps from training.

    Args:
        names: the variables' names as the SavedModel has them, such as
            "transformer/layer_3/self_attention/query/kernel".
        freeze: "none", "embeddings", "N", "all-but-N", "all-but-pooler" or "all".

    Raises:
        InputError: `freeze` is not one of these, or counts more layers than the encoder has.

    Example:
        frozen_names(["word_embeddings/embeddings", "pooler_transform/kernel"], "embeddings")
    """
    if freeze == "none":
        return set()
    if freeze == "all":
        return set(names)
    poolers = {name for name in names if "pooler" in name}
    if freeze == "all-but-pooler":
        return set(names) - poolers
    depths = {name: depth_of(name) for name in names}
    embeddings = {name for name in names if depths[name] is None and "embedding" in name}
    if freeze == "embeddings":
        return embeddings
    below = _layers_frozen(freeze, _layers(names))
    return embeddings | {name for name, depth in depths.items() if depth is not None and depth < below}


def top_layers(names: Sequence[str], count: int, option: str) -> set[str]:
    """The names of the variables of the top layers, and of the pooler on them.

    Args:
        names: the variables' names as the SavedModel has them.
        count: how many layers.
        option: what asks for it, for an error.

    Raises:
        InputError: the encoder has fewer layers, or they are not told apart.
    """
    layers = _layers(names)
    if not layers or count > len(layers):
        has = f"the encoder has {len(layers)} layers" if layers else SHARED
        raise InputError(f"{option} {count}: {has}")
    kept = set(layers[len(layers) - count :])
    return {name for name in names if "pooler" in name or depth_of(name) in kept}


def _layers(names: Sequence[str]) -> list[int]:
    return sorted({depth_of(name) for name in names} - {None})


def _layers_frozen(freeze: str, layers: list[int]) -> int:
    wanted = re.fullmatch(r"(all-but-)?(\d+)", freeze)
    if not wanted:
        raise InputError(f"--freeze {freeze}: not one of none, embeddings, N, all-but-N, all-but-pooler, all")
    if not layers:
        raise InputError(f"--freeze {freeze}: {SHARED}; use none, embeddings, all-but-pooler or all")
    count = int(wanted.group(2))
    if count > len(layers):
        raise InputError(f"--freeze {freeze}: the encoder has {len(layers)} layers")
    return len(layers) - count if wanted.group(1) else count
