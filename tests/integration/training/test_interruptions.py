import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import tfhub_ft
from tests.conftest import TINY_SETTINGS
from tfhub_ft.run import Run
from tfhub_ft.settings import option_name
from tfhub_ft.training.callbacks import EpochOrder
from tfhub_ft.utils.errors import InputError, Preempted, RunError

# Of four epochs with 14 steps each.
EPOCH, STEP = 1, 5


# With dropout in the head and the encoder.
SETTINGS = {**TINY_SETTINGS, "dropout": 0.1, "encoder_dropout": 0.1}


def train(tiny_pair, folder, **settings):
    return tfhub_ft.train("sentiment", output_dir=folder, encoder=tiny_pair, **{**SETTINGS, **settings})


@pytest.fixture(scope="module")
def whole_run(tiny_pair, reviews_csv, tmp_path_factory):
    """A run that was never stopped."""
    return train(tiny_pair, tmp_path_factory.mktemp("runs") / "whole", data=reviews_csv)


def assert_same(one, other):
    assert one.metrics == other.metrics
    assert epochs_of(one) == epochs_of(other)
    assert one.predictions == other.predictions
    for mine, theirs in zip(one.load_model().get_weights(), other.load_model().get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def epochs_of(run):
    return [{**epoch, "seconds": 0} for epoch in run.training_state["epochs"]]


@pytest.fixture
def signaled(monkeypatch):
    """Send this process a signal after a step of an epoch."""
    return sender(monkeypatch)


def sender(monkeypatch):
    def send(number, *, at=STEP):
        class Sender(EpochOrder):
            sent = False

            def on_train_batch_end(self, batch, logs=None):
                if self.batches.epoch == EPOCH and batch == at and not self.sent:
                    self.sent = True
                    os.kill(os.getpid(), number)

        monkeypatch.setattr("tfhub_ft.training.callbacks.EpochOrder", Sender)

    return send


@pytest.fixture(scope="module")
def stopped_run(tiny_pair, reviews_csv, tmp_path_factory):
    """The folder of a run that SIGTERM stopped."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Preempted):
        sender(patch)(signal.SIGTERM)
        train(tiny_pair, folder, data=reviews_csv)
    return folder


@pytest.fixture
def stopped(stopped_run, tmp_path):
    """A copy of it, which a test may change."""
    return shutil.copytree(stopped_run, tmp_path / "run")


def test_resume_finds_a_moved_run_and_its_rows(whole_run, tiny_pair, reviews_csv, tmp_path, signaled, monkeypatch):
    (tmp_path / "project").mkdir()
    shutil.copy(reviews_csv, tmp_path / "project" / "rows.csv")
    signaled(signal.SIGTERM)
    monkeypatch.chdir(tmp_path / "project")
    with pytest.raises(Preempted):
        train(tiny_pair, "run", data="rows.csv")
    monkeypatch.undo()
    moved = shutil.move(tmp_path / "project", tmp_path / "moved")
    rows = (moved / "rows.csv").read_bytes()
    (moved / "rows.csv").write_bytes(rows.replace(b"good", b"evil"))
    with pytest.raises(
        InputError, match=r"rows\.csv is missing and .*rows\.csv has changed; restore them, or train aga"
    ):
        tfhub_ft.train("sentiment", output_dir=moved / "run", resume=True)
    (moved / "rows.csv").write_bytes(rows)
    assert_same(tfhub_ft.train("sentiment", output_dir=moved / "run", resume=True), whole_run)


@pytest.mark.sample
@pytest.mark.parametrize("at", [STEP, pytest.param(13, marks=pytest.mark.slow)])
def test_sigterm_saves_and_resume_continues_at_the_next_step(
    whole_run, tiny_pair, reviews_csv, tmp_path, signaled, monkeypatch, at
):
    before = signal.getsignal(signal.SIGTERM)
    signaled(signal.SIGTERM, at=at)
    with pytest.raises(Preempted, match="--resume"):
        train(tiny_pair, tmp_path / "run", data=reviews_csv)
    assert signal.getsignal(signal.SIGTERM) == before
    monkeypatch.undo()
    state = Run(tmp_path / "run").training_state
    assert (len(state["epochs"]), state.get("step")) == ((1, STEP + 1) if at == STEP else (2, None))
    resumed = tfhub_ft.train("sentiment", output_dir=tmp_path / "run", resume=True)
    assert_same(resumed, whole_run)
    assert [path.name for path in (resumed.path / "checkpoints").glob("last-*")] == []


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, r"last-2-6\.weights\.h5: cannot be loaded \(.*; train again in another folder"),
        ({"last": "../../last.weights.h5"}, r"state\.json cannot be read \(.* is not the name of a checkpoint"),
        ({"last": 5}, r"state\.json: cannot be read \('last' of the content: expected"),
        ({"stopped": "no"}, "state.json"),
        ([], "state.json"),
    ],
)
def test_resume_refuses_damaged_checkpoints(stopped, state, message):
    checkpoints = stopped / "checkpoints"
    if state is None:
        with (checkpoints / "last-2-6.weights.h5").open("r+b") as file:
            file.truncate(5000)
    else:
        whole = json.loads((checkpoints / "state.json").read_text())
        (checkpoints / "state.json").write_text(json.dumps({**whole, **state} if state else state))
    before = {path.name for path in checkpoints.iterdir()}
    with pytest.raises(InputError, match=message):
        tfhub_ft.train("sentiment", output_dir=stopped, resume=True)
    assert {path.name for path in checkpoints.iterdir()} == before


def test_ctrl_c_finishes_the_run(tiny_pair, reviews_csv, tmp_path, signaled, capsys):
    signaled(signal.SIGINT)
    run = train(tiny_pair, tmp_path / "run", data=reviews_csv)
    assert "finishing the run" in capsys.readouterr().err
    assert run.finished
    assert len(run.training_state["epochs"]) == EPOCH + 1
    assert tfhub_ft.evaluate(run, data=reviews_csv)["rows"] == 160


def test_second_ctrl_c_exits_at_once(tiny_pair, reviews_csv, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGINT)

    class Sender(EpochOrder):
        def on_train_batch_begin(self, batch, logs=None):
            if self.batches.epoch == EPOCH:
                os.kill(os.getpid(), signal.SIGINT)
                # Two signals at once are one.
                time.sleep(0.1)
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("tfhub_ft.training.callbacks.EpochOrder", Sender)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_pair, tmp_path / "run", data=reviews_csv)
    assert signal.getsignal(signal.SIGINT) == before
    assert not Run(tmp_path / "run").finished
    assert len(Run(tmp_path / "run").training_state["epochs"]) == EPOCH


def test_recover_continues_a_nan_loss_at_half_the_rate(tiny_pair, reviews_csv, tmp_path):
    settings = {"data": reviews_csv, "learning_rate": 1e30, "clip_norm": 0, "warmup": 0.0}
    with pytest.raises(RunError, match=r"epoch 1, step \d+, at a learning rate of .*--recover"):
        train(tiny_pair, tmp_path / "run", **settings)
    with pytest.raises(InputError, match="--recover"):
        tfhub_ft.train("sentiment", output_dir=tmp_path / "run", resume=True)
    with pytest.raises(RunError, match="epoch 1"):
        tfhub_ft.train("sentiment", output_dir=tmp_path / "run", recover=True)
    assert Run(tmp_path / "run").settings.learning_rate == 5e29


def test_recover_continues_from_the_last_good_epoch(tiny_pair, reviews_csv, tmp_path, monkeypatch):
    class Poisoned(EpochOrder):
        def on_train_batch_begin(self, batch, logs=None):
            if self.batches.epoch == EPOCH and batch == STEP:
                weight = self.model.trainable_weights[0]
                weight.assign(weight.numpy() * np.nan)

    monkeypatch.setattr("tfhub_ft.training.callbacks.EpochOrder", Poisoned)
    with pytest.raises(RunError, match=f"epoch {EPOCH + 1}, step {STEP + 1},"):
        train(tiny_pair, tmp_path / "run", data=reviews_csv)
    monkeypatch.undo()
    run = tfhub_ft.train("sentiment", output_dir=tmp_path / "run", recover=True)
    assert run.settings.learning_rate == SETTINGS["learning_rate"] / 2
    assert run.metrics["test"]["accuracy"] > 0.8
    with pytest.raises(InputError, match="already finished"):
        tfhub_ft.train("sentiment", output_dir=tmp_path / "run", recover=True)


def test_resume_refuses_a_folder_in_use(stopped):
    with Run(stopped).locked(), pytest.raises(InputError, match="in use"):
        tfhub_ft.train("sentiment", output_dir=stopped, resume=True)


@pytest.mark.parametrize("events", ["kill", pytest.param("kill and stop", marks=pytest.mark.slow)])
def test_killed_process_resumes_to_the_same_result(whole_run, tiny_pair, reviews_csv, tmp_path, events):
    def begin(*arguments):
        command = [sys.executable, "-c", "from tfhub_ft.cli.main import main; main()", "train", "sentiment"]
        return subprocess.Popen([*command, "--output-dir", "run", *map(str, arguments)], cwd=tmp_path)

    def wait_for(condition):
        end = time.time() + 120
        while not condition():
            assert process.poll() is None and time.time() < end
            time.sleep(0.01)

    settings = {**SETTINGS, "encoder": tiny_pair, "data": reviews_csv}
    process = begin(*(part for name, value in settings.items() for part in (option_name(name), value)))
    wait_for(lambda: (tmp_path / "run" / "checkpoints" / "state.json").is_file())
    process.kill()
    assert process.wait() == -signal.SIGKILL

    resumed = Run(tmp_path / "run")
    done = len(resumed.training_state["epochs"])
    process = begin("--resume")
    if events == "kill and stop":
        wait_for(lambda: len(resumed.training_state["epochs"]) > done or resumed.finished)
        process.send_signal(signal.SIGTERM)
    if process.wait() == 143:
        process = begin("--resume")
    assert process.wait() == 0
    assert_same(resumed, whole_run)


def test_resume_removes_files_of_a_killed_process(stopped):
    for folder in (stopped, stopped / "checkpoints"):
        (folder / ".tfhub_ft-dead").mkdir()
        (folder / ".tfhub_ft-dead" / ".lock").touch()
        (folder / ".tfhub_ft-dead" / "last-2.weights.h5").write_bytes(b"half")
    (stopped / "checkpoints" / "last-7.weights.h5").write_bytes(b"of a kill before it was removed")
    (stopped / "checkpoints" / ".1234abcd.last-2.weights.h5").write_bytes(b"of an earlier version")
    run = tfhub_ft.train("sentiment", output_dir=stopped, resume=True)
    assert not [path for path in run.path.rglob("*") if path.name.startswith((".", "last-"))]
    (stopped / "checkpoints" / "best.weights.h5").write_bytes(b"of a kill after metrics.json")
    with pytest.raises(InputError, match="already finished"):
        tfhub_ft.train("sentiment", output_dir=stopped, resume=True)
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["state.json"]


@pytest.mark.parametrize("names", [["labels.json"], ["labels.json", "splits.json"]])
def test_train_takes_a_folder_that_was_never_a_run(whole_run, tiny_pair, reviews_csv, tmp_path, names):
    (tmp_path / "run").mkdir()
    for name in names:
        shutil.copy(whole_run.path / name, tmp_path / "run" / name)
    with pytest.raises(InputError, match="killed before its first epoch; train without --resume"):
        tfhub_ft.train("sentiment", output_dir=tmp_path / "run", resume=True)
    assert train(tiny_pair, tmp_path / "run", data=reviews_csv, epochs=1).finished


def test_train_refuses_a_folder_with_other_labels(tiny_pair, reviews_csv, tmp_path):
    (tmp_path / "labels.json").write_text('{"mine": 1}', encoding="utf-8")
    with pytest.raises(InputError, match="not empty"):
        train(tiny_pair, tmp_path, data=reviews_csv)
