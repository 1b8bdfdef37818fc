"""Pruning: the kept layers and tokens compute the same outputs."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft import HubEncoder, HubPreprocessor
from tfhub_ft.distillation.pruning import cut_encoder, evenly_spread
from tfhub_ft.encoders.checkpoint import read_checkpoint
from tfhub_ft.encoders.numpy_bert import forward
from tfhub_ft.utils.errors import InputError

TEXTS = ["a good film", "Terrible food, and the waiter was rude!"]


def opened(pair, **options):
    return HubEncoder(str(pair), **options), HubPreprocessor(str(pair))


@pytest.mark.parametrize(
    ("count", "layers", "kept"),
    [(3, 6, [1, 3, 5]), (4, 6, [0, 2, 3, 5]), (6, 12, [1, 3, 5, 7, 9, 11]), (1, 5, [4]), (5, 5, [0, 1, 2, 3, 4])],
)
def test_evenly_spread_keeps_the_last_layer(count, layers, kept):
    assert evenly_spread(count, layers) == kept


def test_cut_encoder_writes_current_weights(tiny_pair, tmp_path):
    encoder, preprocessor = opened(tiny_pair)
    random = np.random.default_rng(0)
    encoder.set_weights([w + random.normal(0, 0.02, w.shape).astype("float32") for w in encoder.get_weights()])
    cut_encoder(encoder, preprocessor, tmp_path / "cut")
    assert [path.name for path in tmp_path.iterdir()] == ["cut"]

    cut, cut_preprocessor = opened(tmp_path / "cut")
    before, after = preprocessor(tf.constant(TEXTS)), cut_preprocessor(tf.constant(TEXTS))
    np.testing.assert_array_equal(before["input_word_ids"], after["input_word_ids"])
    mask = after["input_mask"].numpy() > 0
    np.testing.assert_allclose(cut(after)["pooled_output"], encoder(before)["pooled_output"], atol=1e-5)
    np.testing.assert_allclose(cut(after)["sequence_output"][mask], encoder(before)["sequence_output"][mask], atol=1e-5)


def test_cut_encoder_keeps_one_layer_and_some_tokens(tiny_checkpoint, tiny_pair, tmp_path):
    encoder, preprocessor = opened(tiny_pair)
    words = preprocessor.vocabulary
    kept = [word for word in words if len(word.removeprefix("##")) == 1 or word[0] == "[" or word in TEXTS[0].split()]
    cut_encoder(encoder, preprocessor, tmp_path / "cut", layers=[1], vocabulary=kept, seq_length=24)

    cut, cut_preprocessor = opened(tmp_path / "cut")
    assert cut_preprocessor.vocabulary == kept
    assert cut.values["word_embeddings/embeddings"].shape == (len(kept), 32)
    tokens = cut_preprocessor(tf.constant(TEXTS))
    assert [kept[i] for i in tokens["input_word_ids"][0, :5]] == ["[CLS]", "a", "good", "film", "[SEP]"]
    assert [kept[i] for i in tokens["input_word_ids"][1, 1:4]] == ["t", "##e", "##r"]

    whole = read_checkpoint(tiny_checkpoint)
    weights = {name.replace("layer.1.", "layer.0."): value for name, value in whole.weights.items()}
    for name, value in whole.weights.items():
        if "layer.1." in name:
            weights[name.replace("layer.1.", "layer.0.")] = value
    before = preprocessor(tf.constant(TEXTS[:1]))
    expected = forward(
        dataclasses.replace(whole, layers=1, weights=weights), before["input_word_ids"], before["input_mask"]
    )
    after = cut(cut_preprocessor(tf.constant(TEXTS[:1])))
    np.testing.assert_allclose(after["sequence_output"], expected["sequence_output"], atol=1e-5)
    np.testing.assert_allclose(after["pooled_output"], expected["pooled_output"], atol=1e-5)


class Bag(tf.train.Checkpoint):
    """A TF Hub text encoder that is not a BERT."""

    def __init__(self, words):
        super().__init__()
        self.table = tf.Variable(tf.ones((words, 8)), name="word_embeddings/embeddings")
        self.variables = self.trainable_variables = [self.table]

    @tf.function(
        input_signature=[{name: tf.TensorSpec((None, None), tf.int32) for name in ("input_word_ids", "input_mask")}]
    )
    def __call__(self, inputs):
        sequence = tf.gather(self.table, inputs["input_word_ids"])
        return {"sequence_output": sequence, "pooled_output": sequence[:, 0]}


def test_cut_encoder_refuses_other_weights(tiny_pair, tmp_path):
    tf.saved_model.save(Bag(300), str(tmp_path / "bag" / "encoder"))
    shutil.copytree(tiny_pair / "preprocessor", tmp_path / "bag" / "preprocessor")
    with pytest.raises(InputError, match="cannot be pruned: not a BERT, .*weights not found"):
        cut_encoder(*opened(tmp_path / "bag"), tmp_path / "cut")
    assert not (tmp_path / "cut").exists()


def test_cut_encoder_refuses_other_architectures(tiny_pair, tmp_path):
    encoder, preprocessor = opened(tiny_pair, implementation="graph")
    exchanged = {"layer_0": "layer_1", "layer_1": "layer_0"}
    for variable in encoder.spec["variables"]:
        variable["name"] = "/".join(exchanged.get(part, part) for part in variable["name"].split("/"))
    with pytest.raises(InputError, match=r"cannot be pruned: .* differ by \d"):
        cut_encoder(encoder, preprocessor, tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
