import pytest
import tensorflow as tf

from tfhub_ft import dialogue_model
from tfhub_ft.language_models.packing import INPUTS
from tfhub_ft.utils.errors import InputError


def test_dialogue_model_returns_sums_for_each_reply(tiny_preset):
    model = dialogue_model(language_model=str(tiny_preset), seq_length=64, name="bot")
    sums = model([tf.constant(["good", "my nest"]), tf.constant(["the goose", "you"])]).numpy()
    assert (model.name, sums.shape, sums.dtype) == ("bot", (2, 3), "float32")
    assert (sums[:, 0] > 0).all() and (sums[:, 1] <= sums[:, 2]).all()
    assert set(model.get_layer("token_model").input) == set(INPUTS)


def test_dialogue_model_rejects_too_long_windows(tiny_gpt2_preset):
    with pytest.raises(InputError, match="--seq-length 512: .* reads at most 256 tokens"):
        dialogue_model(language_model=str(tiny_gpt2_preset), seq_length=512)
