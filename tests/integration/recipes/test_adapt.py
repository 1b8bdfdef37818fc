"""The recipe adapt: an encoder adapted to texts, and used by another recipe."""

import numpy as np
import pytest
import tensorflow as tf

import tfhub_ft
from tests.conftest import TINY_SETTINGS, make_reviews
from tfhub_ft.encoders import HubEncoder
from tfhub_ft.encoders.hub_api_check import verify_encoder

SETTINGS = {name: value for name, value in TINY_SETTINGS.items() if name != "dropout"}


@pytest.fixture(scope="module")
def adapted(tiny_pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapt")
    data = folder / "texts.txt"
    data.write_text("".join(text + "\n" for text, _ in make_reviews(240)))
    run = tfhub_ft.train("adapt", data=data, encoder=tiny_pair, output_dir=folder / "run", **SETTINGS)
    return run, data


def test_adapt_lowers_the_perplexity(adapted):
    run, data = adapted
    assert tfhub_ft.evaluate(run, data=data)["rows"] == 240
    words = len(run.load_model().get_layer("preprocessor").vocabulary)
    assert run.metrics["test"]["perplexity"] < 0.5 * words


def test_adapt_scores_each_test_row(adapted):
    run, data = adapted
    texts = data.read_text().splitlines()
    predictions = run.predictions
    assert [each["text"] for each in predictions] == [texts[int(each["line"]) - 1] for each in predictions]
    counts = [int(each["masked_tokens"]) for each in predictions]
    assert sum(counts) == run.metrics["test"]["masked_tokens"]
    correct = sum(float(each["masked_accuracy"]) * count for each, count in zip(predictions, counts))
    assert correct / sum(counts) == pytest.approx(run.metrics["test"]["masked_accuracy"], abs=1e-4)


def test_adapt_run_is_an_encoder_for_other_recipes(adapted, tiny_pair, reviews_csv, tmp_path):
    run, _ = adapted
    assert all(finding.ok for finding in verify_encoder(run.path / "encoder", run.path / "preprocessor"))
    first, second = (HubEncoder(str(folder)).values for folder in (tiny_pair, run.path))
    assert any(np.abs(first[name] - second[name]).max() > 1e-3 for name in first)
    inside = run.load_model().get_layer("token_model").get_layer("encoder").values
    assert second.keys() == inside.keys()
    for name, value in second.items():
        np.testing.assert_array_equal(value, inside[name])
    classifier = tfhub_ft.train(
        "sentiment", data=reviews_csv, encoder=run.path, output_dir=tmp_path / "run", **{**TINY_SETTINGS, "epochs": 1}
    )
    assert classifier.finished


MASKED = ["a [MASK] film and so [MASK]", "no mask here"]


@pytest.mark.slow
def test_adapt_export_fills_masks_like_its_run(adapted, tmp_path):
    run, _ = adapted
    exported = tfhub_ft.export(run, output_dir=tmp_path / "export")
    by_run, by_export = (tfhub_ft.predict(model, MASKED) for model in (run, exported))
    assert by_run[0]["words"] == by_export[0]["words"]


def test_adapt_run_fills_masks(adapted):
    by_run = tfhub_ft.predict(adapted[0], MASKED)
    assert by_run[0]["filled"] == "a {} film and so {}".format(*by_run[0]["words"])
    assert [len(guesses) for guesses in by_run[0]["guesses"]] == [5, 5]
    assert by_run[1] == {"filled": "no mask here", "words": [], "guesses": []}


def test_adapt_reads_long_texts_to_their_end(adapted, tiny_pair, tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("good film and bad food and nice room " * 40 + "\n")
    run, _ = adapted
    scores = tfhub_ft.evaluate(run, data=path)
    assert scores["rows"] == 1
    assert scores["windows"] > 10


def test_build_model_of_adapt_returns_sums(tiny_pair):
    from tfhub_ft.recipes import adapt

    sums = adapt.build_model(encoder=str(tiny_pair), seq_length=16)(tf.constant(["good film and bad food"] * 3))
    assert sums.shape == (3, 3)
