"""Stop a training run: by a signal, or when the loss becomes NaN."""

import math
import signal
import threading
from typing import Any

import keras

from tfhub_ft.training.callbacks import Checkpoints
from tfhub_ft.utils.console import log
from tfhub_ft.utils.devices import sum_over_workers
from tfhub_ft.utils.errors import Preempted

EXPLODED = 1e6


class Interruptions(keras.callbacks.Callback):
    """Ends a training at the end of a step, with nothing lost; as a context manager it listens to signals.

    SIGTERM, by which schedulers take a machine back, saves a checkpoint within the epoch, from which a training that is
    resumed goes on at the next step, and raises `Preempted`. SIGINT, which is Ctrl-C, ends the epoch here: what was
    learnt is validated, scored and kept as a finished run; the second one leaves at once. A loss that is no number, or
    above a million, ends the training; `Checkpoints` notes where it was.

    Args:
        checkpoints: save what was learnt.
        epoch_steps: steps of an epoch.
        strategy: of the training. What one of its workers hears, all of them obey at the end of the same step.
    """

    def __init__(self, checkpoints: Checkpoints, epoch_steps: int, strategy: Any):
        super().__init__()
        self.checkpoints, self.epoch_steps, self.strategy = checkpoints, epoch_steps, strategy
        # What this process has heard, which a signal may change at any time; and what all workers go by.
        self.received: int | None = None
        self.agreed: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruptions":
        # Python lets the main thread alone listen.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if number == signal.SIGINT:
            log("\nStopping after this step, and keeping what was learnt; Ctrl-C once more leaves at once")
        self.received = number

    def _listen(self) -> None:
        """Ask the other workers what they have heard."""
        signals = (signal.SIGTERM, signal.SIGINT)
        heard = sum_over_workers(self.strategy, [self.received == number for number in signals])
        self.agreed = next((number for number, times in zip(signals, heard) if times), None)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Remember the epoch."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Look whether to stop."""
        self._listen()
        step = batch + 1 + self.checkpoints.skipped(self.epoch)
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss) or loss > EXPLODED:
            self.checkpoints.note_divergence(self.epoch, step, float(self.model.optimizer.learning_rate))
            self.model.stop_training = True
        elif self.agreed == signal.SIGTERM and step < self.epoch_steps:
            self.checkpoints.save_within(self.epoch, step)
            self._leave()
        elif self.agreed == signal.SIGINT:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Stop where the signal came after the last step, now that the epoch is saved."""
        self._listen()
        if self.agreed == signal.SIGTERM:
            self._leave()
        self.model.stop_training = self.model.stop_training or self.agreed == signal.SIGINT

    def _leave(self) -> None:
        raise Preempted(f"{self.checkpoints.folder.parent} was stopped by a signal and saved; continue with --resume")
