"""Packed dialogues, LoRA and `.keras` files of the layer with KerasHub's model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tfhub_ft.recipes import dialogue

from tfhub_ft.language_models.packing import INPUTS
from tfhub_ft.utils.errors import InputError, RowError

PAIRS = [("good the in", "the goose"), ("use 12  cats?", "you"), ("th", "a nest of errors")]


def messages(prompt, reply):
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]


def texts(pairs):
    return [tf.constant(column) for column in zip(*pairs, strict=True)]


@pytest.fixture(scope="module", params=["tiny_preset", "tiny_gpt2_preset"])
def model(request):
    return dialogue.build_model(str(request.getfixturevalue(request.param)), seq_length=250)


def test_packed_dialogues_do_not_attend_to_each_other(model):
    preprocessor, network = model.get_layer("preprocessor"), model.get_layer("token_model")
    dialogues = [messages(*pair) for pair in PAIRS]
    packed, single = preprocessor.encode(dialogues, seed=1), preprocessor.encode(dialogues)
    assert len(packed) < len(single) == 3
    sums = [network(rows.batch(np.arange(len(rows)))).numpy() for rows in (packed, single)]
    np.testing.assert_allclose(sums[0].sum(0), sums[1].sum(0), rtol=1e-4)


def test_scores_equal_kerashub(model):
    layer, preprocessor = model.get_layer("token_model").get_layer("language_model"), model.get_layer("preprocessor")
    batch = preprocessor.encode([messages(*PAIRS[0])]).batch(np.array([0]))
    ids, is_target = batch[INPUTS[0]], batch[INPUTS[2]][0, 1:] > 0
    logits = layer.causal_lm({"token_ids": ids, "padding_mask": np.ones_like(ids)}).numpy()[0, :-1]
    losses = -tf.nn.log_softmax(logits).numpy()[np.arange(len(logits)), ids[0, 1:]]
    entropy, _, count = layer(batch).numpy()[0]
    assert count == is_target.sum()
    assert entropy == pytest.approx(losses[is_target].sum(), rel=1e-4)


def test_static_shapes_give_the_same_scores(model):
    network, rows = model.get_layer("token_model"), model.get_layer("preprocessor").encode([messages(*PAIRS[0])])
    batch = {name: tf.constant(values) for name, values in rows.batch(np.array([0])).items()}
    shapes = {name: tf.TensorSpec(values.shape, tf.int32) for name, values in batch.items()}
    dynamic = {name: tf.TensorSpec((None, None), tf.int32) for name in batch}
    layer = network.get_layer("language_model")
    fixed, free = (
        tf.function(layer, input_signature=[signature], autograph=False)(batch) for signature in (shapes, dynamic)
    )
    np.testing.assert_allclose(fixed, free, rtol=1e-5)


def test_texts_in_a_graph_give_the_same_scores(model):
    in_graph = model(texts(PAIRS)).numpy()
    rows = model.get_layer("preprocessor").encode([messages(*pair) for pair in PAIRS])
    np.testing.assert_allclose(in_graph, model.get_layer("token_model")(rows.batch(np.arange(3))), rtol=1e-4)


def test_keras_file_restores_the_model(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(loaded(texts(PAIRS)), model(texts(PAIRS)), rtol=1e-5)
    assert loaded.get_layer("preprocessor").end_id == model.get_layer("preprocessor").end_id


def test_encode_drops_the_first_turns(model):
    preprocessor = model.get_layer("preprocessor")
    system = {"role": "system", "content": "be brief"}
    long = [system, *(message for n in range(30) for message in messages(f"ask {n}", f"say {n}"))]
    rows = preprocessor.encode([long])
    assert rows.lengths[0] <= 250
    text = "".join(preprocessor.tokenizer.detokenize([rows.word_ids.tolist()]))
    assert "be brief" in text and "say 29" in text and "ask 0" not in text
    ids = preprocessor.prompt_ids(long[:-1], room=100)
    assert len(ids) <= 150


def test_encode_errors_name_the_row(model):
    preprocessor = model.get_layer("preprocessor")
    good, special = messages("a", "b"), preprocessor.specials[0]
    with pytest.raises(RowError, match="is too long: .* --seq-length 250 leaves room for 250") as fault:
        preprocessor.encode([good, messages("x " * 300, "b")])
    assert fault.value.row == 1
    with pytest.raises(RowError, match="which only the chat template may write"):
        preprocessor.encode([messages(f"a{special}", "b")])
    with pytest.raises(RowError, match="is too long"):
        preprocessor.prompt_ids(messages("x " * 300, "b")[:1])


@pytest.fixture
def lora_model(tiny_preset):
    model = dialogue.build_model(str(tiny_preset), seq_length=250)
    layer = model.get_layer("token_model").get_layer("language_model")
    layer.enable_lora(4, targets=["query", "feedforward_output_dense"])
    return model, layer


def test_lora_updates_start_at_zero_and_are_merged(lora_model, tiny_preset, tmp_path):
    model, layer = lora_model
    before = dialogue.build_model(str(tiny_preset), seq_length=250)
    np.testing.assert_allclose(model(texts(PAIRS)), before(texts(PAIRS)), rtol=1e-5)
    assert sum(int(np.prod(weight.shape)) for weight in layer.trainable_weights) < 4000
    rng = np.random.default_rng(0)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    updated = model(texts(PAIRS)).numpy()
    layer.save_lora_weights(tmp_path / "adapter.safetensors")
    count = len(layer.weights)
    layer.merge_lora()
    assert len(layer.weights) < count and not np.allclose(updated, before(texts(PAIRS)), rtol=1e-2)
    np.testing.assert_allclose(model(texts(PAIRS)), updated, rtol=1e-4)
    before.get_layer("token_model").get_layer("language_model").load_lora_weights(tmp_path / "adapter.safetensors")
    np.testing.assert_allclose(before(texts(PAIRS)), updated, rtol=1e-4)


def test_trainable_restores_only_lora_updates(lora_model, tmp_path):
    model, layer = lora_model
    expected = [weight.path for weight in model.trainable_weights]
    model.trainable = False
    assert model.trainable_weights == []
    model.save_weights(tmp_path / "updates.weights.h5")
    model.trainable = True
    assert [weight.path for weight in model.trainable_weights] == expected
    layer.trainable_weights[1].assign_add(np.ones(layer.trainable_weights[1].shape))
    model.load_weights(tmp_path / "updates.weights.h5")
    assert not np.asarray(layer.trainable_weights[1]).any()
    layer.trainable = False
    layer.merge_lora()
    assert layer.trainable_weights == []
    layer.trainable = True
    assert len(layer.trainable_weights) == len(layer.weights)


def test_enable_lora_retraces_keras_functions(tiny_preset):
    network = dialogue.build_model(str(tiny_preset), seq_length=250).get_layer("token_model")
    layer = network.get_layer("language_model")
    tokens = {name: np.ones((1, 4), "int32") for name in INPUTS} | {INPUTS[0]: np.array([[5, 9, 7, 3]], "int32")}
    before = network.predict(tokens, verbose=0)
    layer.enable_lora(4, targets=["query"])
    for weight in layer.trainable_weights:
        weight.assign(np.full(weight.shape, 0.3))
    updated = network.predict(tokens, verbose=0)
    np.testing.assert_allclose(updated, network(tokens), rtol=1e-5)
    assert np.abs(updated - before).max() > 1e-3
    user_function = tf.function(network)
    user_function(tokens)
    layer.merge_lora()
    np.testing.assert_allclose(network.predict(tokens, verbose=0), updated, rtol=1e-4)
    np.testing.assert_allclose(user_function(tokens), updated, rtol=1e-4)
    with pytest.raises(InputError, match="language_model: a tf.function that traced the layer"):
        layer.enable_lora(4, targets=["query"])


def test_load_lora_weights_rejects_other_models(lora_model, tiny_gpt2_preset, tmp_path):
    lora_model[1].save_lora_weights(tmp_path / "adapter.safetensors")
    other = dialogue.build_model(str(tiny_gpt2_preset), seq_length=250).get_layer("token_model")
    with pytest.raises(InputError, match="adapter of another model"):
        other.get_layer("language_model").load_lora_weights(tmp_path / "adapter.safetensors")


@pytest.mark.parametrize(
    ("rank", "targets", "message"),
    [
        (4, ["queri"], "--lora-targets queri: must be some of .*query"),
        (33, ["query"], "--lora-rank 33: must be from 1 to 32"),
    ],
)
def test_enable_lora_rejects_wrong_arguments(tiny_preset, rank, targets, message):
    layer = dialogue.build_model(str(tiny_preset)).get_layer("token_model").get_layer("language_model")
    with pytest.raises(InputError, match=message):
        layer.enable_lora(rank, targets=targets)


def test_check_rejects_other_model_families():
    import keras_hub

    from tfhub_ft.language_models.language_model_layer import LanguageModel

    sizes = {"vocabulary_size": 40, "num_layers": 1, "num_query_heads": 2, "num_key_value_heads": 1}
    backbone = keras_hub.models.GemmaBackbone(**sizes, hidden_dim=8, intermediate_dim=16, head_dim=4)
    with pytest.raises(InputError, match="mine: dialogues cannot be packed for KerasHub's Gemma models"):
        LanguageModel(keras_hub.models.GemmaCausalLM(backbone), source="mine").check()
