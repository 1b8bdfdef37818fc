import keras
import keras_hub
import numpy as np
import pytest

from tfhub_ft.language_models.presets import load_causal_lm
from tfhub_ft.language_models.tied_embeddings import keep_tied_embeddings

IDS = np.array([[1, 9, 8, 7]])


def logits(causal_lm):
    return np.asarray(causal_lm({"token_ids": IDS, "padding_mask": np.ones_like(IDS)}))


@pytest.fixture(scope="module")
def tied(tiny_preset):
    causal_lm = load_causal_lm(str(tiny_preset))
    assert causal_lm.backbone.token_embedding.tie_weights
    return causal_lm


def test_keras_file_keeps_tied_embeddings(tied, tmp_path):
    tied.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.backbone.token_embedding.tie_weights
    np.testing.assert_array_equal(logits(loaded), logits(tied))


def test_preset_keeps_tied_embeddings(tied, tmp_path):
    tied.save_to_preset(str(tmp_path / "preset"))
    loaded = keras_hub.models.CausalLM.from_preset(str(tmp_path / "preset"))
    assert loaded.backbone.token_embedding.tie_weights
    np.testing.assert_array_equal(logits(loaded), logits(tied))


def test_config_says_that_embeddings_are_not_tied():
    keep_tied_embeddings()
    sizes = {"vocabulary_size": 9, "num_layers": 1, "hidden_dim": 4, "intermediate_dim": 4}
    backbone = keras_hub.models.Llama3Backbone(**sizes, num_query_heads=1, num_key_value_heads=1)
    assert backbone.get_config()["tie_word_embeddings"] is False


def test_kerashub_does_not_save_tied_embeddings(tied):
    """Once this fails, KerasHub saves them: require its version and remove keep_tied_embeddings."""
    get_config = keras_hub.models.LlamaBackbone.get_config.__wrapped__
    assert "tie_word_embeddings" not in get_config(tied.backbone)
