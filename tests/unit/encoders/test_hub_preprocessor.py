import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the operations of the tokenizer

from tfhub_ft.encoders import HubPreprocessor
from tfhub_ft.utils.errors import InputError

TEXTS = ["good film", "the food was terrible and the waiter was rude", "bad"]


def test_outputs_match_the_module(tiny_pair):
    module = tf.saved_model.load(str(tiny_pair / "preprocessor"))
    expected = module.bert_pack_inputs([module.tokenize(tf.constant(TEXTS))], seq_length=tf.constant(20))
    tokens = HubPreprocessor(str(tiny_pair), seq_length=20, padding="max_length")(tf.constant(TEXTS))
    for name, ids in tokens.items():
        np.testing.assert_array_equal(ids, expected[name])


def test_digest_and_vocabulary_ignore_leftover_files(tiny_pair, tmp_path):
    folder = shutil.copytree(tiny_pair / "preprocessor", tmp_path / "preprocessor")
    for name in (".DS_Store", "Thumbs.db", "assets/._vocab.txt"):
        (folder / name).write_bytes(b"x")
    clean, cluttered = (
        HubPreprocessor(str(tiny_pair), preprocessor=str(preprocessor))
        for preprocessor in (tiny_pair / "preprocessor", folder)
    )
    assert cluttered.digest() == clean.digest()
    assert cluttered.vocabulary == clean.vocabulary


def test_longest_padding_differs_only_in_padding(tiny_pair):
    fixed = HubPreprocessor(str(tiny_pair), seq_length=40, padding="max_length")(tf.constant(TEXTS))
    tight = HubPreprocessor(str(tiny_pair), seq_length=40)(tf.constant(TEXTS))
    assert tight["input_mask"].numpy().sum(-1).max() == tight["input_mask"].shape[1] < 40
    for name, ids in tight.items():
        width = ids.shape[1]
        np.testing.assert_array_equal(ids, fixed[name][:, :width])
        assert not fixed[name][:, width:].numpy().any()


def test_truncated_texts_end_with_a_separator(tiny_pair):
    tokens = HubPreprocessor(str(tiny_pair), seq_length=6)(tf.constant(TEXTS))
    assert tokens["input_word_ids"].shape == (3, 6)
    np.testing.assert_array_equal(tokens["input_word_ids"].numpy()[1, [0, -1]], [3, 4])


def test_two_segments_are_truncated_in_turn(tiny_pair):
    layer = HubPreprocessor(str(tiny_pair), seq_length=9)
    first, second = (
        tf.constant(["good film", "good good good good good good"]),
        tf.constant(["bad", "bad bad bad bad bad"]),
    )
    tokens = layer([first, second])
    np.testing.assert_array_equal(tokens["input_type_ids"].numpy().sum(-1), [2, 4])
    np.testing.assert_array_equal(tokens["input_mask"].numpy().sum(-1), [6, 9])


def test_functional_model_and_dataset_agree(tiny_pair):
    layer = HubPreprocessor(str(tiny_pair), seq_length=12)
    text = keras.Input((), dtype="string")
    model = keras.Model(text, layer(text))
    mapped = next(iter(tf.data.Dataset.from_tensor_slices(TEXTS).batch(3).map(layer)))
    for name, ids in model(tf.constant(TEXTS)).items():
        np.testing.assert_array_equal(ids, mapped[name])


def test_max_length_padding_has_static_shapes(tiny_pair):
    text = keras.Input((), dtype="string")
    fixed = HubPreprocessor(str(tiny_pair), seq_length=12, padding="max_length")
    assert fixed(text)["input_word_ids"].shape == (None, 12)
    assert HubPreprocessor(str(tiny_pair), seq_length=12)(text)["input_word_ids"].shape == (None, None)


def test_texts_are_processed_on_the_cpu(tiny_pair):
    layer = HubPreprocessor(str(tiny_pair), seq_length=12)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def on_a_gpu(texts):
        with tf.device("GPU:0"):
            return layer(texts), layer.without_padding([texts])

    graph = on_a_gpu.get_concrete_function().graph
    elsewhere = {op.type for op in graph.get_operations() if op.device[-5:] != "CPU:0"}
    assert elsewhere <= {"Placeholder", "Identity", "NoOp"}


def test_keras_file_includes_the_vocabulary(tiny_pair, tmp_path):
    text = keras.Input((), dtype="string")
    model = keras.Model(text, HubPreprocessor(str(tiny_pair), seq_length=12)(text))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for name, ids in model(tf.constant(TEXTS)).items():
        np.testing.assert_array_equal(ids, again(tf.constant(TEXTS))[name])


@pytest.mark.parametrize("seq_length", [2, 0, -5])
def test_seq_length_below_three_is_refused(tiny_pair, seq_length):
    with pytest.raises(InputError, match="at least 3"):
        HubPreprocessor(str(tiny_pair), seq_length=seq_length)


def test_encoder_is_refused(tiny_pair):
    with pytest.raises(InputError, match="not a TF Hub text preprocessor"):
        HubPreprocessor(str(tiny_pair), preprocessor=str(tiny_pair / "encoder"))


def test_lowercase_includes_text_after_a_nul(tiny_pair):
    layer = HubPreprocessor(tiny_pair, lowercase=True)
    with_nul, with_space = layer(tf.constant(["GOOD\x00FILM", "GOOD FILM"]))["input_word_ids"]
    assert with_nul.numpy().tolist() == with_space.numpy().tolist()
