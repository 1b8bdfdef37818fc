import csv
import importlib.util
import shutil
import subprocess
import sys

import pytest

import tfhub_ft
from tests.conftest import TINY_SETTINGS
from tfhub_ft.run import Run
from tfhub_ft.training.tracking import Tracker, tracker_of
from tfhub_ft.training.tune import tune
from tfhub_ft.utils.errors import InputError


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A client of a real store of MLflow in a database of its own."""
    mlflow = pytest.importorskip("mlflow", reason="needs pip install '.[mlflow]'")
    pytest.importorskip("sqlalchemy")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store.db")
    # It keeps files in the folder that it runs in.
    monkeypatch.chdir(tmp_path)
    return mlflow.MlflowClient()


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of a finished run, to be told of."""
    return Run(shutil.copytree(tiny_run, tmp_path / "copy"))


def logged(store):
    """The only run of the only experiment that is not MLflow's own."""
    (experiment,) = (each for each in store.search_experiments() if each.name != "Default")
    assert experiment.name == "sentiment"
    (found,) = store.search_runs([experiment.experiment_id])
    return found


def test_mlflow_is_told_of_a_training(store, tiny_pair, reviews_csv, tmp_path):
    settings = {**TINY_SETTINGS, "encoder": tiny_pair, "data": reviews_csv, "epochs": 2, "track": "mlflow"}
    run = tfhub_ft.train("sentiment", output_dir=tmp_path / "runs" / "one", **settings)
    found = logged(store)
    assert (found.info.run_name, found.info.status) == ("one", "FINISHED")
    assert found.data.params == {
        "recipe": "sentiment", **{name: str(value) for name, value in run.settings.as_dict().items()},
    }  # fmt: skip
    with (run.path / "history.csv").open() as file:
        epochs = list(csv.DictReader(file))
    for name in ("loss", "val_log_loss", "val_accuracy"):
        history = store.get_metric_history(found.info.run_id, name)
        assert [(each.step, each.value) for each in history] == [
            (int(row["epoch"]), pytest.approx(float(row[name]))) for row in epochs
        ]
    for split in ("validation", "test"):
        assert found.data.metrics[f"{split}/accuracy"] == run.metrics[split]["accuracy"]
    assert {each.path for each in store.list_artifacts(found.info.run_id)} == {"report.html", "recipe.yaml"}


def test_a_resumed_training_goes_on_in_its_run_of_mlflow(store, run):
    tracker = tracker_of("mlflow")
    known = tracker.begin("sentiment", "copy", {"epochs": 3})
    tracker.on_epoch_end(0, {"loss": 0.5})
    resumed = tracker_of("mlflow")
    assert resumed.begin("sentiment", "copy", {"epochs": 3}, known["mlflow"]) == known
    resumed.on_epoch_end(1, {"loss": 0.25})
    assert logged(store).info.status == "RUNNING"
    resumed.finish(run)
    found = logged(store)
    assert found.info.status == "FINISHED"
    assert [each.step for each in store.get_metric_history(found.info.run_id, "loss")] == [1, 2]


def test_a_process_that_ends_before_the_training_does_has_failed(store):
    script = "from tfhub_ft.training.tracking import tracker_of\ntracker_of('mlflow').begin('sentiment', 'one', {})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "mlflow" not in done.stderr
    assert logged(store).info.status == "FAILED"


def test_tracker_of_refuses_a_store_that_cannot_be_opened(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://at.all")
    with pytest.raises(InputError, match="--track mlflow: .*; set MLFLOW_TRACKING_URI to a store") as caught:
        tracker_of("mlflow")
    assert "\n" not in str(caught.value)


def test_train_leaves_nothing_where_the_store_refuses_the_run(store, tiny_pair, reviews_csv, tmp_path, monkeypatch):
    def refuse(*arguments, **named):
        raise PermissionError("may read, but not write")

    monkeypatch.setattr(type(store), "create_run", refuse)
    settings = {**TINY_SETTINGS, "encoder": tiny_pair, "data": reviews_csv, "track": "mlflow"}
    with pytest.raises(InputError, match="--track mlflow: may read, but not write; set MLFLOW_TRACKING_URI"):
        tfhub_ft.train("sentiment", output_dir=tmp_path / "runs" / "one", **settings)
    assert not (tmp_path / "runs").exists()


def test_tune_leaves_nothing_where_its_first_trial_is_refused(store, tiny_pair, reviews_csv, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://at.all")
    settings = {**TINY_SETTINGS, "encoder": tiny_pair, "data": reviews_csv, "track": "mlflow"}
    with pytest.raises(InputError, match="--track mlflow"):
        tune("sentiment", output_dir=tmp_path / "runs" / "search", trials=2, **settings)
    assert not (tmp_path / "runs").exists()


def test_a_store_that_goes_away_does_not_end_the_training(store, run, monkeypatch, capsys):
    tracker = tracker_of("mlflow")
    tracker.begin("sentiment", "copy", {})

    def gone(*arguments, **named):
        raise ConnectionError("the store is gone\nand more")

    monkeypatch.setattr(tracker.client, "log_metric", gone)
    for epoch in range(2):
        tracker.on_epoch_end(epoch, {"loss": 0.5})
    tracker.finish(run)
    assert capsys.readouterr().err == (
        "Warning: --track mlflow: the store is gone; training continues without it\n"
    )  # fmt: skip


def test_weights_and_biases_is_told_of_a_training(run, tmp_path, monkeypatch, capfd):
    pytest.importorskip("wandb", reason="needs pip install '.[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    tracker = tracker_of("wandb")
    kept = tracker.begin("sentiment", "copy", run.settings.as_dict())["wandb"]
    assert (tracker.run.project, tracker.run.name, tracker.run.id) == ("sentiment", "copy", kept)
    assert tracker.run.config["learning_rate"] == TINY_SETTINGS["learning_rate"]
    tracker.on_epoch_end(0, {"loss": 0.5, "val_accuracy": 0.75})
    tracker.finish(run)
    assert capfd.readouterr() == ("", "")
    (log,) = (tmp_path / "wandb").glob(f"offline-run-*/run-{kept}.wandb")
    for what in ("val_accuracy", "test/accuracy", "report.html", "recipe.yaml"):
        assert what.encode() in log.read_bytes(), what
    resumed = tracker_of("wandb")
    resumed.begin("sentiment", "copy", {}, kept)
    assert resumed.run.id == kept
    resumed.run.finish()


@pytest.mark.parametrize("track", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_one_line_before_the_work(track, reviews_csv, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError) as caught:
        tfhub_ft.train("sentiment", data=reviews_csv, encoder="x", output_dir=tmp_path / "run", track=track)
    assert str(caught.value) == f"--track {track} is not installed: pip install 'tfhub_ft[{track}]'"
    assert not (tmp_path / "run").exists()


def test_a_training_that_is_not_tracked_tells_nobody(run):
    tracker = tracker_of(None)
    assert type(tracker) is Tracker
    assert tracker.begin("sentiment", "copy", {}) == {}
    tracker.finish(run)
    assert not run.tracked
