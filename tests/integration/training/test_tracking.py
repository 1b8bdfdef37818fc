import csv
import importlib.util
import shutil
import subprocess
import sys

import pytest

import tfhub_ft
from tests.conftest import TINY_SETTINGS
from tfhub_ft.run import Run
from tfhub_ft.training.tracking import Tracker, make_tracker
from tfhub_ft.training.tune import tune
from tfhub_ft.utils.errors import InputError


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A client of a MLflow store in a new database."""
    mlflow = pytest.importorskip("mlflow", reason="needs pip install '.[mlflow]'")
    pytest.importorskip("sqlalchemy")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store.db")
    # MLflow writes files into the current folder.
    monkeypatch.chdir(tmp_path)
    return mlflow.MlflowClient()


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of a finished run."""
    return Run(shutil.copytree(tiny_run, tmp_path / "copy"))


def logged(store):
    """Return the only run of the only experiment except the default one."""
    (experiment,) = (each for each in store.search_experiments() if each.name != "Default")
    assert experiment.name == "sentiment"
    (mlflow_run,) = store.search_runs([experiment.experiment_id])
    return mlflow_run


def test_train_logs_to_mlflow(store, tiny_pair, reviews_csv, tmp_path):
    settings = {**TINY_SETTINGS, "encoder": tiny_pair, "data": reviews_csv, "epochs": 2, "track": "mlflow"}
    run = tfhub_ft.train("sentiment", output_dir=tmp_path / "runs" / "one", **settings)
    mlflow_run = logged(store)
    assert (mlflow_run.info.run_name, mlflow_run.info.status) == ("one", "FINISHED")
    assert mlflow_run.data.params == {
        "recipe": "sentiment", **{name: str(value) for name, value in run.settings.as_dict().items()},
    }  # fmt: skip
    with (run.path / "history.csv").open() as file:
        epochs = list(csv.DictReader(file))
    for name in ("loss", "val_log_loss", "val_accuracy"):
        history = store.get_metric_history(mlflow_run.info.run_id, name)
        assert [(each.step, each.value) for each in history] == [
            (int(row["epoch"]), pytest.approx(float(row[name]))) for row in epochs
        ]
    for split in ("validation", "test"):
        assert mlflow_run.data.metrics[f"{split}/accuracy"] == run.metrics[split]["accuracy"]
    assert {each.path for each in store.list_artifacts(mlflow_run.info.run_id)} == {"report.html", "recipe.yaml"}


def test_mlflow_tracker_continues_a_resumed_run(store, run):
    tracker = make_tracker("mlflow")
    known = tracker.begin("sentiment", "copy", {"epochs": 3})
    tracker.on_epoch_end(0, {"loss": 0.5})
    resumed = make_tracker("mlflow")
    assert resumed.begin("sentiment", "copy", {"epochs": 3}, known["mlflow"]) == known
    resumed.on_epoch_end(1, {"loss": 0.25})
    assert logged(store).info.status == "RUNNING"
    resumed.finish(run)
    mlflow_run = logged(store)
    assert mlflow_run.info.status == "FINISHED"
    assert [each.step for each in store.get_metric_history(mlflow_run.info.run_id, "loss")] == [1, 2]


def test_mlflow_tracker_marks_an_unfinished_run_as_failed(store):
    script = "from tfhub_ft.training.tracking import make_tracker\nmake_tracker('mlflow').begin('sentiment', 'one', {})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "mlflow" not in done.stderr
    assert logged(store).info.status == "FAILED"


def test_make_tracker_refuses_a_store_that_cannot_be_opened(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://at.all")
    with pytest.raises(InputError, match="--track mlflow: .*; set MLFLOW_TRACKING_URI to a store") as caught:
        make_tracker("mlflow")
    assert "\n" not in str(caught.value)


def test_train_writes_nothing_when_the_store_refuses_the_run(store, tiny_pair, reviews_csv, tmp_path, monkeypatch):
    def refuse(*arguments, **named):
        raise PermissionError("may read, but not write")

    monkeypatch.setattr(type(store), "create_run", refuse)
    settings = {**TINY_SETTINGS, "encoder": tiny_pair, "data": reviews_csv, "track": "mlflow"}
    with pytest.raises(InputError, match="--track mlflow: may read, but not write; set MLFLOW_TRACKING_URI"):
        tfhub_ft.train("sentiment", output_dir=tmp_path / "runs" / "one", **settings)
    assert not (tmp_path / "runs").exists()


def test_tune_writes_nothing_when_its_first_trial_is_refused(store, tiny_pair, reviews_csv, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://at.all")
    settings = {**TINY_SETTINGS, "encoder": tiny_pair, "data": reviews_csv, "track": "mlflow"}
    with pytest.raises(InputError, match="--track mlflow"):
        tune("sentiment", output_dir=tmp_path / "runs" / "search", trials=2, **settings)
    assert not (tmp_path / "runs").exists()


def test_tracker_ignores_a_store_that_is_gone(store, run, monkeypatch, capsys):
    tracker = make_tracker("mlflow")
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


def test_wandb_tracker_logs_scores_and_files(run, tmp_path, monkeypatch, capfd):
    pytest.importorskip("wandb", reason="needs pip install '.[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    tracker = make_tracker("wandb")
    kept = tracker.begin("sentiment", "copy", run.settings.as_dict())["wandb"]
    assert (tracker.run.project, tracker.run.name, tracker.run.id) == ("sentiment", "copy", kept)
    assert tracker.run.config["learning_rate"] == TINY_SETTINGS["learning_rate"]
    tracker.on_epoch_end(0, {"loss": 0.5, "val_accuracy": 0.75})
    tracker.finish(run)
    assert capfd.readouterr() == ("", "")
    (log,) = (tmp_path / "wandb").glob(f"offline-run-*/run-{kept}.wandb")
    for logged_name in ("val_accuracy", "test/accuracy", "report.html", "recipe.yaml"):
        assert logged_name.encode() in log.read_bytes(), logged_name
    resumed = make_tracker("wandb")
    resumed.begin("sentiment", "copy", {}, kept)
    assert resumed.run.id == kept
    resumed.run.finish()


@pytest.mark.parametrize("track", ["mlflow", "wandb"])
def test_train_refuses_a_tracker_that_is_not_installed(track, reviews_csv, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError) as caught:
        tfhub_ft.train("sentiment", data=reviews_csv, encoder="x", output_dir=tmp_path / "run", track=track)
    assert str(caught.value) == f"--track {track}: not installed; pip install 'tfhub_ft[{track}]'"
    assert not (tmp_path / "run").exists()


def test_make_tracker_without_a_name_logs_nothing(run):
    tracker = make_tracker(None)
    assert type(tracker) is Tracker
    assert tracker.begin("sentiment", "copy", {}) == {}
    tracker.finish(run)
    assert not run.tracked
