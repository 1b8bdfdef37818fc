import random

import keras
import keras_hub
import pytest
import tensorflow as tf
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.conftest import CHAT_TOKENS, make_byte_pairs
from tfhub_ft.language_models.byte_pair import PRE_TOKENIZERS, ByteLevelTokenizer

VOCABULARY, MERGES = make_byte_pairs(CHAT_TOKENS)
PIECES = [
    *("the", " The", "ing", " good", "don't", "WE'LL", "they've", "'s", "'S", "’s", "''", "_x", "__", "...", "?!"),
    *("12", " 3", "  45678", "3.14", "½", "Ⅷ", "²", "१२३", "٣", "६", "1a2b"),
    *(
        " ",
        "  ",
        "   ",
        "\n",
        "\n\n",
        " \n ",
        "\r\n",
        "\t",
        "\t\t ",
        "\x0b",
        "\x85",
        "\xa0",
        "\u2009",
        "\u3000",
        "\ufeff",
    ),
    *("\x00", "\x01", "\x1b", "\x7f", "\u200b", "\u200d", "\ufffd", "\U0010ffff"),
    *("é", "e\u0301", "naïve", "ß", "İ", "привет", "日本語", "한국어", "العربية", "हिन्दी", "ไทย", "😀", "👩‍👩‍👧", "𝕏"),
    *("def f(x):\n    return x ** 2\n", "<div class='x'>", "https://a.b/c?d=1&e=%20", "C:\\x", "====", "a" * 40),
    *(*CHAT_TOKENS, "<|im_", "<|im_end|", "Ġ", "Ĵ"),
]


def varied_texts(count, seed=0):
    """Texts that are difficult for a tokenizer; the first one is empty."""
    rng = random.Random(seed)
    return ["", *("".join(rng.choices(PIECES, k=rng.randint(1, 20))) for _ in range(count - 1))]


def reference(kind, vocabulary=VOCABULARY, merges=MERGES, special=CHAT_TOKENS):
    """Hugging Face's tokenizer with the same vocabulary."""
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(merge.split(" ")) for merge in merges]))
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words]) if kind == "smollm" else words
    tokenizer.add_special_tokens(special)
    return lambda texts: [encoding.ids for encoding in tokenizer.encode_batch(texts)]


def make_tokenizer(kind="smollm", vocabulary=VOCABULARY, **arguments):
    named = {"end_token": "<|im_end|>", "unsplittable_tokens": CHAT_TOKENS}
    return ByteLevelTokenizer(vocabulary, MERGES, pre_tokenizer=kind, **named, **arguments)


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def in_graph(tokenizer):
    return tf.function(tokenizer, input_signature=[tf.TensorSpec([None], tf.string)])


@pytest.mark.parametrize("kind", PRE_TOKENIZERS)
def test_tokenizer_equals_hugging_face(kind):
    texts = varied_texts(2000)
    expected = reference(kind)(texts)
    tokenizer = make_tokenizer(kind)
    assert tokenizer(texts) == expected
    assert in_graph(tokenizer)(tf.constant(texts)).to_list() == expected


def test_kerashub_splits_texts_in_another_way():
    """Once this fails, KerasHub splits texts as the models do, and ByteLevelTokenizer may be removed."""
    tokenizer = keras_hub.tokenizers.BytePairTokenizer(VOCABULARY, MERGES, unsplittable_tokens=CHAT_TOKENS)
    texts = varied_texts(60)
    for expected in (reference(kind)(texts) for kind in PRE_TOKENIZERS):
        assert tokenizer(texts) != expected
    assert in_graph(tokenizer)(tf.constant(texts)).to_list() != expected


def test_tokenizer_drops_bytes_that_the_vocabulary_lacks():
    tokens = [token for token in VOCABULARY if token not in ("ð", "\u0100")]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    texts = ["a 😀 b", "\x00", "x\x00y"]
    expected = reference("smollm", vocabulary)(texts)
    tokenizer = make_tokenizer(vocabulary=vocabulary)
    assert tokenizer(texts) == expected
    assert in_graph(tokenizer)(tf.constant(texts)).to_list() == expected


def test_graph_decodes_invalid_utf8_as_python_does(tokenizer):
    invalid = [b"caf\xe9 12", b"\xff\xfe<|im_end|>", b"\xf0\x9f\x98", b"ok \x80\x80"]
    expected = tokenizer([text.decode("utf-8", errors="replace") for text in invalid])
    assert in_graph(tokenizer)(tf.constant(invalid)).to_list() == expected


def test_tokenizer_takes_one_text_and_a_fixed_length():
    tokenizer = make_tokenizer(sequence_length=4)
    expected = [[VOCABULARY["in"], 0, 0, 0], [VOCABULARY["<|im_end|>"], *[VOCABULARY["1"]] * 3]]
    texts = ["in", "<|im_end|>11111"]
    assert tokenizer(texts).tolist() == expected
    assert in_graph(tokenizer)(tf.constant(texts)).numpy().tolist() == expected
    one = tf.function(make_tokenizer(), input_signature=[tf.TensorSpec([], tf.string)])
    assert one("in 1").numpy().tolist() == make_tokenizer()("in 1").tolist()


def test_detokenize_restores_texts(tokenizer):
    texts = [text for text in varied_texts(200) if "\ufffd" not in text]
    ids = tokenizer(texts)
    assert tokenizer.detokenize(ids) == texts
    back = tf.function(tokenizer.detokenize)(tf.ragged.constant(ids, dtype=tf.int32))
    assert [text.decode() for text in back.numpy()] == texts


def test_detokenize_accepts_half_a_character(tokenizer):
    half = tokenizer(["😀"])[0][:2]
    assert tokenizer.detokenize([half]) == ["\ufffd"]
    assert tf.function(tokenizer.detokenize)(tf.constant([half])).numpy()[0] == b"\xf0\x9f"


def test_tokenizer_is_saved_in_a_keras_file(tokenizer, tmp_path):
    preprocessor = keras_hub.models.Llama3CausalLMPreprocessor(tokenizer, sequence_length=8)
    backbone = keras_hub.models.Llama3Backbone(
        vocabulary_size=len(VOCABULARY),
        num_layers=1,
        num_query_heads=1,
        num_key_value_heads=1,
        hidden_dim=4,
        intermediate_dim=4,
    )
    keras_hub.models.Llama3CausalLM(backbone, preprocessor).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").preprocessor.tokenizer
    texts = varied_texts(50)
    assert loaded.get_config() == tokenizer.get_config()
    assert loaded(texts) == tokenizer(texts)
