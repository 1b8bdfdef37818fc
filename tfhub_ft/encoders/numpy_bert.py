"""BERT's forward pass in NumPy, the reference for conversions."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from scipy.special import erf, expit

from tfhub_ft.encoders.checkpoint import Checkpoint

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x * expit(x),
}


def forward(
    checkpoint: Checkpoint,
    word_ids: ArrayLike,
    mask: ArrayLike,
    type_ids: ArrayLike | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> dict[str, Any]:
    """Return the outputs for token ids, a mask and segments of shape [batch, length], without dropout.

    BERT: https://arxiv.org/abs/1810.04805; DistilBERT: https://arxiv.org/abs/1910.01108. Without a pooler the pooled
    output is the last hidden state of the first token, [CLS].
    """
    weights, eps = checkpoint.weights, checkpoint.layer_norm_eps
    word_ids, mask = np.asarray(word_ids), np.asarray(mask)
    hidden = weights["embeddings.word_embeddings.weight"][word_ids].astype(dtype)
    hidden += weights["embeddings.position_embeddings.weight"][: word_ids.shape[1]]
    if checkpoint.type_vocab_size:
        types = np.zeros_like(word_ids) if type_ids is None else np.asarray(type_ids)
        hidden += weights["embeddings.token_type_embeddings.weight"][types]
    hidden = _layer_norm(hidden, checkpoint.pair("embeddings.LayerNorm"), eps)
    outputs = []
    for index in range(checkpoint.layers):
        block = checkpoint.block(index)
        attention_output = _attention(block, hidden, mask, checkpoint.heads)
        hidden = _layer_norm(hidden + attention_output, block["self_attention_layer_norm"], eps)
        inner = ACTIVATIONS[checkpoint.activation](_dense(hidden, block["intermediate"]))
        hidden = _layer_norm(hidden + _dense(inner, block["output"]), block["output_layer_norm"], eps)
        outputs.append(hidden)
    first = hidden[:, 0]
    pooled = np.tanh(_dense(first, checkpoint.pair("pooler.dense"))) if checkpoint.has_pooler else first
    return {"pooled_output": pooled, "sequence_output": hidden, "encoder_outputs": outputs}


def masked_lm_logits(checkpoint: Checkpoint, states: np.ndarray) -> np.ndarray:
    """Return the logits [..., vocab_size] of the masked-LM head for hidden states [..., hidden]."""
    weight, bias, gamma, beta, output_bias = checkpoint.masked_lm.values()
    inner = ACTIVATIONS[checkpoint.activation](_dense(states, (weight, bias)))
    normed = _layer_norm(inner, (gamma, beta), checkpoint.layer_norm_eps)
    return _dense(normed, (checkpoint.weights["embeddings.word_embeddings.weight"], output_bias))


def _attention(
    block: dict[str, tuple[np.ndarray, np.ndarray]], hidden: np.ndarray, mask: np.ndarray, heads: int
) -> np.ndarray:
    batch, length, width = hidden.shape

    def split(part: str) -> np.ndarray:
        return (
            _dense(hidden, block[f"self_attention/{part}"]).reshape(batch, length, heads, width // heads).swapaxes(1, 2)
        )

    scores = split("query") @ split("key").swapaxes(2, 3) / math.sqrt(width // heads)
    scores = np.where(mask[:, None, None, :], scores, -1e9)
    exponents = np.exp(scores - scores.max(axis=-1, keepdims=True))
    context = exponents / exponents.sum(axis=-1, keepdims=True) @ split("value")
    return _dense(context.swapaxes(1, 2).reshape(batch, length, width), block["self_attention/attention_output"])


def _dense(x: np.ndarray, pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    weight, bias = pair
    return x @ weight.T.astype(x.dtype) + bias


def _layer_norm(x: np.ndarray, pair: tuple[np.ndarray, np.ndarray], eps: float) -> np.ndarray:
    weight, bias = pair
    centered = x - x.mean(axis=-1, keepdims=True)
    return centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + eps) * weight + bias
