"""Training a language model on dialogues: score, resume, replicas, and what is refused."""

import json

import numpy as np
import pytest

import tfhub_ft
from tfhub_ft.exports.encoder import export_encoder
from tfhub_ft.run import Run
from tfhub_ft.training.dry_run import dry_run
from tfhub_ft.utils.errors import InputError

WORDS = ["good", "goose", "nest", "the", "in", "user", "use", "error", "you", "my"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    random = np.random.default_rng(0)
    file = tmp_path_factory.mktemp("dialogues") / "pairs.jsonl"
    rows = [(" ".join(random.choice(WORDS, 3)), " ".join(random.choice(WORDS[:4], 4))) for _ in range(60)]
    file.write_text("\n".join(json.dumps({"prompt": prompt, "reply": reply}) for prompt, reply in rows))
    return file


@pytest.fixture(scope="module")
def settings(pairs, tiny_preset):
    common = {"epochs": 3, "batch_size": 4, "seq_length": 128, "learning_rate": 1e-2, "precision": "float32"}
    return {**common, "data": pairs, "language_model": str(tiny_preset), "patience": 5}


@pytest.fixture(scope="module")
def run(settings, tmp_path_factory):
    return tfhub_ft.train("dialogue", output_dir=tmp_path_factory.mktemp("runs") / "run", **settings)


def test_train_lowers_the_perplexity_of_dialogues(run):
    before, after = run.metrics["untrained"], run.metrics["test"]
    assert after["perplexity"] < 0.8 * before["perplexity"]
    assert before["reply_tokens"] == after["reply_tokens"] > 0
    assert {"distinct_1", "distinct_2"} < set(after) and set(after) - {"intervals"} == set(before)


def test_lora_updates_of_dialogues_are_merged_and_saved(run):
    assert run.metrics["train"]["trained_weights"] < 4000
    assert (run.path / "adapter.safetensors").stat().st_size < 30_000
    layer = run.load_model().get_layer("token_model").get_layer("language_model")
    assert not any("lora" in weight.path for weight in layer.weights)


def test_evaluate_dialogues_equals_the_scores_of_training(run, settings, tmp_path):
    rows = settings["data"].read_text().splitlines()
    test = tmp_path / "test.jsonl"
    test.write_text("\n".join(rows[line - 1] for line in run.splits["test"]["lines"]))
    scores = tfhub_ft.evaluate(run, data=test, report=tmp_path / "report.html")
    assert scores["perplexity"] == pytest.approx(run.metrics["test"]["perplexity"], rel=0.02)
    assert "true reply" in (tmp_path / "report.html").read_text()


def test_report_has_replies_before_and_after_training(run):
    page = (run.path / "report.html").read_text()
    assert all(name in page for name in ("true reply", "before", "trained", "The language model"))


def test_train_writes_replies_to_test_rows(run):
    assert len(run.predictions) == run.splits["test"]["rows"]
    assert list(run.predictions[0]) == ["prompt", "reply", "prediction"]


def test_dialogue_run_predicts_a_reply(run):
    (answer,) = tfhub_ft.predict(run, ["good goose"])
    assert set(answer) == {"reply"} and isinstance(answer["reply"], str)


@pytest.mark.slow
def test_train_all_weights_with_accumulated_gradients(settings, tmp_path):
    arguments = {**settings, "lora_rank": 0, "accumulate_steps": 2, "epochs": 1, "learning_rate": 1e-3}
    run = tfhub_ft.train("dialogue", output_dir=tmp_path / "run", **arguments)
    assert run.metrics["train"]["trained_weights"] > 20_000
    assert not (run.path / "adapter.safetensors").exists()


def test_mirrored_dialogues_train_like_one_device(settings, run, tmp_path):
    shared = tfhub_ft.train("dialogue", output_dir=tmp_path / "run", strategy="mirrored", **settings)
    assert shared.metrics["test"]["perplexity"] == pytest.approx(run.metrics["test"]["perplexity"], rel=1e-4)


def test_resume_continues_dialogues(settings, run, tmp_path, monkeypatch):
    from tfhub_ft.training.callbacks import Checkpoints

    ends = Checkpoints.on_epoch_end

    def stopped(self, epoch, logs=None):
        ends(self, epoch, logs)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "on_epoch_end", stopped)
    with pytest.raises(KeyboardInterrupt):
        tfhub_ft.train("dialogue", output_dir=tmp_path / "run", **settings)
    monkeypatch.undo()
    resumed = tfhub_ft.train("dialogue", output_dir=tmp_path / "run", resume=True)
    assert resumed.metrics["test"]["perplexity"] == pytest.approx(run.metrics["test"]["perplexity"], rel=1e-5)


def test_dry_run_counts_the_weights_of_dialogues(settings):
    plan = dry_run("dialogue", **settings)
    assert plan["weights"]["trained"] < 4000 < plan["weights"]["all"]
    assert plan["splits"]["train"]["rows"] == 42 and plan["seconds"] > 0


@pytest.mark.slow
def test_train_gpt2_without_a_chat_template(settings, tiny_gpt2_preset, tmp_path):
    arguments = {**settings, "language_model": str(tiny_gpt2_preset), "epochs": 1}
    run = tfhub_ft.train("dialogue", output_dir=tmp_path / "run", **arguments)
    assert Run(run.path).metrics["test"]["perplexity"] > 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_targets": "queri"}, "--lora-targets queri: must be some of"),
        ({"lora_rank": 99}, "--lora-rank 99: must be from 1 to 32"),
        ({"seq_length": 16}, r"pairs\.jsonl, line \d+: is too long"),
        ({"language_model": "missing/folder"}, "missing/folder"),
    ],
)
def test_train_refuses_invalid_settings_of_dialogues(settings, changes, message, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        tfhub_ft.train("dialogue", output_dir=tmp_path / "run", **{**settings, **changes})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_export_encoder_refuses_a_dialogue_run(run, tmp_path):
    with pytest.raises(InputError, match="expected a run with an encoder, got one with the language model"):
        export_encoder(run, tmp_path / "encoder")
    assert not list(tmp_path.iterdir())
