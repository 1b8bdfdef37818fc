"""Recipes that embed two texts separately: the bi-encoder of similarity, and retrieval."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import tfhub_ft
from tests.conftest import THINGS, write_csv
from tfhub_ft.evaluation.compare_runs import compare
from tfhub_ft.run import Run
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import write_json

SETTINGS = {"epochs": 2, "learning_rate": 3e-3, "batch_size": 16, "seq_length": 32}


@pytest.fixture(scope="module")
def similarity(tiny_pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("similarity")
    random = np.random.default_rng(0)
    rows = []
    for number in range(100):
        words, shared = random.permutation(THINGS), number % 6
        second = [*words[:shared], *words[5 : 10 - shared]]
        rows.append((f"{' '.join(words[:5])} {number}", " ".join(second), str(shared)))
    data = write_csv(folder / "pairs.csv", rows, header=("sentence1", "sentence2", "score"))
    run = tfhub_ft.train(
        "similarity", data=data, mode="bi-encoder", encoder=tiny_pair, output_dir=folder / "run", **SETTINGS
    )
    return run, tfhub_ft.export(run, output_dir=folder / "export")


@pytest.mark.parametrize("freeze", ["all-but-pooler", "all"])
def test_train_refuses_to_freeze_all_weights(tiny_pair, tmp_path, freeze):
    rows = [(f"{one} film", f"{one} movie", str(number % 6)) for number, one in enumerate(THINGS * 4)]
    data = write_csv(tmp_path / "pairs.csv", rows, header=("sentence1", "sentence2", "score"))
    folder = tmp_path / "run"
    with pytest.raises(InputError, match=f"--freeze {freeze}: all weights are frozen"):
        tfhub_ft.train(
            "similarity", data=data, mode="bi-encoder", encoder=tiny_pair, output_dir=folder, freeze=freeze, **SETTINGS
        )
    assert not folder.exists()


def test_bi_encoder_score_is_the_cosine_of_its_embeddings(similarity):
    run, exported = similarity
    pairs = [("film movie food", "food movie film room"), ("hotel", "music story")]
    scores = [answer["score"] for answer in tfhub_ft.predict(run, pairs)]
    assert scores == pytest.approx([answer["score"] for answer in tfhub_ft.predict(exported, pairs)], abs=1e-5)
    embed = tf.saved_model.load(str(exported / "1")).signatures["embed"]
    first, second = (embed(text=tf.constant(texts))["embedding"].numpy() for texts in zip(*pairs))
    np.testing.assert_allclose(np.linalg.norm(first, axis=-1), 1, rtol=1e-5)
    low, high = map(float, run.labels)
    np.testing.assert_allclose((first * second).sum(-1) * (high - low) + low, scores, atol=1e-5)


def test_train_writes_predicted_scores_of_test_rows(similarity):
    run, _ = similarity
    predictions = run.predictions
    assert list(predictions[0]) == ["line", "sentence1", "sentence2", "score", "prediction"]
    predicted = tfhub_ft.predict(run, [(each["sentence1"], each["sentence2"]) for each in predictions])
    scores = [float(each["prediction"]) for each in predictions]
    assert scores == pytest.approx([each["score"] for each in predicted], abs=1e-4)


def test_compare_of_scores_lacks_counts_of_correct_rows(similarity):
    run, _ = similarity
    comparison = compare(run, run)
    assert comparison["scores"]["pearson"]["interval"] == [0, 0]
    assert "mcnemar" not in comparison
    assert "changed" not in comparison


@pytest.fixture(scope="module")
def retrieval(tiny_pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("retrieval")
    random = np.random.default_rng(0)
    rows = {}
    while len(rows) < 80:
        one, other = random.permutation(THINGS)[:2]
        prompt = f"my {one} and the {other}" if len(rows) % 2 else f"so {other} with {one} {len(rows)}"
        rows[prompt] = f"a {one} for the {other} {len(rows)}"
    data = folder / "replies.jsonl"
    data.write_text("".join(json.dumps({"prompt": p, "reply": r}) + "\n" for p, r in rows.items()))
    return tfhub_ft.train("retrieval", data=data, encoder=tiny_pair, output_dir=folder / "run", **SETTINGS), data


def test_retrieval_replies_from_its_training_rows(retrieval):
    run, _ = retrieval
    (answer,) = tfhub_ft.predict(run, ["my film and the room"])
    assert answer["reply"] in run.labels
    scores = [each["score"] for each in answer["replies"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 5


def test_train_writes_retrieved_replies_to_test_rows(retrieval):
    run, _ = retrieval
    predictions = run.predictions
    assert list(predictions[0]) == ["line", "prompt", "reply", "prediction", "score"]
    predicted = tfhub_ft.predict(run, [each["prompt"] for each in predictions])
    assert [each["prediction"] for each in predictions] == [each["reply"] for each in predicted]
    scores = [float(each["score"]) for each in predictions]
    assert scores == pytest.approx([each["score"] for each in predicted], abs=1e-4)


@pytest.mark.slow
def test_retrieval_export_replies_like_its_run(retrieval, tmp_path):
    run, _ = retrieval
    # As version 0.1 wrote both.
    run = Run(shutil.copytree(run.path, tmp_path / "run"))
    text = (run.path / "recipe.yaml").read_text(encoding="utf-8")
    (run.path / "recipe.yaml").write_text(text.replace("recipe: retrieval", "recipe: chat"), encoding="utf-8")
    (run.path / "thresholds.json").rename(run.path / "decision.json")
    write_json(tmp_path / "export" / "export.json", {"recipe": "chat", "labels": run.labels, "forms": []})
    exported = tfhub_ft.export(run, output_dir=tmp_path / "export")
    by_run, by_export = (tfhub_ft.predict(model, ["my film and the room"])[0] for model in (run, exported))
    assert [each["reply"] for each in by_run["replies"]] == [each["reply"] for each in by_export["replies"]]


def test_retrieval_is_scored_on_ten_candidates(retrieval):
    run, data = retrieval
    scores = tfhub_ft.evaluate(run, data=data)
    assert scores["rows"] == 80
    assert 0.1 < scores["recall_at_1_of_10"] <= scores["recall_at_3_of_10"] <= 1
