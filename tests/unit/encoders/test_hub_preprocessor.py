import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the operations of the tokenizer

from tfhub_ft.encoders import HubPreprocessor
from tfhub_ft.utils.errors import InputError

TEXTS = ["good film", "the food was terrible and the waiter was rude", "bad"]


def test_packs_as_the_module_itself(tiny_pair):
    module = tf.saved_model.load(str(tiny_pair / "preprocessor"))
    expected = module.bert_pack_inputs([module.tokenize(tf.constant(TEXTS))], seq_length=tf.constant(20))
    tokens = HubPreprocessor(str(tiny_pair), seq_length=20, padding="max_length")(tf.constant(TEXTS))
    for name, ids in tokens.items():
        np.testing.assert_array_equal(ids, expected[name])


def test_digest_and_vocabulary_ignore_leftovers_of_file_managers(tiny_pair, tmp_path):
    folder = shutil.copytree(tiny_pair / "preprocessor", tmp_path / "preprocessor")
    for name in (".DS_Store", "Thumbs.db", "assets/._vocab.txt"):
        (folder / name).write_bytes(b"x")
    clean, cluttered = (
        HubPreprocessor(str(tiny_pair), preprocessor=str(each)) for each in (tiny_pair / "preprocessor", folder)
    )
    assert cluttered.digest() == clean.digest()
    assert cluttered.vocabulary == clean.vocabulary


def test_longest_padding_differs_in_padding_only(tiny_pair):
    fixed = HubPreprocessor(str(tiny_pair), seq_length=40, padding="max_length")(tf.constant(TEXTS))
    tight = HubPreprocessor(str(tiny_pair), seq_length=40)(tf.constant(TEXTS))
    assert tight["input_mask"].numpy().sum(-1).max() == tight["input_mask"].shape[1] < 40
    for name, ids in tight.items():
        width = ids.shape[1]
        np.testing.assert_array_equal(ids, fixed[name][:, :width])
        assert not fixed[name][:, width:].numpy().any()


def test_long_texts_are_cut_and_end_with_a_separator(tiny_pair):
    tokens = HubPreprocessor(str(tiny_pair), seq_length=6)(tf.constant(TEXTS))
    assert tokens["input_word_ids"].shape == (3, 6)
    np.testing.assert_array_equal(tokens["input_word_ids"].numpy()[1, [0, -1]], [3, 4])


def test_two_segments_have_types_and_are_cut_in_turn(tiny_pair):
    layer = HubPreprocessor(str(tiny_pair), seq_length=9)
    first, second = (
        tf.constant(["good film", "good good good good good good"]),
        tf.constant(["bad", "bad bad bad bad bad"]),
    )
    tokens = layer([first, second])
    np.testing.assert_array_equal(tokens["input_type_ids"].numpy().sum(-1), [2, 4])
    np.testing.assert_array_equal(tokens["input_mask"].numpy().sum(-1), [6, 9])


def test_in_a_functional_model_and_in_a_dataset(tiny_pair):
    layer = HubPreprocessor(str(tiny_pair), seq_length=12)
    text = keras.Input((), dtype="string")
    model = keras.Model(text, layer(text))
    mapped = next(iter(tf.data.Dataset.from_tensor_slices(TEXTS).batch(3).map(layer)))
    for name, ids in model(tf.constant(TEXTS)).items():
        np.testing.assert_array_equal(ids, mapped[name])


def test_symbolic_shapes_are_static_where_the_padding_is(tiny_pair):
    text = keras.Input((), dtype="string")
    fixed = HubPreprocessor(str(tiny_pair), seq_length=12, padding="max_length")
    assert fixed(text)["input_word_ids"].shape == (None, 12)
    assert HubPreprocessor(str(tiny_pair), seq_length=12)(text)["input_word_ids"].shape == (None, None)


def test_texts_are_read_by_the_processor_wherever_the_layer_is_called(tiny_pair):
    layer = HubPreprocessor(str(tiny_pair), seq_length=12)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def on_a_gpu(texts):
        with tf.device("GPU:0"):
            return layer(texts), layer.without_padding([texts])

    graph = on_a_gpu.get_concrete_function().graph
    elsewhere = {op.type for op in graph.get_operations() if op.device[-5:] != "CPU:0"}
    assert elsewhere <= {"Placeholder", "Identity", "NoOp"}


def test_reloads_with_its_vocabulary(tiny_pair, tmp_path):
    text = keras.Input((), dtype="string")
    model = keras.Model(text, HubPreprocessor(str(tiny_pair), seq_length=12)(text))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for name, ids in model(tf.constant(TEXTS)).items():
        np.testing.assert_array_equal(ids, again(tf.constant(TEXTS))[name])


@pytest.mark.parametrize("seq_length", [2, 0, -5])
def test_too_short_a_length_is_refused(tiny_pair, seq_length):
    with pytest.raises(InputError, match="at least 3"):
        HubPreprocessor(str(tiny_pair), seq_length=seq_length)


def test_an_encoder_is_no_preprocessor(tiny_pair):
    with pytest.raises(InputError, match="not a TF Hub text preprocessor"):
        HubPreprocessor(str(tiny_pair), preprocessor=str(tiny_pair / "encoder"))


def test_what_is_behind_a_nul_is_read_in_lower_case_too(tiny_pair):
    layer = HubPreprocessor(tiny_pair, lowercase=True)
    one, other = layer(tf.constant(["GOOD\x00FILM", "GOOD FILM"]))["input_word_ids"]
    assert one.numpy().tolist() == other.numpy().tolist()
