import os
import shutil
import signal

import numpy as np
import pytest

import tfhub_ft
from tests.conftest import GOOD, THINGS, TINY_SETTINGS, make_reviews, write_csv
from tfhub_ft.encoders.hub_encoder import encoder_of
from tfhub_ft.run import Run
from tfhub_ft.training.callbacks import EpochOrder
from tfhub_ft.utils.errors import Preempted

# With dropout in the head and the encoder; without steps that change the weights where learning_rate is 0.
SETTINGS = {key: value for key, value in TINY_SETTINGS.items() if key != "seq_length"} | {"dropout": 0.1}
STILL = {**SETTINGS, "epochs": 1, "learning_rate": 0.0, "weight_decay": 0.0}


def weights(run):
    network = run.load_model().get_layer("token_model")
    encoder = encoder_of(network)
    taken = {id(weight) for weight in encoder.weights}
    return encoder.values, [weight.numpy() for weight in network.weights if id(weight) not in taken]


def assert_same(one, other):
    assert one.metrics == other.metrics
    for mine, theirs in zip(one.load_model().get_weights(), other.load_model().get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.fixture(scope="module")
def new_rows(tmp_path_factory):
    """Reviews of two known labels and two new ones, one of which sorts before the known ones."""
    rows = make_reviews(60, seed=5)
    rows += [(f"the {thing} was {word} but late", "delivery") for thing in THINGS[:6] for word in GOOD[:4]]
    rows += [(f"what is the price of this {thing} {word}", "question") for thing in THINGS[:6] for word in GOOD[:4]]
    return write_csv(tmp_path_factory.mktemp("rows") / "new.csv", rows)


@pytest.fixture
def stopped_in_second_epoch(monkeypatch):
    class Sender(EpochOrder):
        sent = False

        def on_train_batch_end(self, batch, logs=None):
            if self.batches.epoch == 1 and batch >= 2 and not self.sent:
                self.sent = True
                os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("tfhub_ft.training.callbacks.EpochOrder", Sender)


def test_train_continues_with_the_weights_and_labels_of_a_run(tiny_run, new_rows, tmp_path):
    before = Run(tiny_run)
    run = tfhub_ft.train("topic", data=new_rows, from_run=before, output_dir=tmp_path / "run", **STILL)
    assert run.labels == ["negative", "positive", "delivery", "question"]
    assert (run.settings.encoder, run.settings.seq_length) == (before.settings.encoder, 24)
    (encoder, head), (encoder_before, head_before) = weights(run), weights(before)
    for name, value in encoder_before.items():
        np.testing.assert_array_equal(encoder[name], value)
    temperature = run.calibration.get("temperature", 1.0)
    for value, value_before in zip(head, head_before, strict=True):
        np.testing.assert_allclose(value[..., :2] * temperature, value_before, rtol=1e-5, atol=1e-7)
    assert np.abs(head[0][:, 2:]).max() > 0
    labels = run.labels
    report = (run.path / "report.html").read_text()
    assert f"continued from {before.path}" in report
    shutil.move(run.path, tmp_path / "moved")
    prediction = tfhub_ft.predict(tmp_path / "moved", ["a lovely film and a great story"])[0]
    assert [*prediction["probabilities"]] == labels


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"freeze": "all-but-pooler"},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"lora_rank": 2, "reinit_layers": 0}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_resume_of_a_continued_run_needs_no_origin(
    tiny_run, new_rows, tmp_path, stopped_in_second_epoch, monkeypatch, settings
):
    shutil.copytree(tiny_run, tmp_path / "origin")
    options = {"data": new_rows, "from_run": tmp_path / "origin", **SETTINGS, "epochs": 3, **settings}
    with pytest.raises(Preempted):
        tfhub_ft.train("topic", output_dir=tmp_path / "stopped", **options)
    monkeypatch.undo()
    whole = tfhub_ft.train("topic", output_dir=tmp_path / "whole", **options)
    shutil.rmtree(tmp_path / "origin")
    resumed = tfhub_ft.train("topic", output_dir=tmp_path / "stopped", resume=True)
    assert_same(resumed, whole)
    assert [path.name for path in (resumed.path / "checkpoints").iterdir()] == ["state.json"]
