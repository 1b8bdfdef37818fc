"""Our layers support what Keras' own text layer supports: each test runs the same code with both."""

import shutil

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tfhub_ft import HubEncoder, HubPreprocessor
from tfhub_ft.utils.errors import InputError

WORDS = ["good", "bad", "film", "food", "the", "was"]
LIST = ["good film", "the food was bad"]
TEXTS = tf.constant(LIST)


class Control:
    """Keras' text layer and an embedding."""

    def preprocessor(self):
        return keras.layers.TextVectorization(vocabulary=WORDS, output_sequence_length=6)

    def encoder(self):
        return keras.Sequential([keras.layers.Embedding(10, 4), keras.layers.GlobalAveragePooling1D()])

    def vectors(self, encoder, tokens):
        return encoder(tokens)


class HubLayers:
    """HubPreprocessor and HubEncoder."""

    def __init__(self, pair, implementation):
        self.pair, self.implementation = str(pair), implementation

    def preprocessor(self):
        return HubPreprocessor(self.pair, seq_length=6)

    def encoder(self):
        return HubEncoder(self.pair, implementation=self.implementation)

    def vectors(self, encoder, tokens):
        return encoder(tokens)["pooled_output"]


@pytest.fixture(params=["control", "native", "graph"])
def parts(request, tiny_pair):
    return Control() if request.param == "control" else HubLayers(tiny_pair, request.param)


def functional(parts, preprocessor=None, encoder=None):
    text = keras.Input((), dtype="string")
    tokens = (preprocessor or parts.preprocessor())(text)
    return keras.Model(text, keras.layers.Dense(2)(parts.vectors(encoder or parts.encoder(), tokens)))


BATCHES = {
    "list": LIST,
    "tuple": tuple(LIST),
    "bytes": [text.encode() for text in LIST],
    "numpy_strings": np.array(LIST),
    "numpy_bytes": np.array(LIST, "S"),
    "numpy_objects": np.array(LIST, object),
    "series": pd.Series(LIST),
    "series_of_objects": pd.Series(LIST, dtype=object),
    "index": pd.Index(LIST),
    "column": TEXTS[:, None],
    "column_of_a_frame": pd.DataFrame({"text": LIST}),
}


def tokens_of(outputs):
    return outputs["input_word_ids"] if isinstance(outputs, dict) else outputs


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES.keys())
def test_layer_accepts_all_types_of_texts(parts, batch):
    layer = parts.preprocessor()
    np.testing.assert_array_equal(tokens_of(layer(batch)), tokens_of(layer(TEXTS)))


@pytest.mark.parametrize("batch", [[], np.array([], str)], ids=["list", "array"])
def test_layer_accepts_an_empty_batch(parts, batch):
    assert tokens_of(parts.preprocessor()(batch)).shape[0] == 0


def test_single_string_is_a_batch_of_one(tiny_pair):
    layer = HubPreprocessor(str(tiny_pair))
    for text in ("good film", b"good film", np.array("good film"), tf.constant("good film")):
        np.testing.assert_array_equal(layer(text)["input_word_ids"], layer(["good film"])["input_word_ids"])


@pytest.mark.parametrize(
    "pair",
    [
        [LIST, LIST[::-1]],
        (LIST, LIST[::-1]),
        (tuple(LIST), tuple(LIST[::-1])),
        [np.array(LIST), np.array(LIST[::-1], object)],
        (pd.Series(LIST), LIST[::-1]),
        [TEXTS[:, None], LIST[::-1]],
    ],
    ids=["lists", "tuple_of_lists", "tuples", "arrays", "series_and_list", "column_and_list"],
)
def test_layer_accepts_all_types_of_pairs(tiny_pair, pair):
    layer = HubPreprocessor(str(tiny_pair))
    for name, ids in layer([TEXTS, TEXTS[::-1]]).items():
        np.testing.assert_array_equal(layer(pair)[name], ids)


@pytest.mark.parametrize(
    "batch",
    [
        ["good", None],
        [1, 2],
        [["good", "bad"], ["film"]],
        pd.DataFrame({"one": LIST, "other": LIST}),
        {"text": LIST},
        (text for text in LIST),
        tf.constant([1, 2]),
        [TEXTS] * 3,
        np.array(LIST * 2).reshape(2, 2),
    ],
    ids=["none", "numbers", "sizes", "two_columns", "dict", "generator", "numbers_of_tensor", "three", "matrix"],
)
def test_invalid_batches_are_refused_in_one_line(tiny_pair, batch):
    with pytest.raises(InputError, match="^preprocessor: [^\n]*$"):
        HubPreprocessor(str(tiny_pair))(batch)


def test_error_names_the_invalid_row(tiny_pair):
    with pytest.raises(InputError, match="preprocessor: expected strings, got NoneType in row 1"):
        HubPreprocessor(str(tiny_pair))(["good", None])


def test_numeric_inputs_are_refused(tiny_pair):
    with pytest.raises(InputError, match="expected strings of shape"):
        HubPreprocessor(str(tiny_pair))(keras.Input((), dtype="int32"))


def test_text_layers_disable_xla_on_gpus(parts, monkeypatch):
    layer, model = parts.preprocessor(), functional(parts)
    assert not layer.supports_jit
    devices = [*tf.config.list_physical_devices(), tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: devices)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert not model.jit_compile
    model.fit(TEXTS, np.array([0, 1]), verbose=0)


def one_input(parts):
    text = keras.Input((), dtype="string")
    towers = [parts.vectors(parts.encoder(), parts.preprocessor()(text)) for _ in range(2)]
    return keras.Model(text, keras.layers.Concatenate()(towers)), TEXTS


def two_inputs_and_outputs(parts):
    texts = [keras.Input((), dtype="string", name=name) for name in ("question", "passage")]
    towers = [parts.vectors(parts.encoder(), parts.preprocessor()(text)) for text in texts]
    return keras.Model(texts, towers), [TEXTS, TEXTS[::-1]]


def layers_made_first(parts):
    text = keras.Input((), dtype="string")
    preprocessor, encoders = parts.preprocessor(), [parts.encoder() for _ in range(3)]
    tokens = preprocessor(text)
    return keras.Model(text, [parts.vectors(encoder, tokens) for encoder in encoders]), TEXTS


@pytest.mark.parametrize(
    ("compose", "parts"),
    [
        *((compose, "control") for compose in (one_input, two_inputs_and_outputs, layers_made_first)),
        *((one_input, "native"), (two_inputs_and_outputs, "graph"), (layers_made_first, "native")),
    ],
    indirect=["parts"],
)
def test_model_may_have_several_layers_of_a_class(parts, compose, tmp_path):
    model, texts = compose(parts)
    for weight in model.weights:
        if weight.dtype == "float32":
            weight.assign(weight + np.random.default_rng(0).normal(0, 0.1, weight.shape))
    expected = model.predict(texts, verbose=0)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    again = keras.models.load_model(tmp_path / "model.keras")
    other, _ = compose(parts)
    other.load_weights(tmp_path / "model.weights.h5")
    for reloaded in (again, other):
        predictions = keras.tree.flatten(reloaded.predict(texts, verbose=0))
        for actual, reference in zip(predictions, keras.tree.flatten(expected)):
            np.testing.assert_allclose(actual, reference, atol=1e-6)


def test_first_layer_of_each_model_has_the_default_name(tiny_pair):
    parts = HubLayers(tiny_pair, "native")
    models = [functional(parts), one_input(parts)[0], two_inputs_and_outputs(parts)[0], functional(parts)]
    for model in models:
        assert isinstance(model.get_layer("encoder"), HubEncoder)
        assert isinstance(model.get_layer("preprocessor"), HubPreprocessor)
    for model in models[1:3]:
        assert isinstance(model.get_layer("encoder_1"), HubEncoder)
        assert isinstance(model.get_layer("preprocessor_1"), HubPreprocessor)


def test_layers_of_deleted_models_free_the_default_name(tiny_pair, tmp_path):
    parts, layers = HubLayers(tiny_pair, "native"), []
    for _ in range(3):
        model = functional(parts)
        model.save(tmp_path / "model.keras")
        layers += [model.get_layer("encoder"), keras.models.load_model(tmp_path / "model.keras").get_layer("encoder")]


def test_explicit_name_is_kept(tiny_pair):
    parts = HubLayers(tiny_pair, "native")
    text = keras.Input((), dtype="string")
    names = ["encoder", None, "mine"]
    tokens = parts.preprocessor()(text)
    vectors = [HubEncoder(str(tiny_pair), name=name)(tokens)["pooled_output"] for name in names]
    model = keras.Model(text, keras.layers.Add()(vectors))
    assert [layer.name for layer in model.layers if isinstance(layer, HubEncoder)] == ["encoder", "encoder_1", "mine"]


@keras.saving.register_keras_serializable("contract")
class OwnLayers(keras.Model):
    """A model that makes its layers itself, with the functions of `made_by`."""

    made_by = None

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.preprocessor, self.encoder = self.made_by.preprocessor(), self.made_by.encoder()
        self.head = keras.layers.Dense(2)

    def call(self, texts, training=False):
        return self.head(self.made_by.vectors(self.encoder, self.preprocessor(texts)))


@keras.saving.register_keras_serializable("contract")
class GivenLayers(OwnLayers):
    """A model that gets its text layers, and makes its head itself."""

    def __init__(self, preprocessor, encoder, **kwargs):
        keras.Model.__init__(self, **kwargs)
        self.preprocessor, self.encoder, self.head = preprocessor, encoder, keras.layers.Dense(2)

    def get_config(self):
        layers = {"preprocessor": self.preprocessor, "encoder": self.encoder}
        return {**super().get_config(), **{k: keras.saving.serialize_keras_object(v) for k, v in layers.items()}}

    @classmethod
    def from_config(cls, config):
        layers = {k: keras.saving.deserialize_keras_object(config.pop(k)) for k in ("preprocessor", "encoder")}
        return cls(**layers, **config)


def own_layers(parts):
    OwnLayers.made_by = parts
    return OwnLayers()


def given_layers(parts):
    OwnLayers.made_by = parts
    return GivenLayers(parts.preprocessor(), parts.encoder())


def trained_model(kind, parts):
    """Return a model with trained weights, and its predictions."""
    model = kind(parts)
    model(TEXTS)
    for weight in model.weights:
        if weight.dtype == "float32":
            weight.assign(weight + np.random.default_rng(0).normal(0, 0.1, weight.shape))
    return model, np.asarray(model(TEXTS))


def assert_predicts(model, expected):
    np.testing.assert_allclose(model(TEXTS), expected, atol=1e-6)


@pytest.mark.parametrize("kind", [own_layers, given_layers])
def test_subclassed_models_reload_and_export(parts, kind, tmp_path):
    model, expected = trained_model(kind, parts)
    model.save(tmp_path / "model.keras")
    assert_predicts(keras.models.load_model(tmp_path / "model.keras"), expected)
    signature = [keras.InputSpec(shape=(None,), dtype="string")]
    model.export(tmp_path / "export", input_signature=signature, verbose=False)
    exported = tf.saved_model.load(tmp_path / "export")
    np.testing.assert_allclose(exported.serve(TEXTS), expected, atol=1e-6)


@pytest.mark.parametrize("kind", [functional, given_layers])
def test_clone_with_weights_predicts_the_same(parts, kind):
    model, expected = trained_model(kind, parts)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert_predicts(clone, expected)


def test_model_from_config_or_json_predicts_the_same(parts, tmp_path):
    model, expected = trained_model(functional, parts)
    model.save_weights(tmp_path / "model.weights.h5")
    for other in (keras.Model.from_config(model.get_config()), keras.models.model_from_json(model.to_json())):
        other.load_weights(tmp_path / "model.weights.h5")
        assert_predicts(other, expected)


@pytest.mark.parametrize("name", ["model.h5", "model.hdf5"])
def test_legacy_files_reload(parts, name, tmp_path):
    model, expected = trained_model(functional, parts)
    model.save(tmp_path / name)
    assert_predicts(keras.models.load_model(tmp_path / name), expected)
    other = functional(parts)
    other.load_weights(tmp_path / name)
    assert_predicts(other, expected)


@pytest.mark.parametrize("implementation", ["native", "graph"])
def test_layers_from_config_predict_like_new_layers(tiny_pair, implementation):
    layers = HubPreprocessor(str(tiny_pair)), HubEncoder(str(tiny_pair), implementation=implementation)
    preprocessor, encoder = (type(each).from_config(each.get_config()) for each in layers)
    expected = layers[1](layers[0](TEXTS))
    predicted = encoder(preprocessor(TEXTS))
    assert predicted.keys() == expected.keys()
    np.testing.assert_allclose(predicted["sequence_output"], expected["sequence_output"], atol=1e-6)
    # A clone of a clone that was not called.
    again = HubEncoder.from_config(HubEncoder.from_config(layers[1].get_config()).get_config())
    np.testing.assert_allclose(again(layers[0](TEXTS))["pooled_output"], expected["pooled_output"], atol=1e-6)


def moved(folder, tiny_pair):
    """Return a copy of the encoder's folder that a test can change."""
    shutil.copytree(tiny_pair, folder)
    return folder


@pytest.mark.parametrize("implementation", ["native", "graph"])
def test_clones_without_trained_weights_are_refused(tiny_pair, implementation):
    parts = HubLayers(tiny_pair, implementation)
    model, expected = trained_model(functional, parts)
    clone = keras.models.clone_model(model)
    for _ in range(2):
        with pytest.raises(InputError, match="^encoder: created from the config of a layer with other [^\n]*set_wei"):
            clone.predict(TEXTS, verbose=0)
    clone.set_weights(model.get_weights())
    np.testing.assert_allclose(clone.predict(TEXTS, verbose=0), expected, atol=1e-6)


@pytest.mark.parametrize("implementation", ["native", "graph"])
def test_clones_of_a_deleted_encoder_are_refused(tiny_pair, implementation, tmp_path):
    parts = HubLayers(moved(tmp_path / "pair", tiny_pair), implementation)
    preprocessor, encoder = parts.preprocessor(), parts.encoder()
    tokens = preprocessor(TEXTS)
    shutil.rmtree(tmp_path / "pair")
    with pytest.raises(InputError, match="^preprocessor: created without its vocabulary [^\n]*$"):
        HubPreprocessor.from_config(preprocessor.get_config())(TEXTS)
    with pytest.raises(InputError, match="^encoder: created without its weights [^\n]*$"):
        HubEncoder.from_config(encoder.get_config())(tokens)


@pytest.mark.parametrize("implementation", ["native", "graph"])
def test_legacy_files_of_a_deleted_encoder_are_refused(tiny_pair, implementation, tmp_path):
    model = functional(HubLayers(moved(tmp_path / "pair", tiny_pair), implementation))
    model.save(tmp_path / "model.h5")
    shutil.rmtree(tmp_path / "pair")
    with pytest.raises(InputError, match="without its vocabulary [^\n]*.keras file"):
        keras.models.load_model(tmp_path / "model.h5")


def test_clones_with_another_vocabulary_are_refused(tiny_pair, tmp_path):
    config = HubPreprocessor(str(moved(tmp_path / "pair", tiny_pair))).get_config()
    [vocabulary] = (tmp_path / "pair" / "preprocessor" / "assets").glob("*.txt")
    vocabulary.write_text(vocabulary.read_text(encoding="utf-8").replace("good", "gooood"), encoding="utf-8")
    with pytest.raises(InputError, match="^preprocessor: [^\n]*with another vocabulary than [^\n]*; load"):
        HubPreprocessor.from_config(config)(TEXTS)
