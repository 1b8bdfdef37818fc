import math
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest
import tensorflow as tf

from tfhub_ft.training.interruptions import Interruptions
from tfhub_ft.utils.errors import Preempted


class RecordedCheckpoints:
    """Checkpoints that record what they are asked to save."""

    folder = Path("run/checkpoints")

    def __init__(self):
        self.calls = []

    def skipped(self, epoch):
        return 0

    def note_divergence(self, *arguments):
        self.calls.append(arguments)

    save_within = note_divergence


@pytest.fixture
def interruptions():
    interruptions = Interruptions(RecordedCheckpoints(), 4, tf.distribute.get_strategy())
    optimizer = keras.optimizers.SGD(0.5)
    interruptions.set_model(SimpleNamespace(optimizer=optimizer, stop_training=False))
    interruptions.on_epoch_begin(1)
    return interruptions


@pytest.mark.parametrize("loss", [math.nan, math.inf, 2e6])
def test_interruptions_stop_at_a_loss_that_diverges(interruptions, loss):
    interruptions.on_train_batch_end(2, {"loss": loss})
    assert interruptions.checkpoints.calls == [(1, 3, 0.5)]
    assert interruptions.model.stop_training


def test_interruptions_save_at_sigterm(interruptions):
    with interruptions, pytest.raises(Preempted, match="^run: stopped by a signal and saved; continue with --resume$"):
        os.kill(os.getpid(), signal.SIGTERM)
        interruptions.on_train_batch_end(1, {"loss": 0.5})
    assert interruptions.checkpoints.calls == [(1, 2)]


def test_interruptions_end_the_epoch_at_sigint(interruptions):
    with interruptions:
        os.kill(os.getpid(), signal.SIGINT)
        interruptions.on_train_batch_end(1, {"loss": 0.5})
    assert interruptions.model.stop_training
    assert interruptions.checkpoints.calls == []
