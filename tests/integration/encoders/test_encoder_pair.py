import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
from click.testing import CliRunner

import tfhub_ft
from tests.conftest import TINY_SETTINGS
from tfhub_ft import HubEncoder, HubPreprocessor
from tfhub_ft.cli.main import group
from tfhub_ft.encoders.hub_api_check import verify_encoder
from tfhub_ft.exports.encoder import export_encoder
from tfhub_ft.run import Run
from tfhub_ft.utils.errors import InputError


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "mine"
    done = CliRunner().invoke(group, ["encoders", "export", str(tiny_run), str(folder)])
    assert done.exit_code == 0, done.output
    return folder


def test_exported_encoder_follows_the_text_api(exported):
    assert [finding for finding in verify_encoder(exported) if not finding.ok] == []


@pytest.mark.sample
def test_exported_encoder_has_the_fine_tuned_weights(exported, tiny_run, tiny_pair):
    trained = Run(tiny_run).load_model().get_layer("token_model").get_layer("encoder").values
    for name, value in HubEncoder(str(exported)).values.items():
        np.testing.assert_array_equal(value, trained[name])
    texts = tf.constant(["a good film", "Terrible food!"])
    after, before = HubPreprocessor(str(exported))(texts), HubPreprocessor(str(tiny_pair))(texts)
    np.testing.assert_array_equal(after["input_word_ids"], before["input_word_ids"])


def test_exported_encoder_loads_and_trains_again(exported, reviews_csv, tmp_path):
    tokens = HubPreprocessor(str(exported))(tf.constant(["a good film"]))
    assert hub.load(str(exported / "encoder"))(tokens)["pooled_output"].shape == (1, 32)
    run = tfhub_ft.train(
        "topic", data=reviews_csv, encoder=str(exported), output_dir=tmp_path / "run", **{**TINY_SETTINGS, "epochs": 1}
    )
    assert run.finished


@pytest.mark.parametrize("implementation", [pytest.param("graph", marks=pytest.mark.slow), "native"])
def test_write_pair_writes_the_current_weights(tiny_pair, tmp_path, implementation):
    from tfhub_ft.encoders.encoder_pair import write_pair

    encoder = HubEncoder(str(tiny_pair), implementation=implementation)
    encoder.weights[0].assign(encoder.weights[0] * 2)
    write_pair(encoder, HubPreprocessor(str(tiny_pair)), tmp_path / "pair")
    again = HubEncoder(str(tmp_path / "pair"))
    for name, value in encoder.values.items():
        if name in again.values:
            np.testing.assert_array_equal(again.values[name], value)


def test_export_refuses_an_existing_folder(tiny_run, tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match="already exists"):
        export_encoder(tiny_run, tmp_path / "taken")
    assert list((tmp_path / "taken").iterdir()) == []


def test_export_refuses_a_folder_that_is_not_a_run(tmp_path):
    with pytest.raises(InputError, match="not a run folder|not found"):
        export_encoder(tmp_path, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
