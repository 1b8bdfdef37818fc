import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor
from tfhub_ft.encoders.packing import split_head_and_tail
from tfhub_ft.encoders.row_window_preprocessor import RowWindowPreprocessor
from tfhub_ft.utils.errors import InputError

WORDS = "the film was good and the food was bad so we ate in the hotel room all day".split()  # noqa: SIM905
LONG = " ".join(WORDS * 4)
TEXTS = ["a good film", LONG, "", "bad , dull food !"]
# Composed and decomposed accents, characters that tokenizers drop, and Han.
ODD = ["Cafe\u0301 naïve", "東京 is 中国", "a\x00b\u200bc", "x" * 250]


def ids_of(layer, text):
    tokens = {name: ids.numpy()[0] for name, ids in layer([text]).items()}
    return tokens["input_word_ids"][tokens["input_mask"] > 0]


@pytest.fixture(scope="module")
def all_ids(tiny_pair):
    """A function that returns all token ids of a text, with [CLS] and [SEP]."""
    layer = HubPreprocessor(str(tiny_pair), seq_length=2000)
    return lambda text: ids_of(layer, text)


def reference_windows(ids, seq_length, overlap, max_windows=10**6):
    """Return the windows of the ids of a text, one after the other, as lists."""
    cls, *inner, sep = ids.tolist()
    room, windows, start = seq_length - 2, [], 0
    while True:
        windows.append([cls, *inner[start : start + room], sep])
        if start + room >= len(inner) or len(windows) == max_windows:
            return windows
        start += room - overlap


@pytest.mark.parametrize(("seq_length", "overlap", "max_windows"), [(16, 4, 32), (16, 0, 32), (10, 4, 3), (3, 0, 99)])
def test_windows_equal_a_plain_reference(tiny_pair, all_ids, seq_length, overlap, max_windows):
    layer = RowWindowPreprocessor(str(tiny_pair), seq_length=seq_length, overlap=overlap, max_windows=max_windows)
    tokens = {name: ids.numpy() for name, ids in layer(TEXTS).items()}
    for row, text in enumerate(TEXTS):
        expected = reference_windows(all_ids(text), seq_length, overlap, max_windows)
        is_window = tokens["input_mask"][row].any(-1)
        assert is_window.tolist() == [number < len(expected) for number in range(len(is_window))]
        for number, window in enumerate(expected):
            mask = tokens["input_mask"][row, number] > 0
            assert tokens["input_word_ids"][row, number][mask].tolist() == window
    assert not tokens["input_type_ids"].any()


@pytest.mark.parametrize("lowercase", [False, True])
def test_short_texts_have_the_tokens_of_a_hub_preprocessor(tiny_pair, lowercase):
    texts = [*ODD, "a good film", ""]
    expected = HubPreprocessor(str(tiny_pair), seq_length=64, lowercase=lowercase)(texts)
    tokens = RowWindowPreprocessor(str(tiny_pair), seq_length=64, lowercase=lowercase)(texts)
    for name, ids in tokens.items():
        np.testing.assert_array_equal(ids[:, 0], expected[name])


def test_without_padding_returns_windows_one_after_the_other(tiny_pair, all_ids):
    layer = RowWindowPreprocessor(str(tiny_pair), seq_length=16, overlap=4, max_windows=3)
    ids, types, lengths, truncated, window_lengths, windows = (
        tensor.numpy() for tensor in layer.without_padding([tf.constant(TEXTS)])
    )
    expected = [reference_windows(all_ids(text), 16, 4, 3) for text in TEXTS]
    assert ids.tolist() == [number for row in expected for window in row for number in window]
    assert windows.tolist() == [len(row) for row in expected]
    assert window_lengths.tolist() == [len(window) for row in expected for window in row]
    assert lengths.tolist() == [sum(map(len, row)) for row in expected]
    assert truncated.tolist() == [False, True, False, False]
    assert types.dtype == "int8" and not types.any()


def test_max_tokens_is_the_length_of_the_longest_text_that_is_read(tiny_pair):
    layer = RowWindowPreprocessor(str(tiny_pair), seq_length=16, overlap=4, max_windows=3)
    text = " ".join(["film"] * (layer.max_tokens - 2))
    truncated = layer.without_padding([tf.constant([text, text + " good"])])[3]
    assert truncated.numpy().tolist() == [False, True]
    assert layer.truncation == (
        "longer than --max-windows 3 windows of --seq-length 16 tokens; the rest of their text is not read"
    )


def test_layer_is_saved_with_its_windows(tiny_pair, tmp_path):
    text = keras.Input((), dtype="string")
    tokens = RowWindowPreprocessor(str(tiny_pair), seq_length=16, overlap=4, max_windows=3, padding="max_length")(text)
    assert tokens["input_word_ids"].shape == (None, None, 16)
    model = keras.Model(text, tokens)
    model.save(tmp_path / "windows.keras")
    loaded = keras.saving.load_model(tmp_path / "windows.keras")
    for name, ids in loaded(tf.constant(TEXTS)).items():
        np.testing.assert_array_equal(ids, model(tf.constant(TEXTS))[name])
    # A description in an export is JSON.
    config = json.loads(json.dumps(model.layers[1].get_config()))
    assert {name: config[name] for name in ("overlap", "max_windows")} == {"overlap": 4, "max_windows": 3}


def test_digest_depends_on_the_windows(tiny_pair):
    layers = [
        HubPreprocessor(str(tiny_pair), seq_length=16),
        HubPreprocessor(str(tiny_pair), seq_length=16, long_texts="head-tail"),
        RowWindowPreprocessor(str(tiny_pair), seq_length=16),
        RowWindowPreprocessor(str(tiny_pair), seq_length=16, overlap=2),
        RowWindowPreprocessor(str(tiny_pair), seq_length=16, max_windows=2),
    ]
    assert len({layer.digest() for layer in layers}) == len(layers)
    assert "long_texts" not in layers[0].get_config(), "digests must be those of earlier versions"


def test_pairs_and_impossible_windows_are_refused(tiny_pair):
    with pytest.raises(InputError, match="^--overlap 8: must be 0 to 7 with --seq-length 16$"):
        RowWindowPreprocessor(str(tiny_pair), seq_length=16, overlap=8)
    with pytest.raises(InputError, match="^--max-windows 0: must be at least 1$"):
        RowWindowPreprocessor(str(tiny_pair), max_windows=0)
    for layer in (RowWindowPreprocessor(str(tiny_pair)), HubPreprocessor(str(tiny_pair), long_texts="head-tail")):
        with pytest.raises(InputError, match="one text in a row"):
            layer([["a"], ["b"]])


def test_head_tail_keeps_first_and_last_tokens(tiny_pair, all_ids):
    layer = HubPreprocessor(str(tiny_pair), seq_length=18, long_texts="head-tail")
    head, tail = split_head_and_tail(16)
    assert (head, tail) == (4, 12)
    texts = [*TEXTS, " ".join(["film"] * 16), " ".join(["film"] * 17)]
    tokens = {name: ids.numpy() for name, ids in layer(texts).items()}
    for row, text in enumerate(texts):
        cls, *inner, sep = all_ids(text).tolist()
        kept = inner if len(inner) <= 16 else inner[:head] + inner[-tail:]
        mask = tokens["input_mask"][row] > 0
        assert tokens["input_word_ids"][row][mask].tolist() == [cls, *kept, sep]
    assert layer.without_padding([tf.constant(texts)])[3].numpy().tolist() == [False, True, False, False, False, True]
    assert layer.truncation.endswith("only their first 4 and last 12 tokens are read")


def test_split_head_and_tail_is_that_of_the_paper():
    assert split_head_and_tail(510) == (128, 382)
    assert [split_head_and_tail(room) for room in (1, 126)] == [(0, 1), (31, 95)]
