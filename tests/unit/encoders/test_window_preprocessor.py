import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.encoders import HubPreprocessor
from tfhub_ft.encoders.window_preprocessor import WindowPreprocessor
from tfhub_ft.utils.errors import InputError

LONG = " ".join(["the film was good and the food was bad , so we ate in the hotel room all day"] * 6)


@pytest.fixture(scope="module")
def layer(tiny_pair):
    return WindowPreprocessor(str(tiny_pair), seq_length=20, overlap=4)


@pytest.mark.parametrize("split", ["words", "parts"])
@pytest.mark.parametrize(
    "text",
    [
        "Paul's café: @paul_walk met O'Neil in U.S.A.",
        "東京タワー is in 日本, 中国人 too",
        "👩\u200d👧 went\u00a0home \x00 and\ttold\nall",
        "see https://a.b/c?d=e! or e\u0301tude",
        "naïve—dash…end «quoted»",
    ],
)
def test_split_words_returns_character_offsets(tiny_pair, split, text):
    words, starts, ends = WindowPreprocessor(str(tiny_pair), split=split).split_words(tf.constant(["x", text]))
    decoded = [word.decode() for word in words[1].numpy()]
    assert decoded == [text[start:end] for start, end in zip(starts[1].numpy(), ends[1].numpy())]
    assert "".join(decoded) == "".join(text.replace("\x00", "").split())


def test_split_words_keeps_names_and_urls_whole(tiny_pair):
    text = tf.constant(["@ann saw A&B at https://a.b/c 中国"])
    words = WindowPreprocessor(str(tiny_pair)).split_words(text)[0][0].numpy().tolist()
    assert words == [b"@ann", b"saw", b"A&B", b"at", b"https://a.b/c", "中".encode(), "国".encode()]
    parts = WindowPreprocessor(str(tiny_pair), split="parts").split_words(text)[0][0].numpy().tolist()
    assert parts[:5] == [b"@", b"ann", b"saw", b"A", b"&"]


def test_short_texts_match_the_hub_preprocessor(tiny_pair):
    texts = tf.constant(["a good film", "bad , dull food !", ""])
    expected = HubPreprocessor(str(tiny_pair), seq_length=16)(texts)
    for name, ids in WindowPreprocessor(str(tiny_pair), seq_length=16, overlap=2)(texts).items():
        np.testing.assert_array_equal(ids, expected[name])


def test_each_word_starts_in_the_window_with_most_context(layer):
    words = layer.split_words(tf.constant(["good film", LONG, ""]))[0]
    windows = {name: each.numpy() for name, each in layer.windows(words).items()}
    assert windows["input_word_ids"].shape[1] == 20
    assert windows["row"].tolist() == sorted(windows["row"].tolist())
    for row, count in enumerate(words.row_lengths().numpy()):
        starts = windows["starts_word"][windows["row"] == row]
        assert windows["word"][windows["row"] == row][starts].tolist() == list(range(count))
    inner = windows["starts_word"][windows["row"] == 1][1]
    assert not inner[1:3].any(), "the first half of the overlap belongs to the window before"


def test_each_window_starts_with_the_question(layer):
    words = layer.split_words(tf.constant([LONG, "so nice"]))[0]
    windows = layer.windows(words, tf.constant(["who ate the food in the hotel room ?", "how ?"]))
    types, ids, word = (windows[name].numpy() for name in ("input_type_ids", "input_word_ids", "word"))
    first = types[:, 1:8] == 0
    assert first[:-1].all(), "a third of 20 tokens, six, and [SEP]"
    assert (ids[:-1, :8] == ids[0, :8]).all()
    assert (word[types == 0] <= -1).all()
    assert word[-1].max() == 1


def test_masks_become_the_mask_token(tiny_pair):
    layer = WindowPreprocessor(str(tiny_pair), masks=True)
    mask = layer.vocabulary.index("[MASK]")
    ids = layer(tf.constant(["a [MASK] film , [MASK]", "no mask"]))["input_word_ids"].numpy()
    assert (ids == mask).sum(-1).tolist() == [2, 0]


def test_too_large_overlap_is_refused(tiny_pair):
    with pytest.raises(InputError, match="--overlap 5: must be at most 3"):
        WindowPreprocessor(str(tiny_pair), seq_length=16, overlap=5)


def test_keras_file_reloads_without_the_folder(layer, tmp_path):
    text = keras.Input(shape=(), dtype="string")
    keras.Model(text, layer(text)).save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    texts = tf.constant([LONG, "good"])
    for name, ids in loaded(texts).items():
        np.testing.assert_array_equal(ids, layer(texts)[name])
