import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft import bi_encoder_model, pair_model, text_model
from tfhub_ft.models.heads import ClassificationHead, CosineSimilarity, apply_temperature, takes_temperature
from tfhub_ft.models.window_pooling import PoolWindows, SelectWindows, windows_of
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError

LONG = "the good film was so great and lovely " * 12
TEXTS = ["good film", LONG, "", LONG[:90]]
MASK = np.array([[[1, 1, 0], [1, 0, 0]], [[1, 1, 1], [0, 0, 0]]], "int32")
POOLED = ["sentiment", "spam", "phishing", "topic", "intent", "multilabel", "regression"]


def build(recipe, tiny_pair, **options):
    loaded = load_recipe(recipe)
    settings = loaded.settings.replaced({"encoder": str(tiny_pair), "seq_length": 16, **options})
    return loaded.build(settings, ["a", "b", "oos"] if recipe == "intent" else ["0.0", "1.0"])


def test_select_windows_drops_padding():
    tokens = {"input_word_ids": MASK * 7, "input_mask": MASK}
    selected = SelectWindows()(tokens)
    np.testing.assert_array_equal(selected["input_mask"], [[1, 1, 0], [1, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(selected["input_word_ids"], selected["input_mask"] * 7)
    np.testing.assert_array_equal(selected["is_window"], [[True, True], [True, False]])
    assert windows_of(selected | {"input_mask": MASK[0]})["input_mask"] is not None


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pool_windows_equals_numpy(pooling):
    logits = np.array([[1.0, -5.0], [3.0, -7.0], [-2.0, -1.0]], "float32")
    pooled = PoolWindows(pooling)(logits, tf.constant([[True, True], [True, False]]))
    expected = {"mean": [[2.0, -6.0], [-2.0, -1.0]], "max": [[3.0, -5.0], [-2.0, -1.0]]}[pooling]
    np.testing.assert_allclose(pooled, expected)
    with tf.GradientTape() as tape:
        tensor = tf.constant(logits)
        tape.watch(tensor)
        loss = tf.reduce_sum(PoolWindows(pooling)(tensor, tf.constant([[True, True], [True, False]])))
    gradients = {"mean": [[0.5, 0.5], [0.5, 0.5], [1, 1]], "max": [[0, 1], [1, 0], [1, 1]]}[pooling]
    np.testing.assert_allclose(tape.gradient(loss, tensor), gradients)


@pytest.mark.parametrize("recipe", POOLED)
def test_short_texts_have_the_logits_of_truncation(tiny_pair, recipe):
    windows = build(recipe, tiny_pair, long_texts="windows", window_pooling="max")
    truncated = build(recipe, tiny_pair)
    truncated.set_weights(windows.get_weights())
    logits, expected = windows(tf.constant(TEXTS)).numpy(), truncated(tf.constant(TEXTS)).numpy()
    assert logits.shape == expected.shape
    np.testing.assert_allclose(logits[[0, 2]], expected[[0, 2]], atol=1e-5)
    assert np.abs(logits[1] - expected[1]).max() > 1e-5


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_long_texts_have_the_pooled_logits_of_their_windows(tiny_pair, pooling):
    windows = build("sentiment", tiny_pair, long_texts="windows", window_pooling=pooling)
    single = build("sentiment", tiny_pair).get_layer("token_model")
    single.set_weights(windows.get_layer("token_model").get_weights())
    tokens = windows.get_layer("preprocessor")(TEXTS)
    for row, text in enumerate(TEXTS):
        count = int(tokens["input_mask"].numpy()[row].any(-1).sum())
        logits = single({name: ids[row, :count] for name, ids in tokens.items()}).numpy()
        expected = logits.mean(0) if pooling == "mean" else logits.max(0)
        np.testing.assert_allclose(windows(tf.constant([text])).numpy()[0], expected, atol=1e-5)


def test_keras_fits_and_saves_a_model_of_windows(tiny_pair, tmp_path):
    keras.utils.set_random_seed(0)
    model = build("sentiment", tiny_pair, long_texts="windows", dropout=0.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss=loss)
    neutral = "the room of the hotel was in the city and we ate a meal " * 2
    texts = [f"{neutral}{word} {word} film" for word in ("good", "bad") for _ in range(8)]
    rows = tf.data.Dataset.from_tensor_slices((texts, [1] * 8 + [0] * 8)).batch(16)
    losses = model.fit(rows, epochs=40, verbose=0).history["loss"]
    assert losses[-1] < 0.3 < 0.6 < losses[0]
    assert model.predict(tf.constant(TEXTS), verbose=0).shape == (4, 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(tf.constant(TEXTS)), model(tf.constant(TEXTS)), atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_temperature_divides_pooled_logits(tiny_pair, pooling):
    model = build("sentiment", tiny_pair, long_texts="windows", window_pooling=pooling)
    network, before = model.get_layer("token_model"), model(tf.constant(TEXTS)).numpy()
    assert takes_temperature(network)
    apply_temperature(network, 2.0)
    np.testing.assert_allclose(model(tf.constant(TEXTS)), before / 2, atol=1e-6)


def test_models_of_other_shapes_are_refused(tiny_pair):
    options = {"encoder": str(tiny_pair), "long_texts": "windows", "seq_length": 16}
    head = ClassificationHead(2)
    builders = [
        lambda: text_model(lambda encoded: head(encoded["pooled_output"]), inputs=("a", "b"), **options),
        lambda: text_model(lambda encoded: head(encoded["pooled_output"]), windows={"overlap": 2}, **options),
        lambda: bi_encoder_model(CosineSimilarity(), **options),
        lambda: pair_model(ClassificationHead(2, fitted_inputs=1), **options),
    ]
    for builder in builders:
        with pytest.raises(InputError, match="^--long-texts windows: needs a model with one output for one text"):
            builder()
    with pytest.raises(ValueError, match="expected logits of shape"):
        text_model(lambda encoded: head(encoded["sequence_output"]), **options)
    with pytest.raises(InputError, match="^--long-texts all: must be one of truncate, head-tail, windows$"):
        text_model(head, encoder=str(tiny_pair), long_texts="all")
    with pytest.raises(ValueError, match="expected 'mean' or 'max'"):
        PoolWindows("sum")
