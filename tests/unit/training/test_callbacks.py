import csv
import json

import keras
import numpy as np
import pytest

from tfhub_ft.evaluation.validation import Validated
from tfhub_ft.training.callbacks import BEST, Checkpoints, ValidationScores, remove_weights, write_history
from tfhub_ft.utils.errors import InputError


class Scores(ValidationScores):
    """Validation scores that are set beforehand, one per epoch."""

    def __init__(self, scores):
        super().__init__(None, None, None, None)
        self.next_scores = iter(scores)

    def on_epoch_end(self, epoch, logs=None):
        score = next(self.next_scores)
        self.last = Validated(None, {}, {}, {"accuracy": score, "log_loss": 0.5})
        logs |= {f"val_{name}": value for name, value in self.scores.items() if value is not None}


def network():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def fit(folder, model, scores, *, epochs, patience=9):
    validation = Scores(scores)
    checkpoints = Checkpoints(folder, model, validation, metric="accuracy", patience=patience)
    checkpoints.set_model(model)
    done = checkpoints.restore(model)
    x = np.ones((4, 2), "float32")
    callbacks = [validation, checkpoints]
    model.fit(x, x[:, :1], epochs=epochs, initial_epoch=done, verbose=0, callbacks=callbacks)
    return checkpoints


def test_checkpoints_keep_the_best_and_the_last_epoch(tmp_path):
    model = network()
    checkpoints = fit(tmp_path, model, [0.5, 0.75, 0.25], epochs=3)
    assert {path.name for path in tmp_path.iterdir()} == {BEST, "last-3.weights.h5", "state.json"}
    state = json.loads((tmp_path / "state.json").read_text())
    assert (state["best_epoch"], state["last"], state["stopped"]) == (2, "last-3.weights.h5", False)
    last = model.get_weights()
    checkpoints.load_best()
    assert not np.array_equal(model.get_weights()[0], last[0])
    assert checkpoints.best_validation.scores["accuracy"] == 0.75


def test_checkpoints_stop_when_patience_runs_out(tmp_path):
    assert fit(tmp_path, network(), [0.75, 0.5, 0.5, 0.9], epochs=4, patience=2).stopped
    assert len(json.loads((tmp_path / "state.json").read_text())["epochs"]) == 3


def test_checkpoints_with_patience_0_keep_the_best_epoch_and_never_stop(tmp_path):
    checkpoints = fit(tmp_path, network(), [0.75, *[0.5] * 5], epochs=6, patience=0)
    assert not checkpoints.stopped
    assert (len(checkpoints.state["epochs"]), checkpoints.state["best_epoch"]) == (6, 1)


def test_checkpoints_compare_log_losses_of_undefined_scores(tmp_path):
    assert fit(tmp_path, network(), [None, None], epochs=2).state["best_epoch"] == 1


def test_restore_continues_from_the_last_checkpoint(tmp_path):
    model = network()
    fit(tmp_path, model, [0.5], epochs=1)
    again = network()
    checkpoints = fit(tmp_path, again, [0.75], epochs=2)
    assert [epoch["epoch"] for epoch in checkpoints.state["epochs"]] == [1, 2]
    assert int(again.optimizer.iterations) == 2 * int(model.optimizer.iterations)


@pytest.mark.parametrize("name", ["../last.weights.h5", "gone.weights.h5"])
def test_restore_refuses_other_files(tmp_path, name):
    fit(tmp_path, network(), [0.5], epochs=1)
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps({**state, "last": name}))
    with pytest.raises(InputError, match="is not the name of a checkpoint|gone.weights.h5: not found"):
        fit(tmp_path, network(), [], epochs=1)


def test_validation_scores_skip_an_epoch_whose_loss_is_nan():
    validation = ValidationScores(lambda tokens: pytest.fail("was scored"), None, None, None)
    validation.on_epoch_end(0, {"loss": float("nan")})
    assert validation.scores == {}


def test_remove_weights_leaves_the_state(tmp_path):
    fit(tmp_path, network(), [0.5], epochs=1)
    remove_weights(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_write_history_writes_one_row_per_epoch(tmp_path):
    write_history(tmp_path / "history.csv", [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "val_f1": None}])
    with (tmp_path / "history.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["val_f1"], second["val_f1"], second["loss"]) == ("", "", "0.25")
