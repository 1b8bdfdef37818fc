"""The recipe pair: two texts, read together and compared by their embeddings."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score
from tfhub_ft.recipes import pair

import tfhub_ft
from tests.conftest import THINGS, TINY_SETTINGS, write_csv
from tfhub_ft.data.batches import tokenize
from tfhub_ft.metrics.calibration import probabilities_of
from tfhub_ft.models.heads import initialize_head


@pytest.fixture(scope="module")
def trained(tiny_pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    random = np.random.default_rng(0)
    rows = []
    for number in range(160):
        first, other = random.permutation(THINGS)[:2]
        same = number % 2
        rows.append((f"the {first} {number}", f"a {first if same else other} so nice", ("different", "same")[same]))
    data = write_csv(folder / "pairs.csv", rows, header=("question1", "question2", "is_duplicate"))
    return tfhub_ft.train("pair", data=data, encoder=tiny_pair, output_dir=folder / "run", **TINY_SETTINGS)


def test_pair_finds_its_columns_by_name(trained):
    assert trained.labels == ["different", "same"]


@pytest.mark.slow
def test_pair_export_predicts_like_its_run(trained, tmp_path):
    run, exported = trained, tfhub_ft.export(trained, output_dir=tmp_path / "export")
    pairs = [("the film 3", "a film so nice"), ("the hotel", "a music so nice")]
    by_run, by_export = (tfhub_ft.predict(model, pairs) for model in (run, exported))
    for one, other in zip(by_run, by_export):
        assert one["label"] == other["label"]
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_evaluate_pair_equals_the_scores_of_training(trained):
    run = trained
    lines = set(run.splits["test"]["lines"])
    whole = Path(run.splits["test"]["file"]).read_text().splitlines()
    data = run.path / "test_rows.csv"
    data.write_text("\n".join(line for number, line in enumerate(whole, 1) if number in {1, *lines}) + "\n")
    assert tfhub_ft.evaluate(run, data=data)["log_loss"] == pytest.approx(run.metrics["test"]["log_loss"], rel=1e-4)


@pytest.mark.parametrize("positive_means_alike", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_initialize_head_fits_the_cosine_weight(tiny_pair, seed, positive_means_alike):
    keras.utils.set_random_seed(seed)
    model = pair.build_model(encoder=str(tiny_pair))
    alike = np.arange(60) % 2 == 0
    pairs = [(f"the {THINGS[i % 10]}", f"the {THINGS[(i if same else i + 5) % 10]}") for i, same in enumerate(alike)]
    targets = (alike == positive_means_alike).astype("int32")
    network = model.get_layer("token_model")
    tokens = tokenize(model.get_layer("preprocessor"), pairs)
    initialize_head(network, tokens, targets, "softmax", pair.RECIPE.settings.seed)
    kernel = network.get_layer("logits").dense.get_weights()[0]
    assert (kernel[-1, 1] > kernel[-1, 0]) == positive_means_alike
    probabilities = probabilities_of(pair.RECIPE.task.make_score_fn(model)(tokens), "softmax")
    assert roc_auc_score(targets, probabilities[:, 1]) > 0.95


def test_initialize_head_fits_cosine_weights_of_three_labels(tiny_pair):
    model = pair.build_model(encoder=str(tiny_pair), num_classes=4)
    pairs = [(f"the {THINGS[i % 10]}", f"the {THINGS[(i + i % 3) % 10]}") for i in range(60)]
    network = model.get_layer("token_model")
    tokens = tokenize(model.get_layer("preprocessor"), pairs)
    # The rows have labels 0, 1 and 3 of four, and one row is out of scope.
    targets = np.array([(0, 1, 3)[i % 3] for i in range(59)] + [-1], "int32")
    initialize_head(network, tokens, targets, "softmax", pair.RECIPE.settings.seed)
    kernel = network.get_layer("logits").dense.get_weights()[0]
    assert np.count_nonzero(kernel[-1]) == 3 and kernel[-1].argmax() == 0


def test_pair_model_has_one_encoder(tiny_pair):
    model = pair.build_model(encoder=str(tiny_pair))
    encoders = [layer for layer in model._flatten_layers() if hasattr(layer, "module") and layer.name == "encoder"]
    assert len(encoders) == 1
    assert model((tf.constant(["a good film"]), tf.constant(["bad"]))).shape == (1, 2)
