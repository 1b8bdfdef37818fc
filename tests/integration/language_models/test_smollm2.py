"""The language model of the catalog, compared with its GGUF file."""

import numpy as np
import pytest
import tensorflow as tf

from tests.unit.language_models.test_byte_pair import reference, varied_texts
from tfhub_ft.language_models.gguf_file import read_gguf
from tfhub_ft.language_models.numpy_llama import llama_logits
from tfhub_ft.language_models.presets import CATALOG, NAME, chat_template, fetch_gguf, load_causal_lm

pytestmark = pytest.mark.slow

QUESTIONS = [
    "What is the capital of France?", "Who wrote Hamlet?", "How many days has a week?", "Say hello.",
    "What color is the sky?", "Name a fruit.", "What is 2 + 2?", "Is water wet?",
    "Say 'good morning' in French.", "What do bees make?", "Name a planet.", "What is ice made of?",
]  # fmt: skip
TEXT_STARTS = [
    "The capital of Italy is", "Once upon a time", "def add(a, b):\n    return", "1, 2, 3, 4,", "The sun rises in the",
    "Roses are red,", "In 1969, men first", "My name is",
]  # fmt: skip
PROMPTS = [*(f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n" for text in QUESTIONS), *TEXT_STARTS]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The model in the GGUF file."""
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    fetch_gguf(CATALOG[0], path)
    return read_gguf(path)


@pytest.fixture(scope="module")
def causal_lm():
    return load_causal_lm(NAME)


def test_greedy_generation_equals_numpy(file, causal_lm):
    causal_lm.compile(sampler="greedy")
    tokenizer = causal_lm.preprocessor.tokenizer
    for prompt in PROMPTS:
        prompt_ids = tokenizer(prompt)
        inputs = causal_lm.preprocessor.generate_preprocess([prompt], sequence_length=56)
        outputs = causal_lm.generate_step(inputs, stop_token_ids=[tokenizer.end_token_id])
        ids = np.asarray(outputs["token_ids"])[0][np.asarray(outputs["padding_mask"])[0]]
        logits = llama_logits(file, ids)
        reply = ids[len(prompt_ids) :]
        assert len(reply) > 0
        np.testing.assert_array_equal(reply, logits[len(prompt_ids) - 1 : -1].argmax(-1))
        actual = np.asarray(causal_lm({"token_ids": ids[None], "padding_mask": np.ones_like(ids[None])}))[0]
        assert np.abs(actual - logits).max() < 1e-3


def test_tokenizer_equals_the_file(file, causal_lm):
    texts = varied_texts(2000)
    original = file.tokenizer
    vocabulary = {token: number for number, token in enumerate(original.tokens)}
    expected = reference("smollm", vocabulary, original.merges, original.special)(texts)
    tokenizer = causal_lm.preprocessor.tokenizer
    assert tokenizer(texts) == expected
    assert tf.function(tokenizer)(tf.constant(texts)).to_list() == expected


def test_chat_template_equals_the_file(file):
    assert chat_template(NAME) == file.chat_template
    assert "<|im_start|>" in file.chat_template
