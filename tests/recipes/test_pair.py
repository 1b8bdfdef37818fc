"""Two texts and their label: read together, and compared as embedded apart."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tfhub_ft.recipes import pair

import tfhub_ft
from tests.conftest import THINGS, TINY_SETTINGS, write_csv


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


def test_columns_of_pair_files_are_found_by_name(trained):
    assert trained.labels == ["different", "same"]


@pytest.mark.slow
def test_run_and_export_agree(trained, tmp_path):
    run, exported = trained, tfhub_ft.export(trained, output_dir=tmp_path / "export")
    pairs = [("the film 3", "a film so nice"), ("the hotel", "a music so nice")]
    by_run, by_export = (tfhub_ft.predict(model, pairs) for model in (run, exported))
    for one, other in zip(by_run, by_export):
        assert one["label"] == other["label"]
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_a_reloaded_run_scores_what_training_said(trained):
    run = trained
    lines = set(run.splits["test"]["lines"])
    whole = Path(run.splits["test"]["file"]).read_text().splitlines()
    data = run.path / "test_rows.csv"
    data.write_text("\n".join(line for number, line in enumerate(whole, 1) if number in {1, *lines}) + "\n")
    assert tfhub_ft.evaluate(run, data=data)["log_loss"] == pytest.approx(run.metrics["test"]["log_loss"], rel=1e-4)


def test_the_encoder_is_there_once(tiny_pair):
    model = pair.build_model(encoder=str(tiny_pair))
    encoders = [layer for layer in model._flatten_layers() if hasattr(layer, "module") and layer.name == "encoder"]
    assert len(encoders) == 1
    assert model((tf.constant(["a good film"]), tf.constant(["bad"]))).shape == (1, 2)
