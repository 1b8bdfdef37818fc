"""What differs from layer to layer of an encoder: its learning rate, and the epoch from which it trains."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras

from tfhub_ft.encoders.freezing import SHARED, depth_of, top_layers
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    from tfhub_ft.encoders import HubEncoder
    from tfhub_ft.training.optimizer import FusedAdamW


def layer_rates(encoder: "HubEncoder", decay: float) -> dict[str, float]:
    """The share of the learning rate that each weight of an encoder has.

    What stands on the encoder, and its pooler, has all of it; the top layer `decay` times as much, the layer below
    `decay` times that, and so on down to the embeddings.

    Args:
        encoder: the layer.
        decay: above 0, at most 1.

    Returns:
        Shares by `keras.Variable.path`, empty where all are 1.

    Raises:
        InputError: the encoder's layers are not told apart.

    Reference:
        Howard & Ruder 2018 (discriminative fine-tuning), https://arxiv.org/abs/1801.06146; Clark et al. 2020
        (ELECTRA), https://arxiv.org/abs/2003.10555
    """
    if decay == 1:
        return {}
    depths = {v.path: _depth(v.name) for v in encoder.trainable_weights if "pooler" not in v.name}
    if not any(depth >= 0 for depth in depths.values()):
        raise InputError(f"--layer-decay {decay}: {SHARED}")
    top = max(depths.values())
    return {path: decay ** (top - depth + 1) for path, depth in depths.items()}


def _depth(name: str) -> int:
    depth = depth_of(name)
    return -1 if depth is None else depth


def unfreezing_stages(unfreeze: str, names: Sequence[str]) -> list[str]:
    """What `HubEncoder.freeze` is in each epoch.

    Args:
        unfreeze: how many top layers train in each epoch, such as "0,2,4,all".
        names: the encoder's weights' names in the SavedModel.

    Raises:
        InputError: it is no rising list of numbers, or counts past the encoder's last layer.

    Example:
        unfreezing_stages("0,2,all", names)  # ["all-but-pooler", "all-but-2", "none"]

    Reference:
        Howard & Ruder 2018 (gradual unfreezing), https://arxiv.org/abs/1801.06146
    """
    stages: list[str] = []
    before = 0
    for word in unfreeze.split(","):
        if word.strip() == "all":
            stages.append("none")
            continue
        if not word.strip().isdecimal():
            raise InputError(f"--unfreeze {unfreeze}: must be numbers of top layers, or all, with commas between")
        count = int(word)
        top_layers(names, count, "--unfreeze")
        if count < before or "none" in stages:
            raise InputError(f"--unfreeze {unfreeze}: the numbers must not fall: what has begun to train goes on")
        before = count
        stages.append(f"all-but-{count}" if count else "all-but-pooler")
    return stages


class Unfreezing(keras.callbacks.Callback):
    """Lets an encoder's layers begin to train epoch by epoch, from the top.

    Args:
        encoder: the layer.
        stages: what its `freeze` is in each epoch; the last one goes on.
        optimizer: counts the steps of the weights that begin later.
        steps: of an epoch.
    """

    def __init__(self, encoder: "HubEncoder", stages: Sequence[str], optimizer: "FusedAdamW", steps: int):
        super().__init__()
        self.encoder, self.stages, self.optimizer, self.steps = encoder, stages, optimizer, steps
        self.begun = 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Let the layers of this epoch train; in a training that is resumed, those of the epochs before, too."""
        if self.begun and self._stage(epoch) == self.encoder.freeze:
            return
        training: set[str] = set()
        for past in range(epoch + 1):
            self.encoder.freeze = self._stage(past)
            new = [v for v in self.encoder.trainable_weights if v.path not in training]
            training |= {v.path for v in new}
            self.optimizer.begin(new, past * self.steps)
        if self.begun:
            self.model.make_train_function(force=True)
        self.begun += 1

    def _stage(self, epoch: int) -> str:
        return self.stages[min(epoch, len(self.stages) - 1)]
