import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft import HubEncoder, HubPreprocessor

MOST = 64


LONG = "the good film was a terrible room " * 30


def tokens_of(tiny_pair, texts, seq_length):
    layer = HubPreprocessor(str(tiny_pair), seq_length=seq_length)
    return {name: ids.numpy() for name, ids in layer(texts).items()}


def token_inputs(length=None):
    names = ("input_word_ids", "input_mask", "input_type_ids")
    return {name: keras.Input((length,), dtype="int32", name=name) for name in names}


@pytest.mark.parametrize("implementation", ["native", "graph"])
@pytest.mark.parametrize("in_graph", [False, True])
def test_the_encoder_reads_long_rows_as_cut_ones(tiny_pair, implementation, in_graph):
    encoder = HubEncoder(str(tiny_pair), implementation=implementation)
    call = encoder
    if in_graph:
        specs = {name: tf.TensorSpec((None, None), tf.int32) for name in token_inputs()}
        call = tf.function(encoder, input_signature=[specs])
    long, cut = (tokens_of(tiny_pair, [LONG, "good film"], most) for most in (100, MOST))
    outputs, expected = call(long), encoder(cut)
    np.testing.assert_allclose(outputs["pooled_output"], expected["pooled_output"], atol=1e-5)
    for hidden in (outputs["sequence_output"], *outputs["encoder_outputs"]):
        assert hidden.shape == (2, 100, 32)
        assert not np.any(hidden[:, MOST:])
    np.testing.assert_allclose(outputs["sequence_output"][:, :MOST], expected["sequence_output"], atol=1e-5)
    short = tokens_of(tiny_pair, ["good film"], MOST)
    np.testing.assert_allclose(call(short)["pooled_output"], outputs["pooled_output"][1:], atol=1e-5)
