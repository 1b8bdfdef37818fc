import keras
import numpy as np
import pytest

from tfhub_ft.data.batches import tokenize
from tfhub_ft.models.builders import pair_model, text_model
from tfhub_ft.models.forward import make_logits_fn
from tfhub_ft.models.heads import ClassificationHead
from tfhub_ft.models.integrated_gradients import TOLERANCE, IntegratedGradients, clenshaw_curtis, is_special
from tfhub_ft.utils.errors import InputError

TEXTS = ["good film", "the food was bad, and the waiter very rude!", "awful"]


def scaled_head(classes):
    """A head whose logits are far apart, so that the outputs of rows and baselines differ."""
    initializer = keras.initializers.RandomNormal(stddev=2.0, seed=1)
    return keras.layers.Dense(classes, kernel_initializer=initializer, name="logits")


def attributions_of(model, rows, outputs, activation="softmax"):
    tokens = tokenize(model.get_layer("preprocessor"), rows)
    network = model.get_layer("token_model")
    explain = IntegratedGradients(network, model.get_layer("preprocessor").mask_id, activation)
    return tokens, make_logits_fn(network)(tokens), explain(tokens, outputs)


def sums(tokens, attributions):
    return np.add.reduceat(attributions.values, tokens.starts[:-1])


def check_completeness(tokens, attributions):
    difference = attributions.outputs - attributions.baselines
    np.testing.assert_allclose(np.abs(sums(tokens, attributions) - difference), attributions.errors, atol=1e-9)
    assert (attributions.errors <= TOLERANCE * np.maximum(1, np.abs(difference))).all()
    assert np.abs(difference).max() > 0.1
    assert not attributions.values[is_special(tokens)].any()


def test_attributions_add_up_to_the_log_odds(tiny_pair):
    model = text_model(lambda encoded: scaled_head(3)(encoded["pooled_output"]), encoder=str(tiny_pair), seq_length=16)
    tokens, logits, attributions = attributions_of(model, [(text,) for text in TEXTS], [0, 2, 1])
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    explained = probabilities[range(3), [0, 2, 1]]
    np.testing.assert_allclose(attributions.outputs, np.log(explained / (1 - explained)), atol=1e-4)
    check_completeness(tokens, attributions)


def test_attributions_of_pairs_follow_moved_tokens(tiny_pair):
    model = pair_model(ClassificationHead(2, fitted_inputs=1), encoder=str(tiny_pair), seq_length=24)
    head = model.get_layer("token_model").layers[-1]
    head.dense.set_weights([np.random.default_rng(0).normal(0, 0.5, w.shape) for w in head.dense.get_weights()])
    rows = [("good film", "a very good movie"), ("the room was cold", "it rains")]
    check_completeness(*attributions_of(model, rows, [0, 1])[::2])


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_attributions_of_other_activations_explain_a_logit(tiny_pair, activation):
    model = text_model(lambda encoded: scaled_head(2)(encoded["pooled_output"]), encoder=str(tiny_pair), seq_length=16)
    tokens, logits, attributions = attributions_of(model, [(text,) for text in TEXTS], [1, 0, 1], activation)
    np.testing.assert_allclose(attributions.outputs, logits[range(3), [1, 0, 1]], atol=1e-4)
    check_completeness(tokens, attributions)


def test_attributions_are_those_of_many_equal_steps(tiny_pair):
    import tensorflow as tf

    model = text_model(lambda encoded: scaled_head(2)(encoded["pooled_output"]), encoder=str(tiny_pair), seq_length=16)
    tokens, _, attributions = attributions_of(model, [(TEXTS[0],)], [1])
    network, backend = model.get_layer("token_model"), model.get_layer("token_model").get_layer("encoder").backend
    ids = tokens.word_ids.copy()
    ids[1:-1] = model.get_layer("preprocessor").mask_id
    start, end = (backend.read_word_vectors(tf.constant(each)) for each in (ids, tokens.word_ids))
    batch = tokens.batch(np.array([0])) | {"input_word_ids": np.arange(len(ids), dtype="int32")[None]}
    total, steps = np.zeros(start.shape), 20
    for step in range(steps):
        with tf.GradientTape() as tape:
            vectors = start + (end - start) * (step + 0.5) / steps
            tape.watch(vectors)
            with backend.reading_word_vectors(vectors):
                logits = network(batch)
            output = logits[0, 1] - logits[0, 0]
        total += tf.convert_to_tensor(tape.gradient(output, vectors)).numpy() / steps
    expected = (total * (end - start).numpy()).sum(-1)
    np.testing.assert_allclose(attributions.values, expected, atol=0.01 * np.abs(expected).max())
    # The embeddings are in use again.
    np.testing.assert_allclose(make_logits_fn(network)(tokens)[0] @ [-1, 1], attributions.outputs[0], atol=1e-4)


def test_attributions_of_no_rows_are_empty(tiny_pair):
    model = text_model(lambda encoded: scaled_head(2)(encoded["pooled_output"]), encoder=str(tiny_pair), seq_length=16)
    tokens = tokenize(model.get_layer("preprocessor"), [(TEXTS[0],)]).subset(np.array([], int))
    attributions = IntegratedGradients(model.get_layer("token_model"), 5, "softmax")(tokens, [])
    assert attributions.values.shape == attributions.errors.shape == (0,)


@pytest.mark.parametrize("size", [200, 100_000])
def test_models_that_read_token_ids_themselves_are_refused(tiny_pair, size):
    base = text_model(lambda encoded: scaled_head(2)(encoded["pooled_output"]), encoder=str(tiny_pair), seq_length=16)
    network, rng = base.get_layer("token_model"), np.random.default_rng(0)
    ids = network.input["input_word_ids"]
    size = max(size, base.get_layer("preprocessor").vocabulary_size)
    bag = keras.layers.Embedding(size, 2, weights=[rng.normal(0, 5, (size, 2))])(ids)
    logits = keras.layers.Add()([network.output, keras.layers.GlobalAveragePooling1D()(bag)])
    tokens = tokenize(base.get_layer("preprocessor"), [(TEXTS[0],)])
    with pytest.raises(InputError, match="--explain: not available, because the model reads token ids outside"):
        IntegratedGradients(keras.Model(network.input, logits), 5, "softmax")(tokens, [0])


def test_encoders_computed_by_a_graph_are_refused(tiny_pair):
    model = text_model(
        lambda encoded: scaled_head(2)(encoded["pooled_output"]),
        encoder=str(tiny_pair),
        seq_length=16,
        implementation="graph",
    )
    with pytest.raises(InputError, match="--explain: not supported, because the encoder .* is computed by its graph"):
        IntegratedGradients(model.get_layer("token_model"), 5, "softmax")


@pytest.mark.parametrize("steps", [4, 16, 32])
def test_clenshaw_curtis_integrates_polynomials(steps):
    places, weights = map(np.array, clenshaw_curtis(steps))
    for power in range(steps + 1):
        assert weights @ places**power == pytest.approx(1 / (power + 1), abs=1e-9)
    assert set(places) < set(clenshaw_curtis(2 * steps)[0])
