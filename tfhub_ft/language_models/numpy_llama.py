"""What the tensors of a GGUF file compute, in plain NumPy: the figure that a conversion is held against."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from tfhub_ft.language_models.gguf_file import GGUFModel


def llama_logits(model: GGUFModel, token_ids: ArrayLike) -> np.ndarray:
    """The logits of the next token behind each token of one text, in float32.

    Args:
        model: the language model.
        token_ids: whole numbers [length], below the vocabulary's size.

    Returns:
        float32 [length, vocabulary].

    Raises:
        IndexError: an id outside the vocabulary.

    Example:
        logits = llama_logits(read_gguf("SmolLM2-135M-Instruct.Q4_1.gguf"), [1, 4093, 198])

    Reference:
        Touvron et al., LLaMA (https://arxiv.org/abs/2302.13971); Su et al., RoFormer, for rotary positions
        (https://arxiv.org/abs/2104.09864).
    """
    hidden = model.tensors["token_embd.weight"][np.asarray(token_ids)]
    for layer in range(model.layers):

        def of(name: str, layer: int = layer) -> np.ndarray:
            return model.tensors[f"blk.{layer}.{name}.weight"]

        normed = _norm(hidden, of("attn_norm"), model.norm_eps)
        heads = (normed @ of(name).T for name in ("attn_q", "attn_k", "attn_v"))
        hidden = hidden + _attention(model, *heads) @ of("attn_output").T
        normed = _norm(hidden, of("ffn_norm"), model.norm_eps)
        gate = normed @ of("ffn_gate").T
        hidden = hidden + (gate * expit(gate) * (normed @ of("ffn_up").T)) @ of("ffn_down").T
    return _norm(hidden, model.tensors["output_norm.weight"], model.norm_eps) @ model.output.T


def _attention(model: GGUFModel, queries: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    length, size = len(queries), model.head_size

    def split(x: np.ndarray) -> np.ndarray:
        return x.reshape(length, -1, size).swapaxes(0, 1)

    def shared(x: np.ndarray) -> np.ndarray:
        return np.repeat(x, model.heads // model.kv_heads, axis=0)

    queries, keys, values = _turned(split(queries), model), shared(_turned(split(keys), model)), shared(split(values))
    scores = queries @ keys.swapaxes(1, 2) / np.float32(np.sqrt(size))
    scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
    exponents = np.exp(scores - scores.max(axis=-1, keepdims=True))
    attended = exponents / exponents.sum(axis=-1, keepdims=True) @ values
    return attended.swapaxes(0, 1).reshape(length, -1)


def _turned(x: np.ndarray, model: GGUFModel) -> np.ndarray:
    """Each pair of neighbouring dimensions turned by an angle that grows with the position."""
    size = model.head_size
    speeds = model.rope_base ** (-np.arange(0, size, 2) / size)
    angles = np.arange(x.shape[1])[:, None] * speeds
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    even, odd = x[..., 0::2], x[..., 1::2]
    return np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)


def _norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + np.float32(eps)) * weight
