import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub

from tfhub_ft import HubEncoder
from tfhub_ft.encoders.hub_export import write_encoder
from tfhub_ft.encoders.native import Architecture
from tfhub_ft.encoders.verification import verify_encoder


@pytest.fixture(scope="module")
def encoder(tiny_pair):
    return HubEncoder(str(tiny_pair), implementation="native")


@pytest.fixture(scope="module")
def written(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "encoder"
    architecture = Architecture(**{**encoder.spec["architecture"], "dropout": 0.2, "attention_dropout": 0.3})
    write_encoder(folder, encoder.values, architecture)
    return folder


TOKENS = {
    "input_word_ids": tf.constant([[3, 70, 80, 4, 90, 4], [3, 90, 4, 0, 0, 0]]),
    "input_mask": tf.constant([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]]),
    "input_type_ids": tf.constant([[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]]),
}


def test_a_written_encoder_follows_the_text_api(written):
    findings = verify_encoder(written)
    assert [finding for finding in findings if not finding.ok] == []


def test_a_written_encoder_answers_as_the_layer_does(encoder, written):
    module = hub.load(str(written))
    theirs, ours = module(TOKENS), encoder(TOKENS)
    for output in ("pooled_output", "sequence_output"):
        np.testing.assert_allclose(theirs[output], ours[output], atol=1e-5)
    assert len(theirs["encoder_outputs"]) == 2
    served = module.signatures["serving_default"](**TOKENS)
    np.testing.assert_allclose(served["pooled_output"], ours["pooled_output"], atol=1e-5)


def test_it_is_recognized_with_its_dropout(written):
    spec = HubEncoder(str(written), implementation="native").spec
    assert (spec["architecture"]["dropout"], spec["architecture"]["attention_dropout"]) == (0.2, 0.3)


def test_it_trains_by_its_graph(written):
    layer = HubEncoder(str(written), implementation="graph", seed=1)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(TOKENS, training=True)["pooled_output"] ** 2)
    gradients = tape.gradient(loss, [v.value for v in layer.trainable_variables])
    assert all(gradient is not None for gradient in gradients)


def test_layers_that_share_their_weights_are_written_once(encoder, tmp_path):
    values = {name.replace("layer_0/", ""): v for name, v in encoder.values.items() if "layer_1/" not in name}
    architecture = Architecture(**{**encoder.spec["architecture"], "layers": 3, "shared": True})
    write_encoder(tmp_path / "shared", values, architecture)
    layer = HubEncoder(str(tmp_path / "shared"), implementation="native")
    assert layer.spec["architecture"] == encoder.spec["architecture"] | {"layers": 3, "shared": True}
    assert len(layer(TOKENS)["encoder_outputs"]) == 3
