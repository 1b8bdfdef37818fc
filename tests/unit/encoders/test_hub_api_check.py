"""Whether a SavedModel is a TF Hub text encoder: what is found is what is there."""

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


def test_a_converted_pair_is_found_good(tiny_pair: Path) -> None:
    findings = verify_encoder(tiny_pair)
    assert [finding for finding in findings if not finding.ok] == []
    found = {what: finding.found for what, finding in by_name(findings).items()}
    assert found["outputs"].startswith("pooled_output [batch, 32], sequence_output [batch, length, 32]")
    assert found["outputs"].endswith("encoder_outputs of 2 layers")
    assert found["dropout"] == "active in training only"
    assert found["trainable variables"].startswith("39 of 39, ")
    assert found["gradients"] == "reach all 39 trainable variables"
    assert found["sequence lengths"] == "3, 16, 40, 64; at most 64 (position embeddings)"
    assert "vocab_size 318" in found["preprocessor: special tokens"]
    assert "two segments, with token types" in found["preprocessor: bert_pack_inputs"]


def test_the_encoder_alone(tiny_pair: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_pair / "encoder", tmp_path / "alone")
    assert not [f for f in verify_encoder(tmp_path / "alone") if f.what.startswith("preprocessor") or not f.ok]


def test_a_preprocessor_is_no_encoder(tiny_pair: Path) -> None:
    with pytest.raises(InputError) as caught:
        verify_encoder(tiny_pair / "preprocessor")
    assert str(caught.value) == (
        f"{tiny_pair / 'preprocessor'} is a SavedModel but not a TF Hub text encoder: it takes one tensor of strings, "
        "a text encoder takes input_word_ids, input_mask, input_type_ids"
    )


def test_folders_that_are_no_saved_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        verify_encoder(tmp_path / "none")
    with pytest.raises(InputError, match=r"has no saved_model\.pb"):
        verify_encoder(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"no protocol buffer")
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        verify_encoder(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "tfhub_module.pb").write_bytes(b"")
    with pytest.raises(InputError, match="TensorFlow 1"):
        verify_encoder(tmp_path)


def test_a_named_preprocessor_must_be_one(tiny_pair: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no saved_model\.pb"):
        verify_encoder(tiny_pair / "encoder", tmp_path)


def test_a_model_with_signatures_only_is_no_encoder(tf: Any, tmp_path: Path) -> None:
    module = tf.Module()
    signature = tf.function(lambda x: {"y": x}, input_signature=[tf.TensorSpec([None])])
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=signature)
    with pytest.raises(InputError, match="cannot be called"):
        verify_encoder(tmp_path / "model")


def save_encoder(tf: Any, folder: Path, length: int | None, *, noisy: bool = False, frozen: bool = False) -> Path:
    """Save a module with an encoder's inputs and a few faults."""

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


def test_faults_are_found(tf: Any, tmp_path: Path) -> None:
    findings = by_name(verify_encoder(save_encoder(tf, tmp_path / "model", None)))
    assert findings["inputs"].ok
    assert "no input_type_ids" in findings["inputs"].found
    assert findings["training argument"].found.startswith("none")
    assert findings["dropout"].found.startswith("no difference")
    assert not findings["outputs"].ok
    assert findings["outputs"].found == "lacks default; has pooled_output, sequence_output"
    assert not findings["gradients"].ok
    assert findings["gradients"].found == "do not reach unused:0"
    assert not findings["padding"].ok
    assert findings["sequence lengths"].found == "3, 16, 40; no limit found"


def test_a_fixed_length_noise_and_nothing_to_train_are_found(tf: Any, tmp_path: Path) -> None:
    findings = by_name(verify_encoder(save_encoder(tf, tmp_path / "model", 24, noisy=True, frozen=True)))
    assert not findings["sequence lengths"].ok
    assert findings["sequence lengths"].found.startswith("only 24")
    assert not findings["dropout"].ok
    assert findings["dropout"].found == "answers differ from call to call outside training"
    assert not findings["trainable variables"].ok
    assert findings["gradients"].found == "nothing is trainable"
