import json

import numpy as np
import pytest

from tests.unit.encoders.test_architecture_detection import TOKENS
from tfhub_ft.encoders import HubEncoder
from tfhub_ft.encoders.architecture_detection import native_spec


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_FT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def distilbert(vocab_size, hidden_size, num_attention_heads, max_sequence_length):
    """Return a DistilBERT made of tf-models' layers, like https://github.com/jeongukjae/huggingface-to-tfhub."""
    import tf_keras
    from official.nlp.modeling import layers

    ids, mask = (tf_keras.Input((None,), dtype="int32", name=name) for name in ("input_word_ids", "input_mask"))
    x = layers.OnDeviceEmbedding(vocab_size, hidden_size, name="word_embeddings")(ids)
    x = tf_keras.layers.Add()([x, layers.PositionEmbedding(max_sequence_length, name="position_embedding")(x)])
    x = tf_keras.layers.LayerNormalization(name="embeddings/layer_norm", epsilon=1e-12)(x)
    x, seen, outputs = tf_keras.layers.Dropout(0.1)(x), layers.SelfAttentionMask()(x, mask), []
    for number in range(2):
        block = layers.TransformerEncoderBlock(
            num_attention_heads, 24, "gelu", output_dropout=0.1, name=f"transformer/layer_{number}"
        )
        x = block([x, seen])
        outputs.append(x)
    return tf_keras.Model([ids, mask], {"sequence_output": x, "pooled_output": x[:, 0], "encoder_outputs": outputs})


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """Return a function that exports an encoder of tf-models, like TF Hub's ALBERT, ELECTRA and DistilBERT."""
    pytest.importorskip("official", reason="needs tf-models-official, the extra [models]")

    def export(name):
        import tf_keras
        from official.nlp.modeling import networks

        sizes = {"vocab_size": 40, "hidden_size": 16, "num_attention_heads": 2, "max_sequence_length": 32}
        network = {
            "albert": lambda: networks.AlbertEncoder(
                **sizes, embedding_width=8, num_layers=3, intermediate_size=24, dict_outputs=True
            ),
            "electra": lambda: networks.BertEncoder(
                **sizes, embedding_width=8, num_layers=2, intermediate_size=24, dict_outputs=True
            ),
            "distilbert": lambda: distilbert(**sizes),
        }[name]()
        random = np.random.default_rng(0)
        for variable in network.variables:
            center = 1.0 if "gamma" in variable.name else 0.0
            variable.assign(center + random.normal(0, 0.2, variable.shape))
        inputs = {tensor.name: tensor for tensor in network.inputs}
        folder = tmp_path_factory.mktemp("encoders") / name
        tf_keras.Model(inputs, network.output).save(str(folder), include_optimizer=False, save_format="tf")
        return folder

    return export


@pytest.mark.parametrize("name", ["albert", "distilbert", pytest.param("electra", marks=pytest.mark.slow)])
def test_other_families_are_detected_by_their_weights(export, name):
    folder = export(name)
    native, graph = (HubEncoder(str(folder), implementation=each)(TOKENS) for each in ("native", "graph"))
    is_token = TOKENS["input_mask"] > 0
    np.testing.assert_allclose(native["pooled_output"], graph["pooled_output"], atol=1e-5)
    np.testing.assert_allclose(native["sequence_output"][is_token], graph["sequence_output"][is_token], atol=1e-5)


def test_native_spec_is_cached(tiny_pair, cache, monkeypatch):
    first = native_spec(tiny_pair / "encoder", "tiny")
    monkeypatch.setattr("tfhub_ft.encoders.architecture_detection.open_module", None)
    assert native_spec(tiny_pair / "encoder", "tiny") == json.loads(json.dumps(first))
    assert len(list((cache / "native").iterdir())) == 1
