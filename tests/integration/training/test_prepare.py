import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import tfhub_ft
from tests.conftest import TINY_SETTINGS, make_reviews, write_csv
from tfhub_ft.run import Run
from tfhub_ft.training.prepare import prepare


@pytest.fixture(scope="module")
def settings(tiny_pair, reviews_csv):
    """The settings of `tiny_run` that rows and tokens depend on."""
    return {"data": str(reviews_csv), "encoder": str(tiny_pair), "seq_length": TINY_SETTINGS["seq_length"]}


@pytest.fixture(scope="module")
def folder(settings, tmp_path_factory):
    """The prepared rows of `tiny_run`; do not change them."""
    folder = tmp_path_factory.mktemp("prepared") / "reviews"
    prepare("sentiment", output_dir=folder, shards=3, **settings)
    return folder


def shards_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tfrecord"))}


@pytest.mark.sample
def test_train_on_prepared_rows_equals_training_on_files(folder, tiny_run, tmp_path):
    settings = {name: value for name, value in TINY_SETTINGS.items() if name != "seq_length"}
    run, direct = tfhub_ft.train("sentiment", prepared=folder, output_dir=tmp_path / "run", **settings), Run(tiny_run)
    assert run.metrics == direct.metrics
    same = ("file", "sha256", "rows", "lines")
    assert {name: [split[key] for key in same] for name, split in run.splits.items()} == {
        name: [split[key] for key in same] for name, split in direct.splits.items()
    }
    assert run.sample == direct.sample
    for one, other in zip(run.load_model().get_weights(), direct.load_model().get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert run.settings.encoder == direct.settings.encoder


@pytest.mark.slow
def test_prepare_continues_after_a_kill(settings, tmp_path):
    data = write_csv(tmp_path / "rows.csv", make_reviews(3000))
    folder, settings = tmp_path / "killed", {**settings, "data": str(data), "shards": 300}
    script = (
        f"from tfhub_ft.training.prepare import prepare; prepare('sentiment', output_dir={str(folder)!r}, **{settings})"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    while len(list(folder.glob("train-*.tfrecord"))) < 5 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in folder.glob("train-*.tfrecord")}
    assert 5 <= len(before) < 300
    prepare("sentiment", output_dir=folder, **settings)
    prepare("sentiment", output_dir=tmp_path / "whole", **settings)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert shards_of(folder) == shards_of(tmp_path / "whole")
