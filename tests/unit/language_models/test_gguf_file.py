import numpy as np
import pytest

from tests.conftest import CHATML, make_byte_pairs, make_gguf
from tfhub_ft.language_models.gguf_file import read_gguf
from tfhub_ft.utils.errors import InputError

VOCABULARY, MERGES = make_byte_pairs(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])


def test_read_gguf_returns_architecture_and_tokenizer(tiny_gguf):
    model = read_gguf(tiny_gguf)
    assert (model.name, model.layers, model.heads, model.kv_heads, model.head_size) == ("Tiny Llama", 2, 2, 1, 16)
    assert (model.context_length, model.rope_base, model.norm_eps) == (256, 10000.0, pytest.approx(1e-5))
    assert model.is_tied
    assert model.output is model.tensors["token_embd.weight"]
    assert model.chat_template == CHATML
    assert model.tokenizer.tokens == list(VOCABULARY)
    assert model.tokenizer.special == ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert (model.tokenizer.start, model.tokenizer.end) == (None, "<|im_end|>")


def test_read_gguf_returns_untied_output_layer(tmp_path):
    model = read_gguf(make_gguf(tmp_path / "untied.gguf", tied=False))
    assert not model.is_tied
    assert model.output is model.tensors["output.weight"]


@pytest.mark.parametrize(("kind", "error"), [("Q8_0", 0.01), ("Q4_1", 0.15), ("Q4_0", 0.2), ("BF16", 0.01)])
def test_read_gguf_dequantizes_tensors(tiny_gguf, tmp_path, kind, error):
    exact = read_gguf(tiny_gguf).tensors
    rounded = read_gguf(make_gguf(tmp_path / "quantized.gguf", quantized=kind)).tensors
    for name, array in rounded.items():
        assert array.dtype == np.float32
        assert np.abs(array - exact[name]).max() < error


def test_read_gguf_has_defaults_for_optional_fields(tmp_path):
    optional = ("general.name", "llama.rope.freq_base", "tokenizer.chat_template", "tokenizer.ggml.bos_token_id")
    model = read_gguf(make_gguf(tmp_path / "short.gguf", fields=dict.fromkeys(optional)))
    assert (model.name, model.rope_base, model.chat_template) == ("short", 10000.0, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fields": {"general.architecture": "qwen2"}}, "the architecture is qwen2; only llama"),
        ({"fields": {"llama.block_count": None}}, "the field llama.block_count is missing"),
        ({"fields": {"llama.block_count": 0}}, "layers is 0"),
        ({"fields": {"llama.attention.head_count": 3}}, "3 heads"),
        ({"fields": {"llama.attention.head_count_kv": [1, 1]}}, r"kv heads is \[1, 1\]"),
        ({"fields": {"llama.attention.layer_norm_rms_epsilon": None}}, "layer_norm_rms_epsilon"),
        ({"fields": {"llama.rope.dimension_count": 8}}, "rope.dimension_count is 8; only the width of the heads, 16"),
        ({"fields": {"llama.rope.scaling.type": "yarn"}}, "scaled rotary positions are not supported"),
        ({"fields": {"tokenizer.ggml.tokens": None}}, "the tokenizer is missing"),
        ({"fields": {"tokenizer.ggml.model": "llama"}}, "the tokenizer's model is llama; only gpt2"),
        ({"fields": {"tokenizer.ggml.pre": "tekken"}}, "the pre-tokenizer is tekken; only gpt-2, smollm are supported"),
        ({"fields": {"tokenizer.ggml.merges": None}}, "the field tokenizer.ggml.merges is missing"),
        ({"fields": {"tokenizer.ggml.merges": ["x yz"]}}, "merges 'x yz'"),
        ({"fields": {"tokenizer.ggml.eos_token_id": None}}, "the field tokenizer.ggml.eos_token_id is missing"),
        ({"fields": {"tokenizer.ggml.eos_token_id": 9999}}, "eos_token_id is 9999, but the vocabulary has"),
        (
            {"fields": {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": None}},
            "the field tokenizer.ggml.bos_token_id is missing",
        ),
        ({"fields": {"tokenizer.ggml.tokens": [*VOCABULARY, "a"]}}, "contains a token twice"),
        ({"fields": {"tokenizer.ggml.tokens": [*VOCABULARY, "more"]}}, r"token_embd.weight has the shape"),
        ({"tensors": {"blk.1.ffn_up.weight": None}}, "the tensor blk.1.ffn_up.weight is missing"),
        ({"tensors": {"blk.0.attn_q.bias": np.zeros(32, np.float32)}}, "blk.0.attn_q.bias is not supported"),
        ({"tensors": {"rope_freqs.weight": np.ones(8, np.float32)}}, "rope_freqs.weight is not supported"),
        ({"tensors": {"output_norm.weight": np.ones(31, np.float32)}}, r"has the shape \(31,\); expected \(32,\)"),
        ({"tensors": {"output_norm.weight": np.ones(32, np.int32)}}, "type I32, which gguf cannot dequantize"),
    ],
)
def test_read_gguf_rejects_other_models(tmp_path, changes, message):
    file = make_gguf(tmp_path / "model.gguf", **changes)
    with pytest.raises(InputError, match=message) as caught:
        read_gguf(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 3, 20, 1000, 5000, -40000, -100])
def test_read_gguf_rejects_truncated_files(tiny_gguf, tmp_path, size):
    file = tmp_path / "cut.gguf"
    file.write_bytes(tiny_gguf.read_bytes()[:size])
    with pytest.raises(InputError, match="cut.gguf: not a complete GGUF file"):
        read_gguf(file)


def test_read_gguf_reads_or_rejects_damaged_files(tiny_gguf, tmp_path):
    content, rng = tiny_gguf.read_bytes(), np.random.default_rng(0)
    file = tmp_path / "damaged.gguf"
    for _ in range(100):
        damaged = bytearray(content)
        for position in rng.integers(0, 12000, rng.integers(1, 4)):
            damaged[position] = rng.integers(256)
        file.write_bytes(damaged)
        try:
            read_gguf(file)
        except InputError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("content", [b"", b"not a GGUF file, but long enough for its header"])
def test_read_gguf_rejects_other_files(tmp_path, content):
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(InputError, match="not a complete GGUF file"):
        read_gguf(tmp_path / "x.gguf")


def test_read_gguf_rejects_missing_files(tmp_path):
    with pytest.raises(InputError, match="not found"):
        read_gguf(tmp_path / "x.gguf")
