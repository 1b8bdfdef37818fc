import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
from scipy.special import erf

from tests.unit.encoders.test_hub_export import TOKENS, VOCABULARY
from tfhub_ft import HubEncoder
from tfhub_ft.encoders.bert_forward import Architecture
from tfhub_ft.encoders.hub_api_check import verify_encoder
from tfhub_ft.encoders.hub_export import MASKED_LM, write_encoder, write_preprocessor


@pytest.fixture(scope="module")
def encoder(tiny_pair):
    return HubEncoder(str(tiny_pair), implementation="native")


@pytest.fixture(scope="module")
def written(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "encoder"
    architecture = Architecture(**{**encoder.spec["architecture"], "dropout": 0.2, "attention_dropout": 0.3})
    write_encoder(folder, encoder.values, architecture)
    return folder


def test_written_encoder_follows_the_text_api(written):
    findings = verify_encoder(written)
    assert [finding for finding in findings if not finding.ok] == []


def test_shared_layers_are_written_once(encoder, tmp_path):
    values = {name.replace("layer_0/", ""): v for name, v in encoder.values.items() if "layer_1/" not in name}
    architecture = Architecture(**{**encoder.spec["architecture"], "layers": 3, "shared": True})
    write_encoder(tmp_path / "shared", values, architecture)
    layer = HubEncoder(str(tmp_path / "shared"), implementation="native")
    assert layer.spec["architecture"] == encoder.spec["architecture"] | {"layers": 3, "shared": True}
    assert len(layer(TOKENS)["encoder_outputs"]) == 3


def test_masked_lm_head_becomes_mlm(encoder, tmp_path):
    random = np.random.default_rng(0)
    shapes = dict(zip(MASKED_LM, [(32, 32), (32,), (32,), (32,), (318,)], strict=True))
    head = {name: random.normal(0, 0.3, shape).astype("float32") for name, shape in shapes.items()}
    write_encoder(tmp_path / "encoder", encoder.values, Architecture(**encoder.spec["architecture"]), masked_lm=head)
    module = hub.load(str(tmp_path / "encoder"))
    positions = tf.constant([[1, 3], [2, 0]])
    outputs = module.mlm({**TOKENS, "masked_lm_positions": positions}, training=False)
    states = encoder(TOKENS)["sequence_output"].numpy()[[[0], [1]], positions.numpy()]
    kernel, bias, gamma, beta, output_bias = head.values()
    inner = states @ kernel + bias
    inner = 0.5 * inner * (1 + erf(inner / np.sqrt(2)))
    normed = (inner - inner.mean(-1, keepdims=True)) / inner.std(-1, keepdims=True) * gamma + beta
    expected = normed @ encoder.values["word_embeddings/embeddings"].T + output_bias
    np.testing.assert_allclose(outputs["mlm_logits"], expected, atol=1e-4)
    np.testing.assert_allclose(outputs["pooled_output"], encoder(TOKENS)["pooled_output"], atol=1e-5)
    assert len(module.trainable_variables) == 39
    assert len(module.mlm.trainable_variables) == 39 + 5
    assert HubEncoder(str(tmp_path / "encoder")).is_native
    layer = HubEncoder(str(tmp_path / "encoder"), implementation="graph")
    np.testing.assert_allclose(layer(TOKENS)["pooled_output"], encoder(TOKENS)["pooled_output"], atol=1e-5)


def test_pair_is_written_within_a_strategy(encoder, tmp_path):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        write_encoder(tmp_path / "encoder", encoder.values, Architecture(**encoder.spec["architecture"]))
        write_preprocessor(tmp_path / "preprocessor", VOCABULARY, do_lower_case=True, seq_length=8)
    np.testing.assert_allclose(
        hub.load(str(tmp_path / "encoder"))(TOKENS)["pooled_output"], encoder(TOKENS)["pooled_output"], atol=1e-5
    )
