"""Rows longer than the encoder's maximum sequence length."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft import HubEncoder, HubPreprocessor
from tfhub_ft.encoders.truncation import truncate
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError

MAX_LENGTH = 64
LONG = "the good film was a terrible room " * 30


def tokens_of(tiny_pair, texts, seq_length):
    layer = HubPreprocessor(str(tiny_pair), seq_length=seq_length)
    return {name: ids.numpy() for name, ids in layer(texts).items()}


def token_inputs(length=None):
    names = ("input_word_ids", "input_mask", "input_type_ids")
    return {name: keras.Input((length,), dtype="int32", name=name) for name in names}


@pytest.mark.parametrize("texts", [[LONG, "good film"], [[LONG, "good", LONG], ["bad film", LONG, LONG]]])
def test_truncate_matches_the_preprocessor(tiny_pair, texts):
    truncated = truncate({name: tf.constant(ids) for name, ids in tokens_of(tiny_pair, texts, 900).items()}, MAX_LENGTH)
    expected = tokens_of(tiny_pair, texts, MAX_LENGTH)
    rows = np.array([len(texts) == 2 and isinstance(texts[0], str)] * len(truncated["input_mask"]))
    for name, ids in truncated.items():
        assert ids.shape == expected[name].shape
        np.testing.assert_array_equal(ids[rows], expected[name][rows])
        # The preprocessor truncates the longer text of a pair, `truncate` the end; both keep the last [SEP].
        np.testing.assert_array_equal(ids[:, -1], expected[name][:, -1])


def test_truncate_keeps_short_rows(tiny_pair):
    tokens = tokens_of(tiny_pair, ["good film", ""], 8)
    for max_length in (tokens["input_mask"].shape[1], MAX_LENGTH):
        for name, ids in truncate(tokens, max_length).items():
            np.testing.assert_array_equal(ids, tokens[name])


@pytest.mark.parametrize(
    "recipe", ["sentiment", "similarity", "regression", "pair", "ner", "intent", "multilabel", "qa", "adapt"]
)
def test_recipes_refuse_too_long_sequences(tiny_pair, recipe):
    loaded = load_recipe(recipe)
    settings = loaded.settings.replaced({"encoder": str(tiny_pair), "seq_length": MAX_LENGTH + 1})
    with pytest.raises(InputError, match="^--seq-length 65: the encoder [^\n]* reads at most 64 tokens$"):
        loaded.build(settings, ["a", "b"])


@pytest.mark.parametrize("implementation", ["native", "graph"])
def test_composed_layers_refuse_too_long_sequences(tiny_pair, implementation):
    text = keras.Input((), dtype="string")
    encoder = HubEncoder(str(tiny_pair), implementation=implementation)
    for padding in ("longest", "max_length"):
        tokens = HubPreprocessor(str(tiny_pair), seq_length=MAX_LENGTH + 1, padding=padding)(text)
        with pytest.raises(InputError, match="^--seq-length 65: the encoder [^\n]* reads at most 64 tokens$"):
            encoder(tokens)
    with pytest.raises(InputError, match="--seq-length 70: "):
        encoder(token_inputs(70))
    encoder(HubPreprocessor(str(tiny_pair), seq_length=MAX_LENGTH)(text))
