"""Keras callbacks of a training run: row order, validation scores, progress and checkpoints."""

import contextlib
import csv
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from tfhub_ft.data.batches import TokenRows, TrainingBatches
from tfhub_ft.evaluation.validation import Validated
from tfhub_ft.metrics import goodness
from tfhub_ft.run import START, STATE, STATE_SHAPE
from tfhub_ft.utils.console import log, progress
from tfhub_ft.utils.documents import read_json
from tfhub_ft.utils.errors import InputError, first_line
from tfhub_ft.utils.files import atomic_write, check_disk_space, write_json
from tfhub_ft.utils.precision import matrix_products_in

BEST = "best.weights.h5"
# Bytes of a checkpoint besides its numbers, and of other files that are written meanwhile.
ROOM = 2**20


class TrainingCallback(keras.callbacks.Callback):
    """A Keras callback whose model is set."""

    model: keras.Model  # pyright: ignore[reportIncompatibleMethodOverride]


class EpochOrder(TrainingCallback):
    """Set the epoch of the training batches, so that a resumed run reads the rows in the same order."""

    def __init__(self, batches: TrainingBatches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.batches.epoch = epoch


class ValidationScores(TrainingCallback):
    """Score the validation rows after each epoch, and add the scores that are defined to its logs, as `val_NAME`.

    `score` takes tokens and returns logits; `validated` takes logits; `network` is the network that `score` calls.
    """

    def __init__(
        self,
        score: Callable[[TokenRows], object],
        tokens: TokenRows,
        validated: Callable[[object], Validated],
        network: keras.Model,
    ):
        super().__init__()
        self.score, self.tokens, self.validated, self.network = score, tokens, validated, network
        self.last: Validated | None = None

    @property
    def scores(self) -> dict[str, float | None]:
        """The scores of the last epoch that are floats, or None where they are undefined."""
        scores = self.last.scores if self.last else {}
        return {name: value for name, value in scores.items() if value is None or isinstance(value, float)}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        self.last = None
        if not math.isfinite(logs["loss"]):
            return
        with matrix_products_in("float32", self.network):
            self.last = self.validated(self.score(self.tokens))
        logs |= {f"val_{name}": value for name, value in self.scores.items() if value is not None}


class Progress(TrainingCallback):
    """Show the progress of each epoch, and print its scores; a context manager, which removes the progress bar."""

    def __init__(self, epochs: int, steps: int, validation: ValidationScores, names: Sequence[str]):
        super().__init__()
        self.epochs, self.steps, self.validation, self.names = epochs, steps, validation, names
        self._bar = contextlib.ExitStack()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.name, self.steps_done = f"Epoch {epoch + 1}/{self.epochs}", 0
        self.started_at = time.perf_counter()
        self.advance = self._bar.enter_context(progress(self.name, self.steps, "steps"))

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        self.advance(batch + 1 - self.steps_done, f"{self.name}, loss {logs['loss']:.4f}")
        self.steps_done = batch + 1

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        self._bar.close()
        training = [f"{name} {value:.4f}" for name, value in logs.items() if not name.startswith("val_")]
        scores = {name: self.validation.scores[name] for name in self.names if name in self.validation.scores}
        shown = [f"validation {name} {'-' if value is None else f'{value:.4f}'}" for name, value in scores.items()]
        seconds = f"{time.perf_counter() - self.started_at:.0f} s"
        log(f"{self.name}: {', '.join([*training, *shown, seconds])}".replace("_", " "))


class Checkpoints(TrainingCallback):
    """Save the last epoch, to resume from, and the weights of the best one; stop when patience, if not 0, runs out.

    An epoch whose loss is NaN is not saved; it ends the training, and `diverged` says where. An epoch is better when
    its validation score is better, or equal at a lower validation log loss. Where the score is undefined, such as the
    ROC AUC of rows with one label, the log loss decides.

    The folder has `last-N.weights.h5` (with the optimizer's state), the network's `best.weights.h5` and `state.json`,
    which is written last and names the others, so that a partial checkpoint is never read. `best_validation` is the
    result of `validation` for the best epoch, unless an earlier process trained that epoch.
    """

    def __init__(self, folder: Path, network: keras.Model, validation: ValidationScores, *, metric: str, patience: int):
        super().__init__()
        self.validation = validation
        self.best_validation: Validated | None = None
        self.folder, self.network, self.metric, self.patience = Path(folder), network, metric, patience
        self.state: dict[str, Any] = {"epochs": [], "best_epoch": None, "last": None, "stopped": False}
        self._resumed: tuple[int, int] | None = None

    def restore(self, model: keras.Model) -> int:
        """Load the last checkpoint, if there is one, and return its number of finished epochs."""
        path = self.folder / STATE
        if path.is_file():
            self.state = read_json(path, STATE_SHAPE)
            if last := self.state["last"]:
                # A path could name a file outside the folder.
                if last != Path(last).name:
                    raise InputError(f"{path} cannot be read ({last!r} is not the name of a checkpoint)")
                _load(model, self.folder / last)
                # Checkpoints of version 0.1 lack random states.
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
        """Whether patience ran out, or a callback stopped the training."""
        return self.state["stopped"]

    @property
    def diverged(self) -> dict[str, Any] | None:
        """Where the loss became NaN: {"epoch", "step", "learning_rate"}."""
        return self.state.get("diverged")

    def skipped(self, epoch: int) -> int:
        """Return how many steps of an epoch were done before the run was resumed."""
        resumed, step = self._resumed or (0, 0)
        return step if epoch == resumed else 0

    def note_stop(self) -> None:
        """Record that training ends with the last epoch, without a new checkpoint."""
        if not (self.stopped or self.diverged):
            self.state["stopped"] = True
            write_json(self.folder / STATE, self.state)

    def note_divergence(self, epoch: int, step: int, learning_rate: float) -> None:
        """Record where the loss became NaN, without a new checkpoint."""
        self.state["diverged"] = {"epoch": epoch + 1, "step": step, "learning_rate": learning_rate}
        write_json(self.folder / STATE, self.state)

    def save_within(self, epoch: int, step: int) -> None:
        """Save a checkpoint after a step of an epoch, with its sums of losses and metrics."""
        sums = _values(self._metric_variables())
        self._save_last(f"last-{epoch + 1}-{step}.weights.h5", {**self.state, "step": step, "sums": sums})

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.started_at = time.perf_counter()
        self._sums = self.state["sums"] if self.skipped(epoch) else []

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # Metrics create their variables in the first step.
        for variable, sums in zip(self._metric_variables(), self._sums):
            variable.assign(variable + sums)
        self._sums = []

    def _metric_variables(self) -> list[keras.Variable]:
        return [variable for metric in self.model.metrics for variable in metric.variables]

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.diverged:
            return
        assert logs is not None
        undefined = {f"val_{name}": None for name in self.validation.scores}
        row = {"epoch": epoch + 1, **undefined, **{name: float(value) for name, value in logs.items()}}
        row["seconds"] = round(time.perf_counter() - self.started_at, 3)
        epochs = [*self.state["epochs"], row]
        best = max(epochs, key=self._goodness)
        if best is row:
            self.best_validation = self.validation.last
            self._save(self.network, BEST)
        stopped = 0 < self.patience <= epoch + 1 - best["epoch"]
        self._save_last(
            f"last-{epoch + 1}.weights.h5", {"epochs": epochs, "best_epoch": best["epoch"], "stopped": stopped}
        )
        self.model.stop_training = self.model.stop_training or stopped

    def _goodness(self, epoch: Mapping[str, float | None]) -> list[float]:
        return [goodness(name, epoch.get(f"val_{name}")) for name in (self.metric, "log_loss")]

    def _save_last(self, name: str, state: dict[str, Any]) -> None:
        before = self.state["last"]
        self._save(self.model, name)
        self.state = {**state, "last": name, "random_states": _values(_random_states(self.model))}
        write_json(self.folder / STATE, self.state)
        if before and before != name:
            (self.folder / before).unlink(missing_ok=True)

    def _save(self, model: keras.Model, name: str) -> None:
        _save(model, self.folder / name)


def keep_start(folder: Path, network: keras.Model) -> None:
    """Save the weights that a run starts from, which a resumed run loads; the run they come from may be gone then."""
    if (folder / START).is_file():
        _load(network, folder / START)
    else:
        _save(network, folder / START)


def _save(model: keras.Model, path: Path) -> None:
    variables = [*model.variables, *getattr(getattr(model, "optimizer", None), "variables", [])]
    with atomic_write(path) as aside:
        check_disk_space(aside, ROOM + 4 * sum(math.prod(variable.shape) for variable in variables))
        model.save_weights(aside)


class StopRecorder(TrainingCallback):
    """Record that an earlier callback stopped the training, so that a killed run does not train on."""

    def __init__(self, checkpoints: Checkpoints):
        super().__init__()
        self.checkpoints = checkpoints

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self.model.stop_training:
            self.checkpoints.note_stop()


def _load(model: keras.Model, checkpoint: Path) -> None:
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: not found; restore the file, or train again in another folder")
    try:
        model.load_weights(checkpoint)
    except (OSError, ValueError, KeyError) as error:
        message = f"{checkpoint}: cannot be loaded ({first_line(error)}); train again in another folder"
        raise InputError(message) from None


def _random_states(model: keras.Model) -> list[keras.Variable]:
    """Return the states of random generators, such as those of Dropout, which `save_weights` does not save."""
    saved = {id(variable) for variable in [*model.weights, *model.metrics_variables]}
    return [variable for variable in model.variables if id(variable) not in saved]


def _values(variables: Iterable[keras.Variable]) -> list[Any]:
    import tensorflow as tf

    return [tf.convert_to_tensor(variable.value).numpy().tolist() for variable in variables]


def remove_weights(folder: Path) -> None:
    """Remove the checkpoints of a finished run, whose weights are in model.keras; state.json stays."""
    # Earlier versions left hidden files where they were killed.
    for weights in (folder / BEST, folder / START, *folder.glob("last-*.weights.h5"), *folder.glob(".*.weights.h5")):
        weights.unlink(missing_ok=True)


def write_history(path: Path, epochs: Sequence[Mapping[str, float | None]]) -> None:
    """Write one csv row per epoch: its number, losses, scores and seconds; undefined scores are empty cells."""
    with atomic_write(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        names = dict.fromkeys(name for epoch in epochs for name in epoch)
        writer = csv.DictWriter(file, fieldnames=list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(epochs)
