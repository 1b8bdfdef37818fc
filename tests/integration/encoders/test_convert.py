from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tfhub_ft.encoders.architecture_detection import native_spec
from tfhub_ft.encoders.convert import TOLERANCE, convert_checkpoint


def test_distilbert_pools_the_first_token(
    tmp_path: Path,
    checkpoint_maker: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = checkpoint_maker(tmp_path / "tiny-distilbert", "distilbert", dropout=0.2, activation="relu")
    report = convert_checkpoint(folder, tmp_path / "out" / "pair")
    assert report.model_type == "distilbert"
    assert report.max_difference < TOLERANCE
    assert set(report.differences) == {"pooled_output", "sequence_output", "encoder_outputs"}
    assert report.rows > 10
    assert report.longest == 64
    first_token = "the last hidden state of the first token ([CLS])"
    assert first_token in report.pooled
    assert first_token in capsys.readouterr().err
    assert first_token in (report.encoder.parent / "README.md").read_text()
    monkeypatch.setenv("TFHUB_FT_CACHE", str(tmp_path / "cache"))
    architecture = native_spec(report.encoder, "it")["architecture"]
    assert (architecture["dropout"], architecture["activation"]) == (0.2, "relu")

    import tensorflow as tf

    encoder = tf.saved_model.load(str(report.encoder))
    names = {variable.name for variable in encoder.trainable_variables}
    assert not any("pooler" in name or "type_embeddings" in name for name in names)
    assert len(names) == 4 + 2 * 16
    ones = tf.ones((1, 5), tf.int32)
    inputs = {"input_word_ids": ones * 120, "input_mask": ones}
    outputs = [encoder({**inputs, "input_type_ids": ones * kind}, training=False)["pooled_output"] for kind in (0, 1)]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_masked_lm_head_is_converted(tmp_path: Path, checkpoint_maker: Callable[..., Path], kind: str) -> None:
    report = convert_checkpoint(checkpoint_maker(tmp_path / "tiny", kind, masked_lm=True), tmp_path / "pair")
    assert set(report.differences) == {"pooled_output", "sequence_output", "encoder_outputs", "mlm_logits"}
    assert report.max_difference < TOLERANCE
    assert "masked_lm_positions" in (tmp_path / "pair" / "README.md").read_text()
