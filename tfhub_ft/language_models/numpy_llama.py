"""Forward pass of a GGUF file's tensors in NumPy."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, softmax

from tfhub_ft.language_models.gguf_file import GGUFModel


def llama_logits(model: GGUFModel, token_ids: ArrayLike) -> np.ndarray:
    """Return the logits after each token of one text, float32 [length, vocabulary].

    Reference:
        Touvron et al., LLaMA (https://arxiv.org/abs/2302.13971); Su et al., RoFormer, for rotary positions
        (https://arxiv.org/abs/2104.09864).
    """
    hidden = model.tensors["token_embd.weight"][np.asarray(token_ids)]
    for layer in range(model.layers):

        def tensor(name: str, layer: int = layer) -> np.ndarray:
            return model.tensors[f"blk.{layer}.{name}.weight"]

        normed = _rms_norm(hidden, tensor("attn_norm"), model.norm_eps)
        heads = (normed @ tensor(name).T for name in ("attn_q", "attn_k", "attn_v"))
        hidden = hidden + _attention(model, *heads) @ tensor("attn_output").T
        normed = _rms_norm(hidden, tensor("ffn_norm"), model.norm_eps)
        gate = normed @ tensor("ffn_gate").T
        hidden = hidden + (gate * expit(gate) * (normed @ tensor("ffn_up").T)) @ tensor("ffn_down").T
    return _rms_norm(hidden, model.tensors["output_norm.weight"], model.norm_eps) @ model.output.T


def _attention(model: GGUFModel, queries: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    length, size = len(queries), model.head_size

    def split_heads(x: np.ndarray) -> np.ndarray:
        return x.reshape(length, -1, size).swapaxes(0, 1)

    repeats = model.heads // model.kv_heads
    queries = _rotate(split_heads(queries), model)
    keys = np.repeat(_rotate(split_heads(keys), model), repeats, axis=0)
    values = np.repeat(split_heads(values), repeats, axis=0)
    scores = queries @ keys.swapaxes(1, 2) / np.float32(np.sqrt(size))
    scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
    return (softmax(scores, axis=-1) @ values).swapaxes(0, 1).reshape(length, -1)


def _rotate(x: np.ndarray, model: GGUFModel) -> np.ndarray:
    """Rotate each pair of neighboring dimensions by an angle that grows with the position."""
    size = model.head_size
    frequencies = model.rope_base ** (-np.arange(0, size, 2) / size)
    angles = np.arange(x.shape[1])[:, None] * frequencies
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    even, odd = x[..., 0::2], x[..., 1::2]
    return np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)


def _rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + np.float32(eps)) * weight
