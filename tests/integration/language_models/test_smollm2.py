"""The embedded language model, downloaded and converted, against its own file."""

import numpy as np
import pytest
import tensorflow as tf

from tests.unit.language_models.test_byte_pair import reference, varied_texts
from tfhub_ft.language_models.gguf_file import read_gguf
from tfhub_ft.language_models.numpy_llama import llama_logits
from tfhub_ft.language_models.presets import CATALOG, NAME, chat_template, fetch_gguf, load_causal_lm

pytestmark = pytest.mark.slow

ASKED = [
    "What is the capital of France?", "Who wrote Hamlet?", "How many days has a week?", "Say hello.",
    "What colour is the sky?", "Name a fruit.", "What is 2 + 2?", "Is water wet?",
    "Say 'good morning' in French.", "What do bees make?", "Name a planet.", "What is ice made of?",
]  # fmt: skip
BEGUN = [
    "The capital of Italy is", "Once upon a time", "def add(a, b):\n    return", "1, 2, 3, 4,", "The sun rises in the",
    "Roses are red,", "In 1969, men first", "My name is",
]  # fmt: skip
PROMPTS = [*(f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n" for text in ASKED), *BEGUN]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """What is in the GGUF file itself."""
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    fetch_gguf(CATALOG[0], path)
    return read_gguf(path)


@pytest.fixture(scope="module")
def causal_lm():
    return load_causal_lm(NAME)


def test_greedy_text_of_twenty_prompts_is_that_of_the_tensors(file, causal_lm):
    """With each token the likeliest one behind those before it, the NumPy pass writes the same text, token by token."""
    causal_lm.compile(sampler="greedy")
    tokenizer = causal_lm.preprocessor.tokenizer
    for prompt in PROMPTS:
        asked = tokenizer(prompt)
        inputs = causal_lm.preprocessor.generate_preprocess([prompt], sequence_length=56)
        written = causal_lm.generate_step(inputs, stop_token_ids=[tokenizer.end_token_id])
        ids = np.asarray(written["token_ids"])[0][np.asarray(written["padding_mask"])[0]]
        logits = llama_logits(file, ids)
        answer = ids[len(asked) :]
        assert len(answer) > 0
        np.testing.assert_array_equal(answer, logits[len(asked) - 1 : -1].argmax(-1))
        found = np.asarray(causal_lm({"token_ids": ids[None], "padding_mask": np.ones_like(ids[None])}))[0]
        assert np.abs(found - logits).max() < 1e-3


def test_two_thousand_texts_have_the_tokens_of_the_file(file, causal_lm):
    texts = varied_texts(2000)
    kept = file.tokenizer
    vocabulary = {token: number for number, token in enumerate(kept.tokens)}
    expected = reference("smollm", vocabulary, kept.merges, kept.special)(texts)
    tokenizer = causal_lm.preprocessor.tokenizer
    assert tokenizer(texts) == expected
    assert tf.function(tokenizer)(tf.constant(texts)).to_list() == expected


def test_its_template_is_that_of_the_file(file):
    assert chat_template(NAME) == file.chat_template
    assert "<|im_start|>" in file.chat_template
