"""Learning rates by layer, and gradual unfreezing of an encoder."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfhub_ft.encoders.freezing import SHARED, depth_of, top_layers
from tfhub_ft.training.callbacks import TrainingCallback
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    from tfhub_ft.encoders import HubEncoder
    from tfhub_ft.training.optimizer import FusedAdamW


def layer_rates(encoder: "HubEncoder", decay: float) -> dict[str, float]:
    """Return the share of the learning rate of each encoder weight, by path; empty where all are 1.

    The pooler has a share of 1, the top layer `decay`, the layer below it `decay` squared, and so on down to the
    embeddings.

    Reference:
        Howard & Ruder 2018 (discriminative fine-tuning), https://arxiv.org/abs/1801.06146; Clark et al. 2020
        (ELECTRA), https://arxiv.org/abs/2003.10555
    """
    if decay == 1:
        return {}
    known = {v.path: depth_of(v.name) for v in encoder.trainable_weights if "pooler" not in v.name}
    depths = {path: -1 if depth is None else depth for path, depth in known.items()}
    if not any(depth >= 0 for depth in depths.values()):
        raise InputError(f"--layer-decay {decay}: {SHARED}")
    top = max(depths.values())
    return {path: decay ** (top - depth + 1) for path, depth in depths.items()}


def unfreezing_stages(unfreeze: str, names: Sequence[str]) -> list[str]:
    """Return `HubEncoder.freeze` of each epoch: ["all-but-pooler", "all-but-2", "none"] for "0,2,all".

    Reference:
        Howard & Ruder 2018 (gradual unfreezing), https://arxiv.org/abs/1801.06146
    """
    stages: list[str] = []
    last_count = 0
    for item in unfreeze.split(","):
        if item.strip() == "all":
            stages.append("none")
            continue
        if not item.strip().isdecimal():
            raise InputError(f"--unfreeze {unfreeze}: must be numbers of top layers, or all, separated by commas")
        count = int(item)
        top_layers(names, count, "--unfreeze")
        if count < last_count or "none" in stages:
            raise InputError(f"--unfreeze {unfreeze}: numbers must not decrease, as layers cannot be frozen again")
        last_count = count
        stages.append(f"all-but-{count}" if count else "all-but-pooler")
    return stages


class Unfreezing(TrainingCallback):
    """Unfreeze the layers of an encoder, from the top; `optimizer` counts steps of later layers from their first."""

    def __init__(self, encoder: "HubEncoder", stages: Sequence[str], optimizer: "FusedAdamW", steps: int):
        super().__init__()
        self.encoder, self.stages, self.optimizer, self.steps = encoder, stages, optimizer, steps
        self.has_begun = False

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if self.has_begun and self._stage(epoch) == self.encoder.freeze:
            return
        # A resumed run unfreezes the layers of the epochs before.
        trained_paths: set[str] = set()
        for past_epoch in range(epoch + 1):
            self.encoder.freeze = self._stage(past_epoch)
            new = [v for v in self.encoder.trainable_weights if v.path not in trained_paths]
            trained_paths |= {v.path for v in new}
            self.optimizer.begin(new, past_epoch * self.steps)
        if self.has_begun:
            self.model.make_train_function(force=True)
        self.has_begun = True

    def _stage(self, epoch: int) -> str:
        return self.stages[min(epoch, len(self.stages) - 1)]
