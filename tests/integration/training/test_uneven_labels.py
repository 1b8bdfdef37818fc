import csv
import json
import shutil
import signal

import numpy as np
import pytest

import tfhub_ft
from tests.conftest import TINY_SETTINGS
from tests.integration.training.test_distribution import ON_DEVICES, losses_of, options, tfhub_ft_command
from tfhub_ft.recipe import load_recipe
from tfhub_ft.run import Run
from tfhub_ft.training.callbacks import EpochOrder
from tfhub_ft.utils.errors import InputError, Preempted

SETTINGS = {**TINY_SETTINGS, "epochs": 1, "seq_length": 24}
LABELED = ("sentiment", "spam", "phishing", "topic", "intent", "pair", "multilabel", "ner")


def weighted_demo(recipe, path, weight=lambda number: number % 3):
    """Write the demo rows of a recipe with a column of weights."""
    demo = load_recipe(recipe).demo
    path = path / f"rows{demo.suffix}"
    if demo.suffix == ".jsonl":
        rows = [json.loads(line) for line in demo.read_text(encoding="utf-8").splitlines()]
        rows = [{**row, "importance": weight(number)} for number, row in enumerate(rows)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path
    with demo.open(encoding="utf-8", newline="") as file, path.open("w", encoding="utf-8", newline="") as target:
        header, *rows = csv.reader(file)
        csv.writer(target).writerows([[*header, "importance"], *([*row, weight(n)] for n, row in enumerate(rows))])
    return path


def train(recipe, folder, tiny_pair, **settings):
    return tfhub_ft.train(recipe, output_dir=folder, encoder=tiny_pair, **{**SETTINGS, **settings})


def log_loss(run):
    scores = run.metrics["validation"]
    return scores.get("log_loss", scores.get("root_mean_squared_error"))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [*LABELED, "similarity", "regression"])
def test_train_weights_rows_of_every_recipe(recipe, tiny_pair, tmp_path):
    data = weighted_demo(recipe, tmp_path)
    equal = weighted_demo(recipe, tmp_path.parent, weight=lambda number: 1.0)
    weighted = train(recipe, tmp_path / "weighted", tiny_pair, data=data, weight_column="importance")
    plain = train(recipe, tmp_path / "plain", tiny_pair, data=data)
    ones = train(recipe, tmp_path / "ones", tiny_pair, data=equal, weight_column="importance")
    assert log_loss(weighted) != log_loss(plain)
    assert log_loss(ones) == pytest.approx(log_loss(plain), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", LABELED)
@pytest.mark.parametrize("option", ["class_weight", "focal_gamma", "label_smoothing"])
def test_train_with_each_option_of_the_loss(recipe, option, tiny_pair, tmp_path):
    label = tfhub_ft.train(recipe, output_dir=tmp_path / "off", encoder=tiny_pair, **SETTINGS, class_weight="none")
    value = {"class_weight": {label.labels[-1]: 5}, "focal_gamma": 2.0, "label_smoothing": 0.2}[option]
    on = train(recipe, tmp_path / "on", tiny_pair, **{"class_weight": "none", option: value})
    assert log_loss(on) != log_loss(label)
    assert getattr(Run(on.path).settings, option) == value


ALL_OPTIONS = {
    "class_weight": {"positive": 2, "negative": 0.5},
    "focal_gamma": 1.5,
    "label_smoothing": 0.1,
    "weight_column": "importance",
    "positive_label": "negative",
    "wanted_precision": 0.5,
    "monitor": "f1",
    "patience": 0,
    "dropout": 0.1,
    "encoder_dropout": 0.1,
    "epochs": 3,
}


@pytest.fixture(scope="module")
def weighted_csv(reviews_csv, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "weighted.csv"
    with reviews_csv.open(encoding="utf-8", newline="") as file, path.open("w", encoding="utf-8", newline="") as target:
        header, *rows = csv.reader(file)
        csv.writer(target).writerows([[*header, "importance"], *([*row, n % 3] for n, row in enumerate(rows))])
    return path


@pytest.fixture(scope="module")
def whole_run(tiny_pair, weighted_csv, tmp_path_factory):
    """A run with all options that was never stopped."""
    return train("sentiment", tmp_path_factory.mktemp("runs") / "whole", tiny_pair, data=weighted_csv, **ALL_OPTIONS)


@pytest.mark.slow
def test_resume_with_all_options_is_exact(whole_run, tiny_pair, weighted_csv, tmp_path, monkeypatch):
    class Sender(EpochOrder):
        def on_train_batch_end(self, batch, logs=None):
            if (self.batches.epoch, batch) == (1, 5):
                signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(Preempted):
        patch.setattr("tfhub_ft.training.callbacks.EpochOrder", Sender)
        train("sentiment", tmp_path / "run", tiny_pair, data=weighted_csv, **ALL_OPTIONS)
    resumed = tfhub_ft.train("sentiment", output_dir=tmp_path / "run", resume=True)
    assert resumed.metrics == whole_run.metrics
    for one, other in zip(resumed.load_model().get_weights(), whole_run.load_model().get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_run_records_and_uses_all_options(whole_run, weighted_csv, reviews_csv):
    run = Run(whole_run.path)
    assert {name: getattr(run.settings, name) for name in ALL_OPTIONS} == ALL_OPTIONS
    assert run.labels == ["positive", "negative"]
    assert run.thresholds["wanted_precision"] == 0.5
    epochs = run.training_state["epochs"]
    assert len(epochs) == 3
    best = max(epochs, key=lambda epoch: (epoch["val_f1"], -epoch["val_log_loss"]))
    assert run.training_state["best_epoch"] == best["epoch"] == run.metrics["train"]["epoch"]
    assert all("weight" in row.values for row in run.kept_rows.validation)
    report = (run.path / "report.html").read_text(encoding="utf-8")
    assert "--class-weight" in report and "Validation f1" in report.replace("validation", "Validation")
    # A file without weights is scored alike.
    assert tfhub_ft.evaluate(run, data=reviews_csv) == tfhub_ft.evaluate(run, data=weighted_csv)


@pytest.mark.slow
def test_export_predicts_with_the_threshold_of_the_positive_label(whole_run, tmp_path):
    exported = tfhub_ft.export(whole_run, output_dir=tmp_path / "export", formats=("saved_model",))
    threshold = whole_run.thresholds["threshold"]
    for prediction in tfhub_ft.predict(exported, ["a good film", "a bad film", "soup"]):
        expected = "negative" if prediction["probabilities"]["negative"] >= threshold else "positive"
        assert prediction["label"] == expected


@pytest.mark.slow
def test_train_on_prepared_rows_reads_their_weights(tiny_pair, weighted_csv, tmp_path):
    row_settings = {"weight_column": "importance", "encoder": tiny_pair, "seq_length": 24}
    prepared = tfhub_ft.prepare("sentiment", output_dir=tmp_path / "prepared", data=weighted_csv, **row_settings)
    settings = {name: value for name, value in SETTINGS.items() if name != "seq_length"}
    run = tfhub_ft.train("sentiment", prepared=prepared.path, output_dir=tmp_path / "run", **settings)
    direct = train("sentiment", tmp_path / "direct", tiny_pair, data=weighted_csv, weight_column="importance")
    assert run.metrics == direct.metrics
    with pytest.raises(InputError, match="--weight-column other: the rows in .* were prepared with importance"):
        tfhub_ft.train("sentiment", prepared=prepared.path, output_dir=tmp_path / "no", weight_column="other")


@pytest.mark.slow
@pytest.mark.parametrize("batches", [{"freeze": "all"}, {"batch_tokens": 200}, {"padding": "buckets"}], ids=str)
def test_row_weights_with_features_and_other_batches(batches, tiny_pair, weighted_csv, tmp_path):
    weighted = train(
        "sentiment", tmp_path / "weighted", tiny_pair, data=weighted_csv, weight_column="importance", **batches
    )
    plain = train("sentiment", tmp_path / "plain", tiny_pair, data=weighted_csv, **batches)
    assert log_loss(weighted) != log_loss(plain)


@pytest.mark.slow
def test_distill_weights_rows(whole_run, tmp_path):
    more = tmp_path / "more.txt"
    more.write_text("a fine meal\nthe worst hotel\n", encoding="utf-8")
    settings = {"student": "layers:1", "unlabeled": more, "epochs": 1, "alpha": 0.5}
    weighted = tfhub_ft.distill(whole_run, output_dir=tmp_path / "weighted", **settings)
    with pytest.raises(InputError, match="--weight-column votes: needs rows with that column; name files with --train"):
        tfhub_ft.distill(whole_run, output_dir=tmp_path / "refused", weight_column="votes", **settings)
    plain = tfhub_ft.distill(whole_run, output_dir=tmp_path / "plain", weight_column=None, **settings)
    assert log_loss(weighted) != log_loss(plain)
    assert plain.kept_rows.test


@pytest.mark.slow
def test_tune_compares_trials_by_the_monitor(tiny_pair, weighted_csv, tmp_path):
    pytest.importorskip("optuna")
    settings = {**SETTINGS, "encoder": tiny_pair, "data": weighted_csv, "monitor": "loss"}
    search = ["label_smoothing=0,0.5"]
    rows = tfhub_ft.tune("sentiment", output_dir=tmp_path / "search", trials=1, search=search, **settings)
    run = Run(tmp_path / "search" / "trials" / "000")
    assert rows[0]["score"] == run.metrics["validation"]["log_loss"]
    shutil.rmtree(tmp_path / "search")
    with pytest.raises(InputError, match="--search monitor: trials are compared by one score"):
        tfhub_ft.tune("sentiment", output_dir=tmp_path / "search", search=["monitor=f1,accuracy"], **settings)


@pytest.mark.slow
def test_replicas_weight_rows_like_one_device(tiny_pair, weighted_csv, tmp_path):
    settings = {"weight_column": "importance", "class_weight": '{"positive": 3}', "strategy": "mirrored"}
    losses = []
    for replicas in (1, 2):
        arguments = options(tiny_pair, weighted_csv, tmp_path / str(replicas), **settings)
        code, _, err = tfhub_ft_command(replicas, "train", "sentiment", *arguments, program=ON_DEVICES)
        assert code == 0, err
        losses.append(losses_of(Run(tmp_path / str(replicas))))
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["sentiment", "regression"])
def test_windows_of_long_texts_have_the_weight_of_their_row(recipe, tiny_pair, tmp_path):
    data = weighted_demo(recipe, tmp_path)
    settings = {"data": data, "long_texts": "windows", "seq_length": 8}
    weighted = train(recipe, tmp_path / "weighted", tiny_pair, weight_column="importance", **settings)
    assert log_loss(weighted) != log_loss(train(recipe, tmp_path / "plain", tiny_pair, **settings))
