import subprocess

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
import tensorflow_text  # noqa: F401  registers the operations of preprocessors
from tensorflow.core.protobuf import saved_model_pb2

from tfhub_ft import HubEncoder
from tfhub_ft.encoders.bert_forward import Architecture
from tfhub_ft.encoders.hub_export import write_encoder, write_preprocessor
from tfhub_ft.utils.processes import child_environment, python_command


@pytest.fixture(scope="module")
def encoder(tiny_pair):
    return HubEncoder(str(tiny_pair), implementation="native")


@pytest.fixture(scope="module")
def written(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "encoder"
    architecture = Architecture(**{**encoder.spec["architecture"], "dropout": 0.2, "attention_dropout": 0.3})
    write_encoder(folder, encoder.values, architecture)
    return folder


TOKENS = {
    "input_word_ids": tf.constant([[3, 70, 80, 4, 90, 4], [3, 90, 4, 0, 0, 0]]),
    "input_mask": tf.constant([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]]),
    "input_type_ids": tf.constant([[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]]),
}


def test_written_encoder_reproduces_the_layer(encoder, written):
    module = hub.load(str(written))
    actual, expected = module(TOKENS), encoder(TOKENS)
    for output in ("pooled_output", "sequence_output"):
        np.testing.assert_allclose(actual[output], expected[output], atol=1e-5)
    assert len(actual["encoder_outputs"]) == 2
    served = module.signatures["serving_default"](**TOKENS)
    np.testing.assert_allclose(served["pooled_output"], expected["pooled_output"], atol=1e-5)


def test_written_encoder_is_recognized_with_its_dropout(written):
    spec = HubEncoder(str(written), implementation="native").spec
    assert (spec["architecture"]["dropout"], spec["architecture"]["attention_dropout"]) == (0.2, 0.3)


def test_written_encoder_trains_with_its_graph(written):
    layer = HubEncoder(str(written), implementation="graph", seed=1)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(TOKENS, training=True)["pooled_output"] ** 2)
    gradients = tape.gradient(loss, [v.value for v in layer.trainable_variables])
    assert all(gradient is not None for gradient in gradients)


VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "film", "##s", ",", "über", "uber", "!"]


@pytest.fixture(scope="module")
def preprocessor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "preprocessor"
    write_preprocessor(folder, VOCABULARY, do_lower_case=True, seq_length=8)
    return hub.load(str(folder))


def test_written_preprocessor_tokenizes_and_packs(preprocessor):
    tokens = preprocessor(tf.constant(["A good FILMS!", "Über, zzz", ""]))
    assert tokens["input_word_ids"].numpy().tolist() == [
        [2, 5, 6, 7, 8, 12, 3, 0],
        [2, 11, 9, 1, 3, 0, 0, 0],
        [2, 3, 0, 0, 0, 0, 0, 0],
    ]
    assert tokens["input_mask"].numpy().sum(1).tolist() == [7, 5, 2]
    assert preprocessor.tokenize(tf.constant(["A good FILMS!", ""])).to_list() == [[[5], [6], [7, 8], [12]], []]
    ids = {name: int(number) for name, number in preprocessor.tokenize.get_special_tokens_dict().items()}
    assert ids == {
        "start_of_sequence_id": 2, "end_of_segment_id": 3, "padding_id": 0, "mask_id": 4, "vocab_size": 13,
    }  # fmt: skip


def test_cased_preprocessor_keeps_case_and_accents(tmp_path):
    write_preprocessor(tmp_path / "cased", VOCABULARY, do_lower_case=False, seq_length=8)
    module = hub.load(str(tmp_path / "cased"))
    assert module.tokenize(tf.constant(["über Über uber"])).to_list() == [[[10], [1], [11]]]


def test_written_preprocessor_has_no_assertions(tmp_path):
    write_preprocessor(tmp_path / "preprocessor", VOCABULARY, do_lower_case=True, seq_length=8)
    graph = saved_model_pb2.SavedModel.FromString((tmp_path / "preprocessor" / "saved_model.pb").read_bytes())
    operations = {node.op for function in graph.meta_graphs[0].graph_def.library.function for node in function.node_def}
    assert "WordpieceTokenizeWithOffsets" in operations
    assert not {"Assert", "If"} & operations
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.RaggedTensor.from_row_splits([1, 2], [0, 5])


IN_KERAS_2 = """
import sys
import numpy as np
import tensorflow as tf, tensorflow_hub as hub, tensorflow_text, tf_keras

folder = sys.argv[1]
sentences = tf_keras.Input((), dtype=tf.string)
tokens = hub.KerasLayer(f"{folder}/preprocessor")(sentences)
encoder = hub.KerasLayer(f"{folder}/encoder", trainable=True)
outputs = encoder(tokens)
logits = tf_keras.layers.Dense(1)(tf_keras.layers.Dropout(0.1)(outputs["pooled_output"]))
model = tf_keras.Model(sentences, logits)
model.compile("adam", tf_keras.losses.BinaryCrossentropy(from_logits=True))
texts, labels = tf.constant(["a good film", "a bad film"] * 4), tf.constant([[1.0], [0.0]] * 4)
before = [v.numpy().copy() for v in encoder.trainable_variables]
history = model.fit(texts, labels, epochs=10, verbose=0).history
assert history["loss"][-1] < history["loss"][0]
moved = [np.abs(v.numpy() - b).max() > 0 for v, b in zip(encoder.trainable_variables, before)]
assert len(moved) == 39 and sum(moved) >= 38, moved
# Two segments, as in TF Hub's tutorial.
preprocessor = hub.load(f"{folder}/preprocessor")
tokenize, pack = hub.KerasLayer(preprocessor.tokenize), hub.KerasLayer(
    preprocessor.bert_pack_inputs, arguments={"seq_length": 16})
pair = [tf_keras.Input((), dtype=tf.string) for _ in range(2)]
packed = tf_keras.Model(pair, pack([tokenize(each) for each in pair]))([texts, texts[::-1]])
assert packed["input_word_ids"].shape == (8, 16) and packed["input_type_ids"].numpy().max() == 1
model.save(f"{sys.argv[2]}/model")
again = tf.saved_model.load(f"{sys.argv[2]}/model")
np.testing.assert_allclose(again(texts), model(texts), atol=1e-5)
"""


@pytest.mark.slow
def test_hub_keras_layer_trains_a_written_pair(tiny_pair, tmp_path):
    command = python_command(IN_KERAS_2, str(tiny_pair), str(tmp_path))
    done = subprocess.run(command, env=child_environment(TF_USE_LEGACY_KERAS="1"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
