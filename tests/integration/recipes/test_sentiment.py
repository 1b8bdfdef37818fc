"""The builder of the recipe sentiment in Keras code, without the rest of the framework."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tfhub_ft.recipes import sentiment

from tests.conftest import make_reviews


def test_sentiment_model_fits_saves_reloads_and_exports(tiny_pair, tmp_path):
    texts, words = zip(*make_reviews(64))
    labels = np.array([word == "positive" for word in words], "int32")
    model = sentiment.build_model(encoder=str(tiny_pair), num_classes=2, seq_length=24)
    assert isinstance(model, keras.Model)
    assert model.output_shape == (None, 2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(5e-3), loss, metrics=["accuracy"])
    history = model.fit(tf.data.Dataset.from_tensor_slices((list(texts), labels)).batch(8), epochs=4, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]

    some = tf.constant(texts[:5])
    expected = model.predict(some, verbose=0)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(
        keras.models.load_model(tmp_path / "model.keras").predict(some, verbose=0), expected, atol=1e-5
    )
    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(exported.serve(some), expected, atol=1e-5)


def test_sentiment_model_with_a_frozen_encoder(tiny_pair):
    model = sentiment.build_model(encoder=str(tiny_pair), num_classes=5, freeze="all", dropout=0.3)
    assert model.output_shape == (None, 5)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == 32 * 5 + 5
    network = model.get_layer("token_model")
    assert set(network.input) == {"input_word_ids", "input_mask", "input_type_ids"}


@pytest.mark.slow
def test_sentiment_learns_the_demo_rows(tmp_path):
    import tfhub_ft

    run = tfhub_ft.train("sentiment", output_dir=tmp_path / "run", epochs=2)
    assert run.metrics["test"]["roc_auc"] > 0.7
    exported = tfhub_ft.export(run, output_dir=tmp_path / "exports")
    assert tfhub_ft.predict(exported, ["An absolute joy."])[0]["label"] in run.labels
