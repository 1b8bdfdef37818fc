import os
import shutil
import signal

import numpy as np
import pytest

import tfhub_ft
from tests.conftest import TINY_SETTINGS
from tfhub_ft.run import Run
from tfhub_ft.training.callbacks import EpochOrder
from tfhub_ft.utils.errors import InputError, Preempted

# With dropout in the head; a frozen encoder trains fast.
SETTINGS = {**TINY_SETTINGS, "dropout": 0.1, "epochs": 2, "freeze": "all-but-pooler"}


def train(tiny_pair, folder, **arguments):
    return tfhub_ft.train("sentiment", output_dir=folder, encoder=tiny_pair, **{**SETTINGS, **arguments})


def assert_same(one, other):
    assert one.metrics == other.metrics
    for mine, theirs in zip(one.load_model().get_weights(), other.load_model().get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.fixture
def stop_after(monkeypatch):
    """A function that lets the number-th training epoch from now on receive a signal."""

    def stop(count, number=signal.SIGTERM):
        class Sender(EpochOrder):
            epochs = 0

            def on_epoch_end(self, epoch, logs=None):
                Sender.epochs += 1
                if Sender.epochs == count:
                    os.kill(os.getpid(), number)

        monkeypatch.setattr("tfhub_ft.training.callbacks.EpochOrder", Sender)

    return stop


@pytest.fixture(scope="module")
def files(reviews_csv, tmp_path_factory):
    """A file for each split."""
    folder = tmp_path_factory.mktemp("files")
    header, *lines = reviews_csv.read_text().splitlines()
    for name, part in (("train", lines[:100]), ("validation", lines[100:130]), ("test", lines[130:])):
        (folder / f"{name}.csv").write_text("\n".join([header, *part]) + "\n")
    return {name: folder / f"{name}.csv" for name in ("train", "validation", "test")}


def test_seeds_keep_the_median_run_and_the_scores_of_all(tiny_pair, files, tmp_path):
    run = train(tiny_pair, tmp_path / "run", seeds=3, seed=4, **files)
    repeats = run.repeats
    assert (repeats["kind"], repeats["metric"], repeats["split"]) == ("seeds", "accuracy", "test")
    assert [each["name"] for each in repeats["runs"]] == ["seed 4", "seed 5", "seed 6"]
    kept = repeats["kept"]
    assert run.settings.seed == 4 + kept
    accuracies = [each["test"]["accuracy"] for each in repeats["runs"]]
    assert run.metrics["test"]["accuracy"] == accuracies[kept] == sorted(accuracies)[1]
    losses = [each["test"]["log_loss"] for each in repeats["runs"]]
    assert len(set(losses)) == 3
    summary = repeats["summary"]["log_loss"]
    assert summary["mean"] == pytest.approx(np.mean(losses))
    assert summary["deviation"] == pytest.approx(np.std(losses, ddof=1))
    low, high = summary["interval"]
    # 4.303 is the 97.5% quantile of Student's t with 2 degrees of freedom.
    assert (high - low) / 2 == pytest.approx(4.3027 * summary["deviation"] / np.sqrt(3), rel=1e-4)
    # The run folder is an ordinary one, and the run is that of its seed.
    assert not (run.path / "repeats").exists()
    assert_same(run, train(tiny_pair, tmp_path / "single", seed=run.settings.seed, **files))
    assert tfhub_ft.evaluate(run, data=files["test"])["accuracy"] == run.metrics["test"]["accuracy"]
    report = (run.path / "report.html").read_text()
    assert "All seeds" in report
    assert "with --seeds 3 --seed 4 in place of its seed" in report
    assert "seed-" not in report
    with pytest.raises(InputError, match="already finished"):
        tfhub_ft.train("sentiment", output_dir=run.path, resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_folds_resume_exactly(tiny_pair, reviews_csv, tmp_path, stop_after, monkeypatch, number):
    (tmp_path / "data").mkdir()
    data = shutil.copy(reviews_csv, tmp_path / "data" / "rows.csv")
    stop_after(3, number)
    with pytest.raises(Preempted, match=r"folds: stopped by a signal and saved; continue with --resume$"):
        train(tiny_pair, tmp_path / "folds", data=data, folds=2)
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"folds: its seeds or folds are not all trained; continue with --resume"):
        Run(tmp_path / "folds")
    with pytest.raises(InputError, match=r"^--epochs 9: the runs in .*folds were started with 2; leave the option out"):
        tfhub_ft.train("sentiment", output_dir=tmp_path / "folds", resume=True, epochs=9)
    with pytest.raises(InputError, match=r"^--folds 4: .*folds was started with --folds 2; leave it out"):
        tfhub_ft.train("sentiment", output_dir=tmp_path / "folds", resume=True, folds=4)
    resumed = tfhub_ft.train("sentiment", output_dir=tmp_path / "folds", resume=True)
    whole = train(tiny_pair, tmp_path / "whole", data=data, folds=2)
    assert resumed.repeats == whole.repeats
    assert_same(resumed, whole)
    assert sorted(path.name for path in resumed.path.iterdir()) == sorted(path.name for path in whole.path.iterdir())
    # The folder and the file move together.
    (tmp_path / "moved").mkdir()
    for name in ("data", "folds"):
        shutil.move(tmp_path / name, tmp_path / "moved" / name)
    rows = Run(tmp_path / "moved" / "folds").load_rows()
    assert len(rows.splits["test"].rows) in (79, 80, 81)


def test_keep_continues_after_a_kill(tiny_run, tmp_path):
    from tfhub_ft.training.repeats import _keep

    state = {"kind": "seeds", "count": 2, "first_seed": 0, "split": "test", "metric": "accuracy", "kept": 0}
    state |= {"runs": [{"name": "seed 0", "test": {"accuracy": 1.0}}], "summary": {}}
    kept = tmp_path / "run" / "repeats" / "seed-0"
    shutil.copytree(tiny_run, kept)
    (kept / "model.keras").rename(tmp_path / "run" / "model.keras")
    _keep(tmp_path / "run", kept, state)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in tiny_run.iterdir()}
    assert Run(tmp_path / "run").metrics == Run(tiny_run).metrics
    _keep(tmp_path / "run", kept, state)
    assert Run(tmp_path / "run").load_rows().labels == ["negative", "positive"]
