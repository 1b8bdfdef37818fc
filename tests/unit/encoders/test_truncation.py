"""Rows with more tokens than an encoder reads."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft import HubEncoder, HubPreprocessor
from tfhub_ft.encoders.truncation import truncate
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError

MOST = 64
LONG = "the good film was a terrible room " * 30


def tokens_of(tiny_pair, texts, seq_length):
    layer = HubPreprocessor(str(tiny_pair), seq_length=seq_length)
    return {name: ids.numpy() for name, ids in layer(texts).items()}


def token_inputs(length=None):
    names = ("input_word_ids", "input_mask", "input_type_ids")
    return {name: keras.Input((length,), dtype="int32", name=name) for name in names}


@pytest.mark.parametrize("texts", [[LONG, "good film"], [[LONG, "good", LONG], ["bad film", LONG, LONG]]])
def test_truncate_cuts_as_the_preprocessor_does(tiny_pair, texts):
    cut = truncate({name: tf.constant(ids) for name, ids in tokens_of(tiny_pair, texts, 900).items()}, MOST)
    expected = tokens_of(tiny_pair, texts, MOST)
    rows = np.array([len(texts) == 2 and isinstance(texts[0], str)] * len(cut["input_mask"]))
    for name, ids in cut.items():
        assert ids.shape == expected[name].shape
        np.testing.assert_array_equal(ids[rows], expected[name][rows])
        # Of pairs the preprocessor cuts the longer text, and here the end is cut; both keep the last [SEP].
        np.testing.assert_array_equal(ids[:, -1], expected[name][:, -1])


def test_truncate_leaves_short_rows_alone(tiny_pair):
    tokens = tokens_of(tiny_pair, ["good film", ""], 8)
    for most in (tokens["input_mask"].shape[1], MOST):
        for name, ids in truncate(tokens, most).items():
            np.testing.assert_array_equal(ids, tokens[name])


@pytest.mark.parametrize("recipe", ["sentiment", "similarity", "pair", "ner", "intent", "multilabel", "qa", "adapt"])
def test_every_recipe_refuses_more_tokens_than_its_encoder_reads(tiny_pair, recipe):
    loaded = load_recipe(recipe)
    settings = loaded.settings.replaced({"encoder": str(tiny_pair), "seq_length": MOST + 1})
    with pytest.raises(InputError, match="^--seq-length 65: the encoder [^\n]* reads at most 64 tokens$"):
        loaded.build(settings, ["a", "b"])


@pytest.mark.parametrize("implementation", ["native", "graph"])
def test_layers_composed_by_hand_refuse_more_tokens_than_the_encoder_reads(tiny_pair, implementation):
    text = keras.Input((), dtype="string")
    encoder = HubEncoder(str(tiny_pair), implementation=implementation)
    for padding in ("longest", "max_length"):
        tokens = HubPreprocessor(str(tiny_pair), seq_length=MOST + 1, padding=padding)(text)
        with pytest.raises(InputError, match="^--seq-length 65: the encoder [^\n]* reads at most 64 tokens$"):
            encoder(tokens)
    with pytest.raises(InputError, match="--seq-length 70: "):
        encoder(token_inputs(70))
    encoder(HubPreprocessor(str(tiny_pair), seq_length=MOST)(text))
