import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.encoders import HubEncoder
from tfhub_ft.encoders.architecture_detection import native_spec, read_values
from tfhub_ft.utils.errors import InputError

TOKENS = {
    "input_word_ids": np.array([[3, 9, 9, 4, 0], [3, 9, 3, 4, 4]], "int32"),
    "input_mask": np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], "int32"),
    "input_type_ids": np.array([[0, 0, 1, 1, 0], [0, 0, 0, 1, 1]], "int32"),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_FT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("bert", {"hidden_act": "gelu_new", "attention_probs_dropout_prob": 0.2}),
        ("bert", {"hidden_act": "relu", "layer_norm_eps": 1e-5}),
        ("distilbert", {"dropout": 0.3}),
    ],
)
def test_native_spec_detects_activation_and_rates(checkpoint_maker, tmp_path, kind, options):
    from tfhub_ft.encoders.convert import convert_checkpoint

    convert_checkpoint(checkpoint_maker(tmp_path / "checkpoint", kind, **options), tmp_path / "pair")
    architecture = native_spec(tmp_path / "pair" / "encoder", "it")["architecture"]
    assert architecture["activation"] == {"gelu_new": "gelu_tanh"}.get(
        options.get("hidden_act"), architecture["activation"]
    )
    assert architecture["epsilon"] == options.get("layer_norm_eps", 1e-12)
    assert architecture["dropout"] == options.get("dropout", 0.1)
    assert architecture["attention_dropout"] == options.get("attention_probs_dropout_prob", 0.1)


def test_read_values_matches_the_loaded_module(tiny_pair):
    module = tf.saved_model.load(str(tiny_pair / "encoder"))
    values = read_values(tiny_pair / "encoder")
    for variable in module.variables:
        np.testing.assert_array_equal(values[variable.name.split(":")[0]], variable)


def save_bag_of_words(folder):
    """Save a text encoder that is not a BERT."""

    class Encoder(tf.__internal__.tracking.AutoTrackable):
        def __init__(self):
            self.table = tf.Variable(tf.random.stateless_normal((40, 8), (1, 2)), name="words/table")
            self.variables = self.trainable_variables = [self.table]

        @tf.function(input_signature=[{name: tf.TensorSpec((None, None), tf.int32, name=name) for name in TOKENS}])
        def __call__(self, inputs):
            x = tf.gather(self.table, inputs["input_word_ids"])
            return {"pooled_output": x[:, 0], "sequence_output": x}

    tf.saved_model.save(Encoder(), str(folder))
    return folder


def test_other_families_use_the_graph_and_name_missing_weights(tmp_path):
    folder = save_bag_of_words(tmp_path / "other")
    assert not HubEncoder(str(folder)).is_native
    with pytest.raises(InputError, match=r"weights not found: word_embeddings.*--implementation"):
        HubEncoder(str(folder), implementation="native")


def test_unknown_activation_is_refused_natively(tiny_pair, tmp_path, monkeypatch):
    monkeypatch.setattr("tfhub_ft.encoders.architecture_detection.ACTIVATIONS", ("silu",))
    with pytest.raises(InputError, match="outputs differ by"):
        HubEncoder(str(tiny_pair), implementation="native")
    assert not HubEncoder(str(tiny_pair)).is_native


def test_native_spec_ignores_an_unwritable_cache(tiny_pair, cache, read_only):
    read_only(cache)
    assert native_spec(tiny_pair / "encoder", "it")["architecture"]["layers"] == 2


@pytest.mark.parametrize("content", [b'{"architecture"', b"[]", b"\xff"])
def test_native_spec_replaces_damaged_cache_files(tiny_pair, cache, content):
    expected = native_spec(tiny_pair / "encoder", "it")
    (file,) = (cache / "native").iterdir()
    original = file.read_bytes()
    file.write_bytes(content)
    assert native_spec(tiny_pair / "encoder", "it") == expected
    assert file.read_bytes() == original
