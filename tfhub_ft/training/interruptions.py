"""Stop a training run: on a signal, or when the loss becomes NaN."""

import math
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING

from tfhub_ft.training.callbacks import Checkpoints, TrainingCallback
from tfhub_ft.utils.console import log
from tfhub_ft.utils.devices import sum_over_workers
from tfhub_ft.utils.errors import Preempted

if TYPE_CHECKING:
    import tensorflow as tf

EXPLODED = 1e6


class Interruptions(TrainingCallback):
    """End a training run at the end of a step; a context manager, within which signals are handled.

    SIGTERM, which schedulers send before they take a machine back, saves a checkpoint within the epoch, from which
    --resume continues at the next step, and raises `Preempted`. SIGINT (Ctrl-C) ends the epoch early: it is validated,
    and the run is finished, or without `finishes_on_interrupt` saved as for SIGTERM; a second SIGINT exits at once. A
    loss that is NaN, or above a million, ends the training, and `Checkpoints` records where. A signal to one worker
    stops all workers after the same step.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        epoch_steps: int,
        strategy: "tf.distribute.Strategy",
        *,
        finishes_on_interrupt: bool = True,
    ):
        super().__init__()
        self.finishes_on_interrupt, self.is_interrupted = finishes_on_interrupt, False
        self.checkpoints, self.epoch_steps, self.strategy = checkpoints, epoch_steps, strategy
        # The signal that this process has received, at any time, and the one that all workers act on.
        self.received: int | None = None
        self.agreed: int | None = None
        self._handlers = {}

    def __enter__(self) -> "Interruptions":
        # Python handles signals in the main thread only.
        if threading.current_thread() is threading.main_thread():
            signals = (signal.SIGTERM, signal.SIGINT)
            self._handlers = {number: signal.signal(number, self._receive) for number in signals}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.is_interrupted:
            raise KeyboardInterrupt
        if number == signal.SIGINT:
            self.is_interrupted = True
            action = "finishing the run" if self.finishes_on_interrupt else "saving the run, for --resume"
            log(f"\nStopping after this step and {action}; press Ctrl-C again to exit at once")
        self.received = number if self.finishes_on_interrupt else signal.SIGTERM

    def _agree(self) -> None:
        """Exchange the received signals with the other workers."""
        signals = (signal.SIGTERM, signal.SIGINT)
        counts = sum_over_workers(self.strategy, [self.received == number for number in signals])
        self.agreed = next((number for number, count in zip(signals, counts) if count), None)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._agree()
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
        # A signal during the last step is handled here, after the epoch is saved.
        self._agree()
        if self.agreed == signal.SIGTERM:
            self._leave()
        self.model.stop_training = self.model.stop_training or self.agreed == signal.SIGINT

    def _leave(self) -> None:
        raise Preempted(f"{self.checkpoints.folder.parent}: stopped by a signal and saved; continue with --resume")
