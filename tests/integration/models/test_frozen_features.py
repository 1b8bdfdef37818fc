import json

import numpy as np
import pytest
from tfhub_ft.recipes import pair, phishing, sentiment, spam

import tfhub_ft
from tests.conftest import TINY_SETTINGS
from tfhub_ft.data.batches import tokenize
from tfhub_ft.models.frozen_features import FrozenFeatureExtractor

TEXTS = [("good film",), ("a very bad hotel and an awful room",), ("nice",)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_FT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def extractor_of(model):
    tokens = tokenize(model.get_layer("preprocessor"), TEXTS)
    return FrozenFeatureExtractor.of(model.get_layer("token_model"), tokens), tokens


@pytest.mark.parametrize(
    ("recipe", "freeze", "trained", "implementation"),
    [
        (sentiment, "all", 2, "native"),
        (phishing, "all-but-pooler", 4, "native"),
        (phishing, "all-but-pooler", 4, "graph"),
        (spam, "all", 2, "native"),
        (spam, "all-but-pooler", 2, "native"),
    ],
)
def test_parts_reproduce_the_network(tiny_pair, recipe, freeze, trained, implementation):
    model = recipe.build_model(str(tiny_pair), 2, seq_length=32, freeze=freeze, implementation=implementation)
    extractor, tokens = extractor_of(model)
    features = extractor.features(tokens, "float32")
    rows = np.arange(3)
    whole = model.get_layer("token_model")(tokens.batch(rows), training=False)
    np.testing.assert_allclose(extractor.head(features.batch(rows), training=False), whole, atol=1e-5)
    assert len(extractor.head.trainable_weights) == trained


def test_of_returns_none_if_two_outputs_are_used(tiny_pair):
    model = pair.build_model(str(tiny_pair), seq_length=32, freeze="all-but-pooler")
    tokens = tokenize(model.get_layer("preprocessor"), [("good film", "nice"), ("a bad room", "an awful hotel")])
    assert FrozenFeatureExtractor.of(model.get_layer("token_model"), tokens) is None


@pytest.mark.parametrize(("recipe", "freeze"), [(sentiment, "none"), (sentiment, "1"), (spam, "all-but-1")])
def test_of_returns_none_if_encoder_trains(tiny_pair, recipe, freeze):
    assert extractor_of(recipe.build_model(str(tiny_pair), 2, seq_length=32, freeze=freeze))[0] is None


def test_features_are_cached_by_weights(tiny_pair, cache, capsys):
    model = sentiment.build_model(str(tiny_pair), 2, seq_length=32, freeze="all")
    extractor, tokens = extractor_of(model)
    first = extractor.features(tokens, "float32").features
    assert "Encoding 3 rows once" in capsys.readouterr().err
    np.testing.assert_array_equal(extractor.features(tokens, "float32").features, first)
    assert "features of 3 rows are in the cache" in capsys.readouterr().err
    weight = model.get_layer("token_model").get_layer("encoder").weights[0]
    weight.assign(weight + 1)
    other, _ = extractor_of(model)
    assert (other.features(tokens, "float32").features != first).any()


@pytest.mark.parametrize("freeze", ["all", pytest.param("all-but-pooler", marks=pytest.mark.slow)])
def test_evaluate_reads_features_of_training(tiny_pair, reviews_csv, tmp_path, capsys, freeze):
    options = {**TINY_SETTINGS, "encoder": tiny_pair, "freeze": freeze}
    run = tfhub_ft.train("sentiment", output_dir=tmp_path / "run", data=reviews_csv, **options)
    encoded = capsys.readouterr().err.count("once, as the encoder is frozen")
    assert encoded == 3, "train, validation and test rows"
    rows = reviews_csv.read_text().splitlines()
    test = tmp_path / "test.csv"
    test.write_text("\n".join([rows[0], *(rows[number - 1] for number in run.splits["test"]["lines"])]) + "\n")
    scores = tfhub_ft.evaluate(run, data=test)
    assert "once, as the encoder is frozen" not in capsys.readouterr().err
    assert scores == run.metrics["test"]


@pytest.mark.parametrize("freeze", [pytest.param("all", marks=pytest.mark.slow), "all-but-pooler"])
def test_training_on_features_equals_training_without(tiny_pair, reviews_csv, tmp_path, freeze):
    options = {**TINY_SETTINGS, "data": reviews_csv, "encoder": tiny_pair, "freeze": freeze, "precision": "float32"}
    cached_run, recomputed = (
        tfhub_ft.train("sentiment", output_dir=tmp_path / str(cached), cache_features=cached, **options)
        for cached in (True, False)
    )
    np.testing.assert_allclose(
        cached_run.metrics["test"]["log_loss"], recomputed.metrics["test"]["log_loss"], atol=1e-4
    )
    histories = [(run.path / "history.csv").read_text().splitlines() for run in (cached_run, recomputed)]
    assert [len(lines) for lines in histories] == [TINY_SETTINGS["epochs"] + 1] * 2
    losses = [[float(line.split(",")[2]) for line in lines[1:]] for lines in histories]
    np.testing.assert_allclose(*losses, atol=1e-3)
    probabilities = [
        tfhub_ft.predict(run, ["good film"])[0]["probabilities"]["positive"] for run in (cached_run, recomputed)
    ]
    np.testing.assert_allclose(*probabilities, atol=1e-4)
    assert json.loads((cached_run.path / "metrics.json").read_text())["train"]["rows"] == 112


@pytest.mark.sample
def test_evaluate_reads_features_of_scored_rows(tiny_pair, reviews_csv, tmp_path, capsys):
    options = {**TINY_SETTINGS, "epochs": 1, "encoder": tiny_pair, "freeze": "all"}
    run = tfhub_ft.train("sentiment", train=reviews_csv, test=reviews_csv, output_dir=tmp_path / "run", **options)
    capsys.readouterr()
    scores = tfhub_ft.evaluate(run, data=reviews_csv)
    assert "features of 160 rows are in the cache" in capsys.readouterr().err
    assert scores["accuracy"] == run.metrics["test"]["accuracy"]
