import pytest
import tensorflow as tf

from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor, flat_tokens
from tfhub_ft.encoders.word_spans import word_spans


@pytest.fixture(scope="module")
def layer(tiny_pair):
    return HubPreprocessor(str(tiny_pair / "preprocessor"), seq_length=16)


def words_of(layer, text):
    (spans,) = word_spans(layer, [text])
    (tokens,) = flat_tokens(layer.tokenize([text])).to_list()
    assert sum(span.tokens for span in spans) == len(tokens)
    return [text[span.start : span.end] for span in spans if span.tokens]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A warm, funny film!", ["A", "warm", ",", "funny", "film", "!"]),
        ("re-imagined don't", ["re", "-", "imagined", "don", "'", "t"]),
        ("https://a.example/x?id=7", ["https", ":", "/", "/", "a", ".", "example", "/", "x", "?", "id", "=", "7"]),
        ("  the   naïve\ncafé\t", ["the", "naïve", "café"]),
        ("good\x00film", ["good", "film"]),
        ("日本 film", ["日", "本", "film"]),
        ("😀 film", ["😀", "film"]),
    ],
)
def test_word_spans_are_the_words_of_the_text(layer, text, words):
    assert words_of(layer, text) == words


def test_word_spans_of_a_text_without_words_are_empty(layer):
    assert word_spans(layer, [" "]) == [[]]
    assert word_spans(layer, []) == []


def test_word_spans_count_the_tokens_of_each_word(layer):
    (spans,) = word_spans(layer, ["the zzz film"])
    assert [span.tokens for span in spans] == [1, 3, 1]


class SpaceTokenizer:
    """Tokenizes at a separator only; the token of a part is its length."""

    def __init__(self, separator):
        self.separator = separator

    def tokenize(self, texts):
        parts = tf.strings.split(texts, self.separator)
        return parts.with_flat_values(tf.strings.length(parts.flat_values))


def test_word_spans_follow_tokenizers_that_keep_punctuation():
    text = "so good, really"
    (spans,) = word_spans(SpaceTokenizer(" "), [text])
    assert [text[span.start : span.end] for span in spans] == ["so", "good,", "really"]
    # Spaces do not separate the tokens of this one.
    assert word_spans(SpaceTokenizer("|"), [text]) == [[(0, len(text), 1)]]
