import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

import tfhub_ft
from tests.conftest import TINY_SETTINGS, make_reviews, write_csv
from tfhub_ft import HubEncoder
from tfhub_ft.evaluation.scored import scoring_precision
from tfhub_ft.run import Run
from tfhub_ft.tasks.base import load_task
from tfhub_ft.training.interruptions import Interruptions
from tfhub_ft.training.start import read_settings
from tfhub_ft.utils import precision
from tfhub_ft.utils.errors import InputError


def train(tiny_pair, folder, **settings):
    return tfhub_ft.train("sentiment", output_dir=folder, encoder=tiny_pair, **{**TINY_SETTINGS, **settings})


def weights(run):
    return run.load_model().get_weights()


@pytest.mark.sample
def test_train_writes_all_files_of_a_run(tiny_run, reviews_csv):
    run = Run(tiny_run)
    names = {p.name for p in tiny_run.iterdir()}
    assert names == {
        "recipe.yaml", "labels.json", "splits.json", "sample.jsonl", "kept_rows.jsonl", "thresholds.json",
        "calibration.json", "warnings.json", "history.csv", "metrics.json", "report.html", "model.keras",
        "predictions.csv", "checkpoints", "logs",
    }  # fmt: skip
    assert run.labels == ["negative", "positive"]
    assert set(run.metrics) == {"train", "validation", "test"}
    assert run.settings.epochs == 4
    assert [s["rows"] for s in run.splits.values()] == [112, 24, 24]
    lines = [line for split in run.splits.values() for line in split["lines"]]
    assert sorted(lines) == list(range(2, 162))
    with (tiny_run / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]
    assert yaml.safe_load((tiny_run / "recipe.yaml").read_text())["seq_length"] == 24
    assert [p.name for p in (tiny_run / "checkpoints").iterdir()] == ["state.json"]


@pytest.mark.sample
def test_train_learns(tiny_run):
    assert Run(tiny_run).metrics["test"]["accuracy"] >= 0.9


@pytest.mark.sample
def test_train_writes_predictions_of_test_rows(tiny_run, reviews_csv):
    run = Run(tiny_run)
    with reviews_csv.open(newline="") as file:
        rows = dict(enumerate(csv.DictReader(file), 2))
    predictions = run.predictions
    assert [int(each["line"]) for each in predictions] == run.splits["test"]["lines"]
    assert [*predictions[0]] == [
        "line", "text", "label", "prediction", "probability_negative", "probability_positive",
    ]  # fmt: skip
    assert all({"text": each["text"], "label": each["label"]} == rows[int(each["line"])] for each in predictions)
    predicted = tfhub_ft.predict(run, [each["text"] for each in predictions])
    assert [each["prediction"] for each in predictions] == [each["label"] for each in predicted]
    for label in run.labels:
        probabilities = [float(each[f"probability_{label}"]) for each in predictions]
        assert probabilities == pytest.approx([each["probabilities"][label] for each in predicted], abs=1e-5)


def test_train_with_the_same_seed_gives_the_same_run(tiny_run, tiny_pair, reviews_csv, tmp_path):
    again = train(tiny_pair, tmp_path / "again", data=reviews_csv)
    assert again.metrics["test"] == Run(tiny_run).metrics["test"]
    for one, other in zip(weights(Run(tiny_run)), weights(again)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_train_with_another_seed_gives_another_run(tiny_run, tiny_pair, reviews_csv, tmp_path):
    other = train(tiny_pair, tmp_path / "other", data=reviews_csv, seed=1)
    assert other.metrics["test"]["log_loss"] != Run(tiny_run).metrics["test"]["log_loss"]


def test_train_keeps_the_best_epoch(tiny_pair, reviews_csv, tmp_path):
    run = train(tiny_pair, tmp_path / "run", data=reviews_csv, epochs=4, learning_rate=0.3, warmup=0.0, clip_norm=0)
    with (run.path / "history.csv").open() as file:
        epochs = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    best = max(epochs, key=lambda e: (e["val_accuracy"], -e["val_log_loss"]))
    assert run.metrics["train"]["epoch"] == best["epoch"]


def assert_kept_epoch_has_the_final_scores(run):
    with (run.path / "history.csv").open() as file:
        kept = list(csv.DictReader(file))[run.metrics["train"]["epoch"] - 1]
    final = {f"val_{name}": value for name, value in run.metrics["validation"].items() if isinstance(value, float)}
    assert {name: float(value) for name, value in kept.items() if name.startswith("val_") and value} == final
    assert f"val_{run.recipe.task.monitor}" in final


@pytest.mark.parametrize(
    "settings",
    [{}, {"precision": "bfloat16"}, {"freeze": "all", "precision": "bfloat16"}, {"class_weight": "balanced"}],
    ids=str,
)
def test_history_has_the_final_scores_of_the_kept_epoch(tiny_pair, reviews_csv, tmp_path, settings):
    recipe = "spam" if "class_weight" in settings else "sentiment"
    settings = {**TINY_SETTINGS, "epochs": 2, **settings}
    run = tfhub_ft.train(recipe, data=reviews_csv, output_dir=tmp_path / "run", encoder=tiny_pair, **settings)
    assert_kept_epoch_has_the_final_scores(run)


@pytest.mark.parametrize("recipe", ["multilabel", "regression", "ner", "qa", "retrieval", "intent", "adapt"])
def test_history_has_the_final_scores_of_every_task(tiny_pair, tmp_path, recipe):
    settings = {"epochs": 2, "batch_size": 16, "seq_length": 32, "encoder": tiny_pair}
    assert_kept_epoch_has_the_final_scores(tfhub_ft.train(recipe, output_dir=tmp_path / "run", **settings))


def test_history_has_empty_cells_for_undefined_scores(tiny_pair, tmp_path, capsys):
    rows = make_reviews(60)
    train_csv = write_csv(tmp_path / "train.csv", rows[:40])
    one_label = write_csv(tmp_path / "one.csv", [row for row in rows[40:] if row[1] == "positive"])
    run = train(tiny_pair, tmp_path / "run", train=train_csv, validation=one_label, epochs=2)
    err = capsys.readouterr().err
    assert "1 label without validation rows (negative: 20)" in err
    assert "validation roc auc -" in err
    with (run.path / "history.csv").open() as file:
        assert [row["val_roc_auc"] for row in csv.DictReader(file)] == ["", ""]
    assert json.loads((run.path / "metrics.json").read_text())["validation"]["roc_auc"] is None


def test_train_compares_log_losses_of_undefined_scores(tiny_pair, tmp_path):
    rows = make_reviews(60)
    train_csv = write_csv(tmp_path / "train.csv", rows[:40])
    one_label = write_csv(tmp_path / "one.csv", [row for row in rows[40:] if row[1] == "positive"])
    settings = {**TINY_SETTINGS, "epochs": 4, "encoder": tiny_pair}
    run = tfhub_ft.train("spam", train=train_csv, validation=one_label, output_dir=tmp_path / "run", **settings)
    with (run.path / "history.csv").open() as file:
        losses = [float(row["val_log_loss"]) for row in csv.DictReader(file)]
    assert run.metrics["train"]["epoch"] == 1 + losses.index(min(losses))


def test_train_reaches_the_minimum_number_of_steps(tiny_pair, reviews_csv, tmp_path, capsys):
    settings = {"data": reviews_csv, **{name: value for name, value in TINY_SETTINGS.items() if name != "epochs"}}
    run = tfhub_ft.train(
        "sentiment", output_dir=tmp_path / "run", encoder=tiny_pair, **{**settings, "patience": 9}, min_steps=50
    )
    assert "Training for 4 epochs of 14 steps to reach --min-steps 50" in capsys.readouterr().err
    assert (run.settings.epochs, run.settings.patience, len(run.training_state["epochs"])) == (4, 9, 4)


@pytest.mark.slow
def test_train_stops_when_patience_runs_out(tiny_pair, reviews_csv, tmp_path):
    run = train(tiny_pair, tmp_path / "run", data=reviews_csv, epochs=8, learning_rate=0.0, patience=1)
    assert len((run.path / "history.csv").read_text().splitlines()) == 3


@pytest.mark.sample
def test_train_holds_out_validation_rows_and_skips_bad_rows(tiny_pair, tmp_path, capsys):
    rows = make_reviews(80)
    train_csv = write_csv(tmp_path / "train.csv", [*rows[:60], ("", "positive")])
    test_csv = write_csv(tmp_path / "test.csv", rows[60:])
    run = train(tiny_pair, tmp_path / "run", train=train_csv, test=test_csv, skip_bad_rows=True, epochs=1)
    assert [s["rows"] for s in run.splits.values()] == [51, 9, 20]
    assert "lines" not in run.splits["test"]
    assert "skipped 1 bad row" in capsys.readouterr().err


@pytest.mark.sample
def test_resume_continues_from_the_last_epoch(tiny_pair, reviews_csv, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(self, epoch, logs=None):
        if epoch == 1:
            raise Killed

    monkeypatch.setattr(Interruptions, "on_epoch_end", kill)
    with pytest.raises(Killed):
        train(tiny_pair, tmp_path / "run", data=reviews_csv, epochs=4)
    monkeypatch.undo()
    before = json.loads((tmp_path / "run" / "checkpoints" / "state.json").read_text())
    assert len(before["epochs"]) == 2
    with pytest.raises(InputError, match="did not finish; continue with --resume"):
        tfhub_ft.predict(tmp_path / "run", ["good film"])
    with pytest.raises(InputError, match="--epochs 9: the run .* was started with 4"):
        tfhub_ft.train("sentiment", output_dir=tmp_path / "run", resume=True, epochs=9)
    run = tfhub_ft.train("sentiment", output_dir=tmp_path / "run", resume=True)
    after = json.loads((tmp_path / "run" / "checkpoints" / "state.json").read_text())
    assert after["epochs"][:2] == before["epochs"]
    assert len(after["epochs"]) == 4
    assert run.metrics["test"]["accuracy"] >= 0.9
    with pytest.raises(InputError, match="already finished"):
        tfhub_ft.train("sentiment", output_dir=tmp_path / "run", resume=True)


def test_restricted_vocabulary_trains_to_the_same_weights(tiny_pair, reviews_csv, tmp_path, monkeypatch):
    from tfhub_ft.encoders.hub_encoder import encoder_of
    from tfhub_ft.training.trainer import Trainer

    def values(run):
        return encoder_of(run.load_model().get_layer("token_model")).values

    settings = {"data": reviews_csv, "epochs": 2, "precision": "float32", "weight_decay": 0.3, "layer_decay": 0.5}
    restricted = train(tiny_pair, tmp_path / "restricted", **settings)
    monkeypatch.setattr(Trainer, "restrict_vocabulary", lambda trainer: False)
    whole = train(tiny_pair, tmp_path / "whole", **settings)
    assert restricted.metrics["train"]["trained_weights"] == whole.metrics["train"]["trained_weights"]
    expected = values(whole)
    for name, value in values(restricted).items():
        # The gradient of a key's bias is zero except for rounding, which Adam scales up.
        if "key/bias" not in name:
            np.testing.assert_allclose(value, expected[name], atol=1e-5, err_msg=name)


def test_train_with_batch_tokens_and_buckets(tiny_pair, reviews_csv, tmp_path):
    run = train(tiny_pair, tmp_path / "run", data=reviews_csv, batch_tokens=192, padding="buckets")
    assert run.metrics["test"]["accuracy"] >= 0.9


def test_settings_override_the_config_file(tiny_pair, reviews_csv, tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text(f"recipe: sentiment\nepochs: 5\nlearning_rate: 3e-3\nseq_length: 24\ndata: {reviews_csv}\n")
    run = tfhub_ft.train("sentiment", config=config, output_dir=tmp_path / "run", encoder=tiny_pair, epochs=1)
    assert (run.settings.epochs, run.settings.learning_rate, run.settings.seq_length) == (1, 3e-3, 24)
    assert read_settings(run.recipe, run.path / "recipe.yaml", {})[0] == run.settings


def test_train_step_is_traced_once(tiny_pair, reviews_csv, tmp_path, monkeypatch):
    from tfhub_ft.encoders.backends import native

    traced, encode = [], native.encode
    monkeypatch.setattr(
        native, "encode", lambda *args, **kwargs: (traced.append(kwargs["dropout"]), encode(*args, **kwargs))[1]
    )
    tfhub_ft.train(
        "sentiment", data=reviews_csv, encoder=tiny_pair, output_dir=tmp_path / "run", **{**TINY_SETTINGS, "epochs": 2}
    )
    assert sum(rate is not None for rate in traced) == 1


def test_lora_updates_are_merged_and_saved(tiny_pair, reviews_csv, tmp_path):
    settings = {"lora_rank": 4, "lora_targets": "query, value,output", "epochs": 2}
    run = train(tiny_pair, tmp_path / "run", data=reviews_csv, **settings)
    head = 32 * 2 + 2
    assert run.metrics["train"]["trained_weights"] == 2 * 4 * (2 * (32 + 32) + (64 + 32)) + head
    encoder = run.load_model().get_layer("token_model").get_layer("encoder")
    base = HubEncoder(str(tiny_pair))
    changed = [name for name, value in encoder.values.items() if np.abs(value - base.values[name]).max() > 1e-6]
    assert {name.split("/", 2)[2] for name in changed} == {
        "self_attention/query/kernel",
        "self_attention/value/kernel",
        "output/kernel",
    }
    base.load_lora_weights(run.path / "adapter.safetensors")
    for name, value in base.values.items():
        np.testing.assert_allclose(value, encoder.values[name], atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"layer_decay": 0.7, "recompute": True},
        {"unfreeze": "0,1,all", "epochs": 6},
        {"reinit_layers": 1},
        {"jit_compile": True, "padding": "buckets"},
    ],
    ids=lambda settings: next(iter(settings)),
)
@pytest.mark.slow
def test_train_with_methods_by_layer(tiny_pair, reviews_csv, tmp_path, settings):
    run = train(tiny_pair, tmp_path / "run", data=reviews_csv, **settings)
    assert run.metrics["validation"]["accuracy"] > 0.9


@pytest.mark.slow
def test_resume_continues_unfreezing(tiny_pair, reviews_csv, tmp_path, monkeypatch):
    def stop(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

    settings = {"data": reviews_csv, "unfreeze": "0,1,all", "epochs": 4}
    through = train(tiny_pair, tmp_path / "through", **settings)
    monkeypatch.setattr(Interruptions, "on_epoch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_pair, tmp_path / "stopped", **settings)
    monkeypatch.undo()
    resumed = tfhub_ft.train("sentiment", output_dir=tmp_path / "stopped", resume=True)
    for one, other in zip(weights(through), weights(resumed), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_warnings_are_saved_and_reported(tiny_pair, tmp_path, capsys):
    rows = [(f"{text} {'so nice and very good ' * 6}", label) for text, label in make_reviews(60)]
    data = write_csv(tmp_path / "rows.csv", rows)
    run = train(tiny_pair, tmp_path / "run", data=data, epochs=1, learning_rate=1e-6)
    err, report = capsys.readouterr().err, (run.path / "report.html").read_text()
    truncated = "42 of 42 train rows, 9 of 9 validation rows, 9 of 9 test rows are longer than --seq-length 24 tokens"
    never = "for all validation and test rows; train it longer, or on more rows"
    for warning in (truncated, never):
        assert warning in err
        assert sum(warning in each for each in run.warnings) == 1
        assert warning in report
    assert json.loads((run.path / "warnings.json").read_text()) == run.warnings


def test_evaluate_warns_of_truncated_rows(tiny_run, tmp_path, capsys):
    data = write_csv(tmp_path / "rows.csv", [*make_reviews(4), ("good " * 30, "positive"), ("bad " * 22, "negative")])
    tfhub_ft.evaluate(tiny_run, data=data, report=tmp_path / "report.html")
    warning = "1 of 6 rows are longer than --seq-length 24 tokens; the rest of their text is not read"
    assert f"Warning: {warning}\n" in capsys.readouterr().err
    assert warning in (tmp_path / "report.html").read_text()


def test_float32_run_is_scored_in_float32(tiny_pair, reviews_csv, tmp_path, monkeypatch):
    settings = {"data": reviews_csv, "freeze": "all", "precision": "float32", "dropout": 0.1}
    expected = train(tiny_pair, tmp_path / "float32", **settings)
    monkeypatch.setattr(precision, "Path", lambda _: SimpleNamespace(read_text=lambda **_: "flags: avx512_bf16"))
    assert precision.resolve_precision("auto") == "bfloat16"
    run = train(tiny_pair, tmp_path / "bfloat16", **settings)
    assert run.metrics == expected.metrics
    assert tfhub_ft.evaluate(run, data=reviews_csv) == tfhub_ft.evaluate(expected, data=reviews_csv)
    assert scoring_precision(load_task("dialogue"), "float32") == "float32"
    assert scoring_precision(load_task("dialogue"), "auto") == "bfloat16"
