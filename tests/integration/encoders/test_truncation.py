import numpy as np
import pytest
import tensorflow as tf

from tests.unit.encoders.test_truncation import LONG, MAX_LENGTH, token_inputs, tokens_of
from tfhub_ft import HubEncoder


@pytest.mark.parametrize("implementation", ["native", "graph"])
@pytest.mark.parametrize("in_graph", [False, True])
def test_encoder_truncates_long_rows(tiny_pair, implementation, in_graph):
    encoder = HubEncoder(str(tiny_pair), implementation=implementation)
    call = encoder
    if in_graph:
        specs = {name: tf.TensorSpec((None, None), tf.int32) for name in token_inputs()}
        call = tf.function(encoder, input_signature=[specs])
    long, truncated = (tokens_of(tiny_pair, [LONG, "good film"], length) for length in (100, MAX_LENGTH))
    outputs, expected = call(long), encoder(truncated)
    np.testing.assert_allclose(outputs["pooled_output"], expected["pooled_output"], atol=1e-5)
    for hidden in (outputs["sequence_output"], *outputs["encoder_outputs"]):
        assert hidden.shape == (2, 100, 32)
        assert not np.any(hidden[:, MAX_LENGTH:])
    np.testing.assert_allclose(outputs["sequence_output"][:, :MAX_LENGTH], expected["sequence_output"], atol=1e-5)
    short = tokens_of(tiny_pair, ["good film"], MAX_LENGTH)
    np.testing.assert_allclose(call(short)["pooled_output"], outputs["pooled_output"][1:], atol=1e-5)
