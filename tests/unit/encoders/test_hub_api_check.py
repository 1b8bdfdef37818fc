"""Checks of the TF Hub text API on good and faulty SavedModels."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tfhub_ft.encoders.hub_api_check import Finding, verify_encoder
from tfhub_ft.utils.errors import InputError


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


@pytest.fixture(scope="module")
def tf() -> Any:
    import tensorflow

    return tensorflow


def test_verify_encoder_accepts_a_converted_pair(tiny_pair: Path) -> None:
    findings = verify_encoder(tiny_pair)
    assert [finding for finding in findings if not finding.ok] == []
    found = {what: finding.found for what, finding in by_name(findings).items()}
    assert found["outputs"].startswith("pooled_output [batch, 32], sequence_output [batch, length, 32]")
    assert found["outputs"].endswith("encoder_outputs of 2 layers")
    assert found["dropout"] == "active only in training"
    assert found["trainable variables"].startswith("39 of 39, ")
    assert found["gradients"] == "found for all 39 trainable variables"
    assert found["sequence lengths"] == "3, 16, 40, 64; at most 64 (position embeddings)"
    assert "vocab_size 318" in found["preprocessor: special tokens"]
    assert "two segments, with token types" in found["preprocessor: bert_pack_inputs"]


def test_verify_encoder_accepts_an_encoder_alone(tiny_pair: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_pair / "encoder", tmp_path / "alone")
    assert not [f for f in verify_encoder(tmp_path / "alone") if f.what.startswith("preprocessor") or not f.ok]


def test_verify_encoder_refuses_a_preprocessor(tiny_pair: Path) -> None:
    with pytest.raises(InputError) as caught:
        verify_encoder(tiny_pair / "preprocessor")
    assert str(caught.value) == (
        f"{tiny_pair / 'preprocessor'}: not a TF Hub text encoder; expected the inputs input_word_ids, input_mask, "
        "input_type_ids, got one string tensor"
    )


def test_verify_encoder_refuses_other_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: not found"):
        verify_encoder(tmp_path / "none")
    with pytest.raises(InputError, match=r"saved_model\.pb not found"):
        verify_encoder(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"no protocol buffer")
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        verify_encoder(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "tfhub_module.pb").write_bytes(b"")
    with pytest.raises(InputError, match="TensorFlow 1"):
        verify_encoder(tmp_path)


def test_verify_encoder_refuses_other_preprocessors(tiny_pair: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"saved_model\.pb not found"):
        verify_encoder(tiny_pair / "encoder", tmp_path)


def test_verify_encoder_refuses_signatures_alone(tf: Any, tmp_path: Path) -> None:
    module = tf.Module()
    signature = tf.function(lambda x: {"y": x}, input_signature=[tf.TensorSpec([None])])
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=signature)
    with pytest.raises(InputError, match="cannot be called"):
        verify_encoder(tmp_path / "model")


def save_encoder(tf: Any, folder: Path, length: int | None, *, noisy: bool = False, frozen: bool = False) -> Path:
    """Save a module with the inputs of an encoder and several faults."""

    class Module(tf.train.Checkpoint):
        def __init__(self) -> None:
            super().__init__()
            self.table = tf.Variable(tf.random.normal([90, 8], seed=1), name="word_embeddings")
            self.unused = tf.Variable(tf.ones([8]), name="unused")
            self.variables = [self.table, self.unused]
            self.trainable_variables = [] if frozen else self.variables

        @tf.function(input_signature=[{n: tf.TensorSpec([None, length], tf.int32) for n in NAMES}])
        def __call__(self, inputs: dict[str, Any]) -> dict[str, Any]:
            tokens = tf.gather(self.table, inputs["input_word_ids"])
            if noisy:
                tokens += tf.random.normal(tf.shape(tokens))
            pooled = tf.reduce_mean(tokens, axis=1)
            return {"sequence_output": tokens, "pooled_output": pooled}

    tf.saved_model.save(Module(), str(folder))
    return folder


NAMES = ("input_word_ids", "input_mask")


def test_verify_encoder_finds_faults(tf: Any, tmp_path: Path) -> None:
    findings = by_name(verify_encoder(save_encoder(tf, tmp_path / "model", None)))
    assert findings["inputs"].ok
    assert "no input_type_ids" in findings["inputs"].found
    assert findings["training argument"].found.startswith("not supported")
    assert findings["dropout"].found.startswith("no difference")
    assert not findings["outputs"].ok
    assert findings["outputs"].found == "missing: default; found: pooled_output, sequence_output"
    assert not findings["gradients"].ok
    assert findings["gradients"].found == "missing for unused:0"
    assert not findings["padding"].ok
    assert findings["sequence lengths"].found == "3, 16, 40; no limit found"


def test_verify_encoder_finds_fixed_length_noise_and_frozen(tf: Any, tmp_path: Path) -> None:
    findings = by_name(verify_encoder(save_encoder(tf, tmp_path / "model", 24, noisy=True, frozen=True)))
    assert not findings["sequence lengths"].ok
    assert findings["sequence lengths"].found.startswith("only 24")
    assert not findings["dropout"].ok
    assert findings["dropout"].found == "outputs differ from call to call outside of training"
    assert not findings["trainable variables"].ok
    assert findings["gradients"].found == "no variable is trainable"
