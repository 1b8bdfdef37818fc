import numpy as np
import pytest

from tfhub_ft.language_models.gguf_file import read_gguf
from tfhub_ft.language_models.numpy_llama import llama_logits

IDS = [1, 30, 50, 270]


@pytest.fixture(scope="module")
def model(tiny_gguf):
    return read_gguf(tiny_gguf)


def test_llama_logits_depend_only_on_earlier_tokens(model):
    logits = llama_logits(model, IDS)
    assert logits.shape == (4, len(model.tokenizer.tokens)) and logits.dtype == np.float32
    np.testing.assert_allclose(llama_logits(model, IDS[:2]), logits[:2], rtol=1e-4, atol=1e-5)


def test_llama_logits_depend_on_positions(model):
    assert np.abs(llama_logits(model, [30, 1, 50])[-1] - llama_logits(model, [1, 30, 50])[-1]).max() > 1e-3


def test_llama_logits_reject_unknown_ids(model):
    with pytest.raises(IndexError):
        llama_logits(model, [len(model.tokenizer.tokens)])
