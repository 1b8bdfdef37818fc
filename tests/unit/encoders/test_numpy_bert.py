"""The NumPy forward pass, compared with known values and properties."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tfhub_ft.encoders.checkpoint import Checkpoint, read_checkpoint
from tfhub_ft.encoders.numpy_bert import ACTIVATIONS, forward

WORD_IDS = np.array([[3, 120, 130, 140, 4], [3, 150, 4, 0, 0]])
MASK = (WORD_IDS > 0).astype(int)
TYPE_IDS = np.array([[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]])


@pytest.fixture(scope="module")
def bert(tiny_checkpoint: Path) -> Checkpoint:
    return read_checkpoint(tiny_checkpoint)


def test_forward_returns_all_outputs(bert: Checkpoint) -> None:
    outputs = forward(bert, WORD_IDS, MASK, TYPE_IDS)
    assert outputs["pooled_output"].shape == (2, 32)
    assert outputs["sequence_output"].shape == (2, 5, 32)
    assert [layer.shape for layer in outputs["encoder_outputs"]] == [(2, 5, 32)] * 2
    np.testing.assert_array_equal(outputs["encoder_outputs"][-1], outputs["sequence_output"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forward_uses_the_dtype(bert: Checkpoint, dtype: type) -> None:
    outputs = forward(bert, WORD_IDS, MASK, TYPE_IDS, dtype=dtype)
    assert outputs["pooled_output"].dtype == outputs["sequence_output"].dtype == dtype
    expected = forward(bert, WORD_IDS, MASK, TYPE_IDS)
    np.testing.assert_allclose(outputs["sequence_output"], expected["sequence_output"], atol=1e-5)


def test_forward_ignores_padding(bert: Checkpoint) -> None:
    alone = forward(bert, WORD_IDS[1:, :3], MASK[1:, :3])
    padded = forward(bert, WORD_IDS, MASK)
    np.testing.assert_allclose(padded["sequence_output"][1, :3], alone["sequence_output"][0], atol=1e-12)


def test_forward_depends_on_segments_and_order(bert: Checkpoint) -> None:
    pooled = forward(bert, WORD_IDS, MASK, TYPE_IDS)["pooled_output"]
    assert np.abs(pooled - forward(bert, WORD_IDS, MASK)["pooled_output"])[0].max() > 1e-4
    swapped = WORD_IDS[:, [0, 2, 1, 3, 4]]
    assert np.abs(pooled - forward(bert, swapped, MASK, TYPE_IDS)["pooled_output"])[0].max() > 1e-4


def test_forward_refuses_rows_longer_than_the_positions(bert: Checkpoint) -> None:
    with pytest.raises(ValueError, match="broadcast"):
        forward(bert, np.ones((1, 65), int), np.ones((1, 65), int))


def test_block_matches_a_manual_computation(bert: Checkpoint) -> None:
    """With zero dense layers a block only adds its biases and normalizes."""
    zero = {
        name: np.zeros_like(value) if ".encoder." in f".{name}" and "LayerNorm" not in name else value
        for name, value in bert.weights.items()
    }
    bias = "encoder.layer.0.output.dense.bias"
    model = replace(bert, layers=1, weights=zero | {bias: bert.weights[bias]})
    table, positions, types = (
        bert.weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")
    )

    def normalized(x: np.ndarray, name: str) -> np.ndarray:
        weight, shift = bert.pair(name)
        return (x - x.mean()) / math.sqrt(x.var() + 1e-12) * weight + shift

    x = normalized(table[120].astype(float) + positions[1] + types[0], "embeddings.LayerNorm")
    x = normalized(x, "encoder.layer.0.attention.output.LayerNorm")
    x = normalized(x + bert.weights[bias], "encoder.layer.0.output.LayerNorm")
    np.testing.assert_allclose(forward(model, WORD_IDS, MASK)["sequence_output"][0, 1], x, atol=1e-6)


def test_distilbert_pools_the_first_token(tmp_path: Path, checkpoint_maker: Callable[..., Path]) -> None:
    distilbert = read_checkpoint(checkpoint_maker(tmp_path / "tiny", "distilbert"))
    outputs = forward(distilbert, WORD_IDS, MASK, TYPE_IDS)
    np.testing.assert_array_equal(outputs["pooled_output"], outputs["sequence_output"][:, 0])
    np.testing.assert_array_equal(outputs["pooled_output"], forward(distilbert, WORD_IDS, MASK)["pooled_output"])


def test_bert_without_pooler_pools_the_first_token(tmp_path: Path, checkpoint_maker: Callable[..., Path]) -> None:
    outputs = forward(read_checkpoint(checkpoint_maker(tmp_path / "tiny", pooler=False)), WORD_IDS, MASK)
    np.testing.assert_array_equal(outputs["pooled_output"], outputs["sequence_output"][:, 0])


@pytest.mark.parametrize(
    ("name", "at_one", "at_minus_one"),
    [
        ("gelu", 0.8413447460685429, -0.15865525393145707),
        ("gelu_tanh", 0.8411919906082768, -0.15880800939172324),
        ("relu", 1.0, 0.0),
        ("silu", 0.7310585786300049, -0.2689414213699951),
    ],
)
def test_activations(name: str, at_one: float, at_minus_one: float) -> None:
    np.testing.assert_allclose(ACTIVATIONS[name](np.array([1.0, -1.0, 0.0])), [at_one, at_minus_one, 0.0], atol=1e-12)
