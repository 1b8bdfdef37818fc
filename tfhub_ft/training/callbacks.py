"""Keras callbacks of a training run: order of rows, validation scores, progress, checkpoints."""

import contextlib
import csv
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from tfhub_ft.data.batches import TokenRows, TrainingBatches
from tfhub_ft.evaluation.validation import Validated
from tfhub_ft.metrics.scores import goodness
from tfhub_ft.run import STATE, STATE_SHAPE
from tfhub_ft.utils.console import log, progress
from tfhub_ft.utils.documents import read_json
from tfhub_ft.utils.errors import InputError, first_line
from tfhub_ft.utils.files import atomic_write, check_disk_space, write_json
from tfhub_ft.utils.precision import matrix_products_in

BEST = "best.weights.h5"
# Bytes of a checkpoint besides its numbers, and of what else is written meanwhile.
ROOM = 2**20


class EpochOrder(keras.callbacks.Callback):
    """Tells the training batches which epoch it is, so that a resumed training sees the same order."""

    def __init__(self, batches: TrainingBatches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.batches.epoch = epoch


class ValidationScores(keras.callbacks.Callback):
    """Score the validation rows after each epoch, by the function that scores the finished model.

    The scores go into the logs of the epoch, as `val_NAME`, where they are defined.

    Args:
        score: from tokenized rows to logits, a task's `scorer`; its matrix products are computed in float32.
        tokens: the validation rows.
        validated: from logits to the scores of an epoch.
        network: what `score` computes with.
    """

    def __init__(
        self,
        score: Callable[[TokenRows], Any],
        tokens: TokenRows,
        validated: Callable[[Any], Validated],
        network: keras.Model,
    ):
        super().__init__()
        self.score, self.tokens, self.validated, self.network = score, tokens, validated, network
        self.last: Validated | None = None

    @property
    def scores(self) -> dict[str, float | None]:
        """The scores of the last epoch: plain numbers, but not counts of rows; None where one is undefined."""
        scores = self.last.scores if self.last else {}
        return {name: value for name, value in scores.items() if value is None or isinstance(value, float)}

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.last = None
        if not math.isfinite(logs["loss"]):
            return
        with matrix_products_in("float32", self.network):
            self.last = self.validated(self.score(self.tokens))
        logs |= {f"val_{name}": value for name, value in self.scores.items() if value is not None}


class Progress(keras.callbacks.Callback):
    """Show the progress of an epoch, its loss and the time left, and a line when it has ended; a context manager.

    Args:
        epochs: number of epochs.
        steps: steps of an epoch.
        validation: has scored the validation rows before this callback is called.
        names: of the validation scores that the line has.
    """

    def __init__(self, epochs: int, steps: int, validation: ValidationScores, names: Sequence[str]):
        super().__init__()
        self.epochs, self.steps, self.validation, self.names = epochs, steps, validation, names
        self._bar = contextlib.ExitStack()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.name, self.taken, self.began = f"Epoch {epoch + 1}/{self.epochs}", 0, time.perf_counter()
        self.advance = self._bar.enter_context(progress(self.name, self.steps, "steps"))

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.advance(batch + 1 - self.taken, f"{self.name}, loss {logs['loss']:.4f}")
        self.taken = batch + 1

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._bar.close()
        training = [f"{name} {value:.4f}" for name, value in logs.items() if not name.startswith("val_")]
        scores = {name: self.validation.scores[name] for name in self.names if name in self.validation.scores}
        shown = [f"validation {name} {'-' if value is None else f'{value:.4f}'}" for name, value in scores.items()]
        seconds = f"{time.perf_counter() - self.began:.0f} s"
        log(f"{self.name}: {', '.join([*training, *shown, seconds])}".replace("_", " "))


class Checkpoints(keras.callbacks.Callback):
    """Keeps the weights of the last epoch, to resume from, and of the best one; stops when there is no better one.

    An epoch whose loss is NaN is not kept: it ends the training, and `diverged` tells where that was.
    An epoch is better when its validation score is better, or equal at a lower validation log loss. A score that is
    undefined, such as the ROC AUC of rows of one label, leaves the choice to the log loss.

    Args:
        folder: where `last-N.weights.h5`, with the optimizer's state, `best.weights.h5` and `state.json` stand.
            `state.json` is written last and names the others: a torn checkpoint is never read.
        network: the model without an optimizer, whose weights are kept of the best epoch.
        validation: has scored the validation rows before this callback is called; what it found for the best epoch is
            `best_validation`, unless a process before this one has trained that epoch.
        metric: the name of the score.
        patience: epochs without a better one after which training stops.
    """

    def __init__(self, folder: Path, network: keras.Model, validation: ValidationScores, *, metric: str, patience: int):
        super().__init__()
        self.validation, self.best_validation = validation, None
        self.folder, self.network, self.metric, self.patience = Path(folder), network, metric, patience
        self.state: dict[str, Any] = {"epochs": [], "best_epoch": None, "last": None, "stopped": False}
        self._resumed: tuple[int, int] | None = None

    def restore(self, model: keras.Model) -> int:
        """Load the last checkpoint, if there is one.

        Returns:
            How many epochs it had seen.
        """
        path = self.folder / STATE
        if path.is_file():
            self.state = read_json(path, STATE_SHAPE)
            if last := self.state["last"]:
                # A path would be loaded from, and removed, elsewhere.
                if last != Path(last).name:
                    raise InputError(f"{path} cannot be read ({last!r} is not the name of a checkpoint)")
                _load(model, self.folder / last)
                # Checkpoints of version 0.1 have no random states.
                for variable, value in zip(_random_states(model), self.state.get("random_states", [])):
                    variable.assign(value)
        self.state.pop("diverged", None)
        done = len(self.state["epochs"])
        self._resumed = (done, self.state.get("step", 0))
        return done

    def load_best(self) -> None:
        """Load the weights of the best epoch."""
        _load(self.network, self.folder / BEST)

    @property
    def stopped(self) -> bool:
        """Whether patience ran out."""
        return self.state["stopped"]

    @property
    def diverged(self) -> dict[str, Any] | None:
        """Where the loss became NaN: {"epoch", "step", "learning_rate"}."""
        return self.state.get("diverged")

    def skipped(self, epoch: int) -> int:
        """The steps of an epoch that had been taken before the training was resumed."""
        resumed, step = self._resumed or (0, 0)
        return step if epoch == resumed else 0

    def note_divergence(self, epoch: int, step: int, learning_rate: float) -> None:
        """Record where the loss became NaN; the checkpoints stay as they are."""
        self.state["diverged"] = {"epoch": epoch + 1, "step": step, "learning_rate": learning_rate}
        write_json(self.folder / STATE, self.state)

    def save_within(self, epoch: int, step: int) -> None:
        """Save what was learnt up to a step of an epoch, and its sums of losses and scores."""
        sums = _values(self._metric_variables())
        self._keep_last(f"last-{epoch + 1}-{step}.weights.h5", {**self.state, "step": step, "sums": sums})

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.began = time.perf_counter()
        self._sums = self.state["sums"] if self.skipped(epoch) else []

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # Metrics have no variables before the first step.
        for variable, sums in zip(self._metric_variables(), self._sums):
            variable.assign(variable + sums)
        self._sums = []

    def _metric_variables(self) -> list[keras.Variable]:
        return [variable for metric in self.model.metrics for variable in metric.variables]

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self.diverged:
            return
        undefined = {f"val_{name}": None for name in self.validation.scores}
        row = {"epoch": epoch + 1, **undefined, **{name: float(value) for name, value in logs.items()}}
        row["seconds"] = round(time.perf_counter() - self.began, 3)
        epochs = [*self.state["epochs"], row]
        best = max(epochs, key=self._goodness)
        if best is row:
            self.best_validation = self.validation.last
            self._save(self.network, BEST)
        stopped = epoch + 1 - best["epoch"] >= self.patience
        self._keep_last(
            f"last-{epoch + 1}.weights.h5", {"epochs": epochs, "best_epoch": best["epoch"], "stopped": stopped}
        )
        self.model.stop_training = self.model.stop_training or stopped

    def _goodness(self, epoch: dict[str, float]) -> tuple[float, float]:
        return tuple(goodness(name, epoch.get(f"val_{name}")) for name in (self.metric, "log_loss"))

    def _keep_last(self, name: str, state: dict[str, Any]) -> None:
        before = self.state["last"]
        self._save(self.model, name)
        self.state = {**state, "last": name, "random_states": _values(_random_states(self.model))}
        write_json(self.folder / STATE, self.state)
        if before and before != name:
            (self.folder / before).unlink(missing_ok=True)

    def _save(self, model: keras.Model, name: str) -> None:
        variables = [*model.variables, *getattr(getattr(model, "optimizer", None), "variables", [])]
        with atomic_write(self.folder / name) as aside:
            check_disk_space(aside, ROOM + 4 * sum(math.prod(variable.shape) for variable in variables))
            model.save_weights(aside)


def _load(model: keras.Model, checkpoint: Path) -> None:
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: not found; restore the file, or train again in another folder")
    try:
        model.load_weights(checkpoint)
    except (OSError, ValueError, KeyError) as error:
        message = f"{checkpoint}: cannot be loaded ({first_line(error)}); train again in another folder"
        raise InputError(message) from None


def _random_states(model: keras.Model) -> list[keras.Variable]:
    """The state of each random generator of a model's layers, such as Dropout's, which `save_weights` leaves out."""
    saved = {id(variable) for variable in [*model.weights, *model.metrics_variables]}
    return [variable for variable in model.variables if id(variable) not in saved]


def _values(variables: Sequence[keras.Variable]) -> list[Any]:
    import tensorflow as tf

    return [tf.convert_to_tensor(variable.value).numpy().tolist() for variable in variables]


def remove_weights(folder: Path) -> None:
    """Remove the weights in the checkpoints of a finished training run, which model.keras holds; state.json stays."""
    # Earlier versions left hidden ones where they were killed.
    for weights in (folder / BEST, *folder.glob("last-*.weights.h5"), *folder.glob(".*.weights.h5")):
        weights.unlink(missing_ok=True)


def write_history(path: Path, epochs: list[dict[str, float]]) -> None:
    """Write one csv row an epoch: its number, scores, loss and seconds; a score that is undefined is an empty cell."""
    with atomic_write(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        names = dict.fromkeys(name for epoch in epochs for name in epoch)
        writer = csv.DictWriter(file, fieldnames=list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(epochs)
