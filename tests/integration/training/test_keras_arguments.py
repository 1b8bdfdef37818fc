import os
import signal

import keras
import numpy as np
import pytest

import tfhub_ft
from tests.conftest import TINY_SETTINGS
from tfhub_ft.run import Run
from tfhub_ft.utils.errors import InputError, Preempted

# With dropout in the head and the encoder, and without the settings of the default optimizer.
SETTINGS = {**TINY_SETTINGS, "dropout": 0.1, "epochs": 3}
FOR_OPTIMIZER = {key: value for key, value in SETTINGS.items() if key != "learning_rate"}


def train(tiny_pair, folder, **arguments):
    return tfhub_ft.train("sentiment", output_dir=folder, encoder=tiny_pair, **arguments)


def weights(run):
    return run.load_model().get_weights()


def make_optimizer(steps):
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-3, steps), global_clipnorm=1.0)


class Recorder(keras.callbacks.Callback):
    """Record the events, and stop or send SIGTERM after some step of the second epoch."""

    def __init__(self, send_at=None, stop_after=None):
        super().__init__()
        self.send_at, self.stop_after, self.events, self.logs = send_at, stop_after, [], []

    def on_train_begin(self, logs=None):
        self.events.append(("begin", type(self.model).__name__))

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.events.append((self.epoch, batch))
        if (self.epoch, batch) == self.send_at:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append(dict(logs))
        self.model.stop_training = self.model.stop_training or epoch == self.stop_after


def test_train_runs_callbacks_as_fit_does(tiny_pair, reviews_csv, tmp_path):
    recorder = Recorder(stop_after=1)
    callbacks = [
        recorder,
        keras.callbacks.ModelCheckpoint(
            str(tmp_path / "{epoch}.weights.h5"), monitor="val_accuracy", save_weights_only=True
        ),
        keras.callbacks.CSVLogger(str(tmp_path / "log.csv")),
        keras.callbacks.TensorBoard(str(tmp_path / "board"), write_graph=False),
        keras.callbacks.EarlyStopping("val_log_loss", patience=9, mode="min"),
    ]
    metrics = [
        "sparse_top_k_categorical_accuracy",
        keras.metrics.SparseCategoricalCrossentropy("nll", from_logits=True),
    ]
    run = train(tiny_pair, tmp_path / "run", data=reviews_csv, callbacks=callbacks, metrics=metrics, **SETTINGS)
    assert recorder.events[0] == ("begin", "TrainStepModel")
    assert recorder.events[1:] == [(epoch, batch) for epoch in (0, 1) for batch in range(14)]
    history = (run.path / "history.csv").read_text().splitlines()
    assert len(history) == 3
    names = history[0].split(",")
    shown = {"loss", "accuracy", "sparse_top_k_categorical_accuracy", "nll", "val_accuracy"}
    assert shown <= {*names} & {*recorder.logs[0]}
    assert [float(value) for value in history[2].split(",")[:3]][0] == 2
    last = dict(zip(names, history[2].split(",")))
    assert float(last["val_accuracy"]) == recorder.logs[1]["val_accuracy"]
    assert run.training_state["stopped"]
    assert {path.name for path in tmp_path.glob("*.h5")} == {"1.weights.h5", "2.weights.h5"}
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    assert [*(tmp_path / "board").iterdir()]
    assert run.keras_arguments["callbacks"][0] == "Recorder"
    assert "callbacks=[Recorder, ModelCheckpoint" in (run.path / "report.html").read_text()


@pytest.mark.slow
def test_train_with_a_callback_that_only_reads_gives_the_same_scores(tiny_run, tiny_pair, reviews_csv, tmp_path):
    run = train(tiny_pair, tmp_path / "run", data=reviews_csv, callbacks=[Recorder()], **TINY_SETTINGS)
    assert run.metrics["test"]["accuracy"] == Run(tiny_run).metrics["test"]["accuracy"]
    assert run.metrics["test"]["log_loss"] == pytest.approx(Run(tiny_run).metrics["test"]["log_loss"], rel=0.05)


@pytest.mark.slow
def test_train_with_an_optimizer_resumes_exactly(tiny_pair, reviews_csv, tmp_path):
    def options(**recorder):
        metrics = [keras.metrics.SparseTopKCategoricalAccuracy(1, name="top")]
        return {"callbacks": [Recorder(**recorder)], "metrics": metrics, "optimizer": make_optimizer, **FOR_OPTIMIZER}

    whole = train(tiny_pair, tmp_path / "whole", data=reviews_csv, **options())
    with pytest.raises(Preempted):
        train(tiny_pair, tmp_path / "run", data=reviews_csv, **options(send_at=(1, 5)))
    for arguments, message in (
        ({}, r"^callbacks: the run in .* was started with Recorder; continue it in Python and pass the same"),
        ({**options(), "optimizer": None}, "^optimizer: the run in .* was started with a function"),
        ({**options(), "metrics": ["accuracy"]}, "^metrics: the run in .* with SparseTopKCategoricalAccuracy"),
        (
            {**options(), "optimizer": lambda steps: keras.optimizers.Adam(1e-3)},
            "^optimizer: the run in .* was started with other arguments of Adam",
        ),
    ):
        with pytest.raises(InputError, match=message):
            train(tiny_pair, tmp_path / "run", resume=True, **arguments)
    resumed = train(tiny_pair, tmp_path / "run", resume=True, **options())
    assert resumed.metrics == whole.metrics
    assert "top" in whole.metrics["train"]
    for mine, theirs in zip(weights(resumed), weights(whole), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_train_lets_a_callback_set_the_rate_of_an_optimizer(tiny_pair, reviews_csv, tmp_path):
    rates = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.0 if epoch else rate)
    recorder = Recorder()
    train(
        tiny_pair,
        tmp_path / "run",
        data=reviews_csv,
        optimizer=keras.optimizers.SGD(0.05),
        callbacks=[rates, recorder],
        freeze="all-but-pooler",
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="exact")],
        **{**FOR_OPTIMIZER, "dropout": 0.0},
    )
    # A frozen encoder trains up to 16 steps per call.
    assert len([event for event in recorder.events if event[0] == 0]) == 1
    first, second, third = ({k: v for k, v in logs.items() if k.startswith("val_")} for logs in recorder.logs)
    assert second == third == first
    assert recorder.logs[0]["exact"] == recorder.logs[0]["accuracy"]
