import keras
import pytest
import tensorflow as tf

from tfhub_ft.models.builders import bi_encoder_model, masked_lm_model, pair_model, text_model
from tfhub_ft.models.heads import ClassificationHead, CosineSimilarity
from tfhub_ft.utils.errors import InputError

TEXTS = ["good film", "the food was bad"]


def logits_head(encoded):
    return ClassificationHead(3)(encoded["pooled_output"])


def test_text_model_returns_logits_of_texts(tiny_pair):
    model = text_model(logits_head, encoder=str(tiny_pair), seq_length=16)
    assert model(tf.constant(TEXTS)).shape == (2, 3)
    assert isinstance(model.get_layer("token_model"), keras.Model)


def test_text_model_lowercases_texts(tiny_pair):
    model = text_model(logits_head, lowercase=True, encoder=str(tiny_pair), seq_length=16)
    assert model.get_layer("preprocessor").lowercase


def test_text_model_rejects_sequences_that_are_too_long(tiny_pair):
    with pytest.raises(InputError, match="65"):
        text_model(logits_head, encoder=str(tiny_pair), seq_length=65)


@pytest.mark.parametrize(
    ("build", "layer"),
    [(pair_model, ClassificationHead(2, fitted_inputs=1)), (bi_encoder_model, CosineSimilarity())],
    ids=["pair_model", "bi_encoder_model"],
)
def test_models_of_two_texts_return_a_row_per_pair(build, layer, tiny_pair):
    model = build(layer, encoder=str(tiny_pair), seq_length=16)
    outputs = model([tf.constant(TEXTS), tf.constant(TEXTS[::-1])])
    assert outputs.shape == (2, layer.num_classes if build is pair_model else 1)


def test_masked_lm_model_returns_scores_per_window(tiny_pair):
    model = masked_lm_model(mask_share=0.5, encoder=str(tiny_pair), seq_length=16)
    loss, correct, count = tf.reduce_sum(model(tf.constant(TEXTS)), 0).numpy()
    assert 0 <= correct <= count <= 6
    assert (loss > 0) == (count > 0)
