"""Reading Hugging Face checkpoints in all formats, and one-line errors for faults."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tfhub_ft.encoders.checkpoint import read_checkpoint
from tfhub_ft.utils.errors import InputError

WEIGHTS = "model.safetensors"


@pytest.fixture
def bert(tmp_path: Path, checkpoint_maker: Callable[..., Path]) -> Path:
    return checkpoint_maker(tmp_path / "tiny")


def change_config(folder: Path, **entries: object) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | entries
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def change_weights(folder: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS)


def error_of(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_checkpoint(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def assert_same_weights(folder: Path, other: Path) -> None:
    checkpoints = read_checkpoint(folder), read_checkpoint(other)
    weights, expected = ({**checkpoint.weights, **checkpoint.masked_lm} for checkpoint in checkpoints)
    assert weights.keys() == expected.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_read_checkpoint_reads_bert(tiny_checkpoint: Path) -> None:
    checkpoint = read_checkpoint(tiny_checkpoint)
    assert (checkpoint.model_type, checkpoint.layers, checkpoint.hidden_size, checkpoint.heads) == ("bert", 2, 32, 2)
    assert (checkpoint.max_positions, checkpoint.type_vocab_size, checkpoint.activation) == (64, 2, "gelu")
    assert (checkpoint.dropout, checkpoint.attention_dropout, checkpoint.do_lower_case) == (0.1, 0.1, True)
    assert checkpoint.has_pooler
    assert list(checkpoint.vocabulary) == (tiny_checkpoint / "vocab.txt").read_text().splitlines()
    assert "embeddings.word_embeddings.weight" in checkpoint.weights
    assert {value.dtype for value in checkpoint.weights.values()} == {np.dtype("float32")}
    assert checkpoint.block(1)["intermediate"][0].shape == (64, 32)


def test_read_checkpoint_reads_distilbert(tmp_path: Path, checkpoint_maker: Callable[..., Path]) -> None:
    checkpoint = read_checkpoint(checkpoint_maker(tmp_path / "tiny", "distilbert", dropout=0.2, layer_norm_eps=1e-3))
    assert (checkpoint.model_type, checkpoint.type_vocab_size, checkpoint.has_pooler) == ("distilbert", 0, False)
    assert (checkpoint.dropout, checkpoint.layer_norm_eps) == (0.2, 1e-12)
    assert checkpoint.block(0).keys() == {
        *(f"self_attention/{part}" for part in ("query", "key", "value", "attention_output")),
        *("self_attention_layer_norm", "intermediate", "output", "output_layer_norm"),
    }


def test_read_checkpoint_reads_bert_without_pooler(tmp_path: Path, checkpoint_maker: Callable[..., Path]) -> None:
    assert not read_checkpoint(checkpoint_maker(tmp_path / "tiny", pooler=False)).has_pooler


def test_read_checkpoint_reads_heads_and_old_names(bert: Path, tiny_checkpoint: Path) -> None:
    def older(weights: dict[str, np.ndarray]) -> None:
        weights["classifier.bias"] = np.zeros(3, np.float32)
        for name in list(weights):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            weights[old.removeprefix("bert.")] = weights.pop(name)

    change_weights(bert, older)
    assert_same_weights(bert, tiny_checkpoint)


def test_shards_have_the_same_weights(bert: Path, tiny_checkpoint: Path) -> None:
    weights = load_file(bert / WEIGHTS)
    (bert / WEIGHTS).unlink()
    names = sorted(weights)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for shard, members in shards.items():
        save_file({name: weights[name] for name in members}, bert / shard)
    index = {"weight_map": {name: shard for shard, members in shards.items() for name in members}}
    (bert / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_same_weights(bert, tiny_checkpoint)

    (bert / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors" in error_of(bert)
    (bert / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../elsewhere.safetensors"}}))
    assert "not found in the folder" in error_of(bert)


def h5_name(name: str, model_type: str) -> str:
    parts = name.split(".")
    endings = {
        "LayerNorm": "gamma",
        "sa_layer_norm": "gamma",
        "output_layer_norm": "gamma",
        "word_embeddings": "weight",
        "vocab_layer_norm": "gamma",
    }
    is_table = parts[-2] in ("position_embeddings", "token_type_embeddings")
    if parts[-1] == "bias":
        parts[-1] = "beta" if parts[-2] in endings else "bias"
    else:
        parts[-1] = "embeddings" if is_table else endings.get(parts[-2], "kernel")
    return f"{model_type}/tf_{model_type}_model/" + "/".join(parts).replace("/layer/", "/layer_._") + ":0"


@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
def test_tensorflow_files_have_the_same_weights(
    tmp_path: Path, checkpoint_maker: Callable[..., Path], model_type: str
) -> None:
    torch, tensorflow = (
        checkpoint_maker(tmp_path / name, model_type, masked_lm=True) for name in ("torch", "tensorflow")
    )
    assert len(read_checkpoint(torch).masked_lm) == 5
    (tensorflow / WEIGHTS).unlink()
    with h5py.File(tensorflow / "tf_model.h5", "w") as file:
        for name, value in load_file(torch / WEIGHTS).items():
            stored = h5_name(name, model_type)
            file[stored] = value.T if stored.endswith("kernel:0") else value
        file["classifier/tf_model/classifier/kernel:0"] = np.zeros((3, 3))
    assert_same_weights(tensorflow, torch)

    (tensorflow / "tf_model.h5").write_bytes((tensorflow / "tf_model.h5").read_bytes()[:5000])
    assert "tf_model.h5: not a complete HDF5 file" in error_of(tensorflow)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float16, 1e-3), (ml_dtypes.bfloat16, 1e-2)])
def test_half_precision_is_converted_to_float32(
    bert: Path, tiny_checkpoint: Path, dtype: type, tolerance: float
) -> None:
    change_weights(bert, lambda weights: weights.update({name: w.astype(dtype) for name, w in weights.items()}))
    half, full = read_checkpoint(bert).weights, read_checkpoint(tiny_checkpoint).weights
    for name, value in half.items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, full[name], rtol=tolerance, atol=tolerance)


def test_tokenizer_json_is_read_without_writing(bert: Path) -> None:
    tokens = (bert / "vocab.txt").read_text().splitlines()
    (bert / "vocab.txt").unlink()
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (bert / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordPiece", "vocab": vocabulary}}))
    before = {path: path.stat().st_mtime_ns for path in bert.iterdir()}
    assert list(read_checkpoint(bert).vocabulary) == tokens
    assert {path: path.stat().st_mtime_ns for path in bert.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "tokenizer", "normalizer", "lower", "warning"),
    [
        ("bert", {"do_lower_case": False}, {"lowercase": True}, False, ""),
        ("bert", {}, {"lowercase": False}, False, ""),
        ("bert", {}, {}, True, "uncased"),
        ("bert-base-cased", {}, {}, False, "assuming cased"),
        ("bert-base-uncased", {}, {}, True, "uncased"),
        ("bert", {"do_lower_case": True, "strip_accents": False}, {}, True, "strips accents"),
    ],
)
def test_do_lower_case_comes_from_files_or_the_name(
    tmp_path: Path,
    checkpoint_maker: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    name: str,
    tokenizer: dict,
    normalizer: dict,
    lower: bool,
    warning: str,
) -> None:
    folder = checkpoint_maker(tmp_path / name)
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer.json").write_text(json.dumps({"normalizer": normalizer}))
    assert read_checkpoint(folder).do_lower_case is lower
    stderr = capsys.readouterr().err
    assert warning in stderr
    assert bool(warning) == bool(stderr)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta'; supported are bert, distilbert"),
        ({"model_type": None}, "model_type is None"),
        ({"hidden_act": "quick_gelu"}, "hidden_act is 'quick_gelu'; supported are gelu"),
        ({"position_embedding_type": "relative_key"}, "relative positions are not supported"),
        ({"is_decoder": True}, "only encoders"),
        ({"num_hidden_layers": None}, "num_hidden_layers is None"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers is '2'"),
        ({"num_attention_heads": 5}, "not a multiple of num_attention_heads"),
        ({"hidden_dropout_prob": 7}, "hidden_dropout_prob is 7"),
        ({"vocab_size": 400}, "expected 400 (vocab_size in config.json)"),
        (
            {"intermediate_size": 128},
            "encoder.layer.0.intermediate.dense.bias has the shape [64], expected [128] (config.json)",
        ),
        ({"num_hidden_layers": 3}, "encoder.layer.2.attention.self.query.weight and 15 more not found"),
    ],
)
def test_invalid_config_is_refused(bert: Path, entries: dict, expected: str) -> None:
    change_config(bert, **entries)
    assert expected in error_of(bert)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda w: w.pop("bert.encoder.layer.1.output.dense.bias"), "encoder.layer.1.output.dense.bias not found;"),
        (lambda w: w.pop("bert.pooler.dense.bias"), "pooler.dense.bias not found"),
        (
            lambda w: w.update({"bert.pooler.dense.bias": np.zeros(9, np.float32)}),
            "pooler.dense.bias has the shape [9]",
        ),
        (lambda w: w.update({"bert.pooler.dense.bias": np.zeros(32, np.int8)}), "pooler.dense.bias is int8"),
        (lambda w: w["bert.pooler.dense.bias"].fill(np.nan), "pooler.dense.bias has NaN or infinite values"),
    ],
)
def test_invalid_weights_are_refused(
    bert: Path, change: Callable[[dict[str, np.ndarray]], object], expected: str
) -> None:
    change_weights(bert, change)
    assert expected in error_of(bert)


def write_vocabulary(folder: Path, change: Callable[[list[str]], list[str]]) -> None:
    tokens = (folder / "vocab.txt").read_text().split("\n")[:-1]
    (folder / "vocab.txt").write_text("\n".join(change(tokens)) + "\n")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda tokens: tokens[:-1], "got 317 tokens, expected 318 (vocab_size in config.json)"),
        (lambda tokens: [*tokens[:-1], "the"], "duplicate token 'the'"),
        (lambda tokens: [token.replace("[SEP]", "</s>") for token in tokens], "[SEP] not found"),
    ],
)
def test_invalid_vocabulary_is_refused(bert: Path, change: Callable[[list[str]], list[str]], expected: str) -> None:
    write_vocabulary(bert, change)
    assert expected in error_of(bert)


def test_byte_order_mark_is_ignored(bert: Path) -> None:
    path = bert / "vocab.txt"
    tokens = path.read_text().splitlines()
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert list(read_checkpoint(bert).vocabulary) == tokens


def test_damaged_files_are_named(bert: Path) -> None:
    (bert / WEIGHTS).write_bytes((bert / WEIGHTS).read_bytes()[:2000])
    assert "model.safetensors: not a complete safetensors file" in error_of(bert)
    (bert / "vocab.txt").write_bytes(b"[PAD]\n\xff\xfe\n")
    assert "vocab.txt: not UTF-8" in error_of(bert)
    (bert / "config.json").write_text('{"model_type": "bert",')
    assert "config.json: cannot be read (Expecting property name" in error_of(bert)
    (bert / "config.json").write_text("[]")
    assert "config.json: cannot be read (the content: expected dict, got list)" in error_of(bert)


def test_missing_files_are_named(bert: Path) -> None:
    (bert / WEIGHTS).unlink()
    assert "weights not found; expected model.safetensors" in error_of(bert)
    (bert / "vocab.txt").unlink()
    assert "neither vocab.txt nor tokenizer.json" in error_of(bert)
    (bert / "config.json").unlink()
    assert "neither config.json nor bert_config.json found" in error_of(bert)
    assert "elsewhere: not found" in error_of(bert / "elsewhere")


def test_other_tokenizers_are_refused(bert: Path) -> None:
    (bert / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertJapaneseTokenizer"}))
    assert "tokenizer_class is BertJapaneseTokenizer" in error_of(bert)
    (bert / "tokenizer_config.json").unlink()
    (bert / "vocab.txt").unlink()
    (bert / "tokenizer.json").write_text(json.dumps({"model": {"type": "Unigram", "vocab": []}}))
    assert "the tokenizer model is 'Unigram'" in error_of(bert)


def test_pickles_are_never_loaded(bert: Path) -> None:
    (bert / WEIGHTS).unlink()
    (bert / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    message = error_of(bert)
    assert "pytorch_model.bin: a pickle" in message
    assert "safe_serialization=True" in message


def test_read_checkpoint_does_not_import_tensorflow(tiny_checkpoint: Path) -> None:
    code = (
        "import sys; from tfhub_ft.encoders.checkpoint import read_checkpoint;"
        f"read_checkpoint({str(tiny_checkpoint)!r});"
        "assert not {'tensorflow', 'torch', 'keras', 'pickle5'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
