import keras
import keras_hub
import numpy as np
import pytest

from tests.conftest import CHATML, make_gguf
from tfhub_ft.language_models import gguf_conversion
from tfhub_ft.language_models.gguf_conversion import convert_gguf
from tfhub_ft.language_models.gguf_file import read_gguf
from tfhub_ft.language_models.numpy_llama import llama_logits
from tfhub_ft.utils.errors import InputError, RunError

IDS = np.array([[1, 30, 50, 270, 280, 40, 41, 2]])


def logits(causal_lm, ids=IDS):
    return np.asarray(causal_lm({"token_ids": ids, "padding_mask": np.ones_like(ids)}))


@pytest.mark.parametrize("tied", [True, False])
def test_convert_gguf_writes_a_kerashub_preset(tmp_path, tied):
    file = make_gguf(tmp_path / "model.gguf", tied=tied)
    folder = tmp_path / "preset"
    assert convert_gguf(file, folder) < 1e-4
    causal_lm = keras_hub.models.CausalLM.from_preset(str(folder))
    np.testing.assert_allclose(logits(causal_lm)[0], llama_logits(read_gguf(file), IDS[0]), atol=1e-4)
    assert causal_lm.backbone.token_embedding.tie_weights is tied
    assert (folder / "chat_template.jinja").read_text() == CHATML
    assert sorted(path.name for path in folder.iterdir()) == [
        "assets", "chat_template.jinja", "config.json", "metadata.json", "model.weights.h5", "preprocessor.json",
        "task.json", "tokenizer.json",
    ]  # fmt: skip


def test_convert_gguf_reads_quantized_files_without_template(tmp_path):
    fields = {"tokenizer.chat_template": None, "tokenizer.ggml.pre": "gpt-2", "llama.rope.freq_base": 100000.0}
    file = make_gguf(tmp_path / "model.gguf", quantized="Q8_0", fields=fields)
    assert convert_gguf(file, tmp_path / "preset") < 1e-4
    assert not (tmp_path / "preset" / "chat_template.jinja").exists()
    tokenizer = keras_hub.models.Tokenizer.from_preset(str(tmp_path / "preset"))
    assert tokenizer.pre_tokenizer == "gpt-2"


def test_generate_equals_greedy_decoding_with_numpy(tiny_gguf, tiny_preset):
    causal_lm = keras_hub.models.CausalLM.from_preset(str(tiny_preset))
    causal_lm.compile(sampler="greedy")
    prompt = causal_lm.preprocessor.tokenizer(["the good"])[0]
    text = causal_lm.generate("the good", max_length=24)
    model, ids = read_gguf(tiny_gguf), list(prompt)
    while len(ids) < 24 and model.tokenizer.tokens[ids[-1]] != "<|im_end|>":
        ids.append(int(llama_logits(model, ids)[-1].argmax()))
    special = set(causal_lm.preprocessor.tokenizer.special_token_ids)
    expected = [token for token in ids if token not in special]
    assert len(ids) > len(prompt)
    assert text == causal_lm.preprocessor.tokenizer.detokenize(expected)


@pytest.mark.parametrize(("starts", "expected"), [(True, [1, 270, 0]), (False, [270, 0, 0])])
def test_start_token_follows_the_file(tmp_path, starts, expected):
    fields = {"tokenizer.ggml.add_bos_token": starts}
    convert_gguf(make_gguf(tmp_path / "model.gguf", fields=fields), tmp_path / "preset")
    causal_lm = keras_hub.models.CausalLM.from_preset(str(tmp_path / "preset"))
    inputs = causal_lm.preprocessor.generate_preprocess(["the"], sequence_length=3)
    assert np.asarray(inputs["token_ids"]).tolist() == [expected]


def test_padding_token_differs_from_the_end_token(tmp_path):
    fields = {"tokenizer.ggml.eos_token_id": 0, "tokenizer.ggml.padding_token_id": 0}
    convert_gguf(make_gguf(tmp_path / "model.gguf", fields=fields), tmp_path / "preset")
    causal_lm = keras_hub.models.CausalLM.from_preset(str(tmp_path / "preset"))
    tokenizer = causal_lm.preprocessor.tokenizer
    assert (tokenizer.end_token_id, tokenizer.pad_token_id) == (0, 1)
    assert len(causal_lm.generate("the", max_length=24)) > len("the")


def test_convert_gguf_rejects_different_logits(tiny_gguf, tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_conversion, "TOLERANCE", 0.0)
    with pytest.raises(RunError, match="Tiny Llama: .* does not reproduce the GGUF file .logits differ"):
        convert_gguf(tiny_gguf, tmp_path / "preset")
    assert list(tmp_path.iterdir()) == []


def test_convert_gguf_rejects_nan(tmp_path):
    file = make_gguf(tmp_path / "model.gguf", tensors={"output_norm.weight": np.full(32, np.nan, "float32")})
    with pytest.raises(RunError, match="logits differ by nan"):
        convert_gguf(file, tmp_path / "preset")


def test_convert_gguf_keeps_existing_folders(tiny_gguf, tmp_path):
    with pytest.raises(InputError, match="already exists"):
        convert_gguf(tiny_gguf, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_convert_gguf_keeps_the_random_state(tiny_gguf, tmp_path):
    keras.utils.set_random_seed(0)
    expected = keras.initializers.RandomNormal()((2,)).numpy()
    keras.utils.set_random_seed(0)
    convert_gguf(tiny_gguf, tmp_path / "preset")
    np.testing.assert_array_equal(keras.initializers.RandomNormal()((2,)), expected)
