"""Converting checkpoints into verified pairs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tfhub_ft.encoders import convert
from tfhub_ft.encoders.checkpoint import read_checkpoint
from tfhub_ft.encoders.convert import TOLERANCE, convert_checkpoint
from tfhub_ft.encoders.numpy_bert import forward
from tfhub_ft.utils.errors import InputError, RunError


def inputs_and_outputs(pair: Path, texts: list[str]) -> tuple[dict[str, np.ndarray], dict]:
    """Return the preprocessor's inputs for texts, and the encoder's outputs."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401

    inputs = tf.saved_model.load(str(pair / "preprocessor"))(tf.constant(texts))
    outputs = tf.saved_model.load(str(pair / "encoder"))(inputs, training=False)
    return {name: value.numpy() for name, value in inputs.items()}, outputs


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_converted_bert_reproduces_the_checkpoint(tiny_checkpoint: Path, tiny_pair: Path) -> None:
    inputs, outputs = inputs_and_outputs(tiny_pair, ["a good film", "Terrible food!"])
    word_ids, mask = inputs["input_word_ids"], inputs["input_mask"]
    expected = forward(read_checkpoint(tiny_checkpoint), word_ids, mask, inputs["input_type_ids"])
    assert word_ids.shape == (2, 64)
    assert np.abs(outputs["pooled_output"] - expected["pooled_output"]).max() < TOLERANCE
    assert np.abs(np.asarray(outputs["default"]) - outputs["pooled_output"]).max() == 0
    assert np.abs(outputs["sequence_output"] - expected["sequence_output"])[mask > 0].max() < TOLERANCE
    assert len(outputs["encoder_outputs"]) == 2
    assert np.abs(outputs["pooled_output"][0] - outputs["pooled_output"][1]).max() > 0.01


def test_converted_pair_has_vocabulary_and_readme(tiny_checkpoint: Path, tiny_pair: Path) -> None:
    vocabulary = (tiny_checkpoint / "vocab.txt").read_bytes()
    assert (tiny_pair / "encoder" / "assets" / "vocab.txt").read_bytes() == vocabulary
    assert (tiny_pair / "preprocessor" / "assets" / "vocab.txt").read_bytes() == vocabulary
    assert "the checkpoint's tanh pooler" in (tiny_pair / "README.md").read_text()
    assert names_in(tiny_pair.parent) == ["tiny"]


@pytest.mark.slow
def test_unusual_bert_is_converted_exactly(tmp_path: Path, checkpoint_maker: Callable[..., Path]) -> None:
    """Convert a BERT without pooler, with tanh GELU, another epsilon and one segment."""
    folder = checkpoint_maker(
        tmp_path / "tiny", pooler=False, hidden_act="gelu_new", layer_norm_eps=1e-2, type_vocab_size=1
    )
    report = convert_checkpoint(folder, tmp_path / "pair")
    assert report.max_difference < TOLERANCE
    assert "no pooler" in report.pooled


def test_convert_refuses_outputs_that_differ(
    tmp_path: Path, checkpoint_maker: Callable[..., Path], tiny_pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint_maker(tmp_path / "tiny")
    weights = load_file(folder / "model.safetensors")
    weights["bert.encoder.layer.1.output.dense.weight"][3, 5] += 0.5
    save_file(weights, folder / "model.safetensors")
    # The pair of the unchanged checkpoint replaces a wrongly converted one.
    monkeypatch.setattr(
        convert, "write_converted_pair", lambda _, folder: shutil.copytree(tiny_pair, folder, dirs_exist_ok=True)
    )
    with pytest.raises(RunError, match=r"differs from the checkpoint's by 0\.\d+, more than 0\.0001"):
        convert_checkpoint(folder, tmp_path / "pair")
    assert names_in(tmp_path) == ["tiny"]


def test_masked_lm_head_with_its_own_decoder_is_ignored(
    tmp_path: Path, checkpoint_maker: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint_maker(tmp_path / "tiny", masked_lm=True)
    weights = load_file(folder / "model.safetensors")
    decoder = weights["bert.embeddings.word_embeddings.weight"].copy()
    save_file({**weights, "cls.predictions.decoder.weight": decoder}, folder / "model.safetensors")
    assert read_checkpoint(folder).masked_lm
    decoder[3] += 1
    save_file({**weights, "cls.predictions.decoder.weight": decoder}, folder / "model.safetensors")
    assert not read_checkpoint(folder).masked_lm
    assert "does not share the word embeddings and is ignored" in capsys.readouterr().err


def test_convert_refuses_an_existing_folder(tmp_path: Path, tiny_checkpoint: Path) -> None:
    (tmp_path / "pair").mkdir()
    with pytest.raises(InputError, match="already exists"):
        convert_checkpoint(tiny_checkpoint, tmp_path / "pair")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file is not a folder; choose another place"):
        convert_checkpoint(tiny_checkpoint, tmp_path / "file" / "pair")


def test_convert_refuses_a_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: not found"):
        convert_checkpoint(tmp_path / "none", tmp_path / "pair")
    assert not names_in(tmp_path)
