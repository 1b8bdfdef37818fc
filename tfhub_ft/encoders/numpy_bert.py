"""What a checkpoint computes, in plain NumPy: the figure that every conversion is held against."""

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
    """The encoder's answers, without dropout.

    BERT's pooled output is the tanh of a dense layer on the first token's last hidden state. DistilBERT has no pooler
    and no token types, and some BERT checkpoints come without their pooler: there the pooled output is the last hidden
    state of the first token ([CLS]) itself, and DistilBERT's `type_ids` are ignored.

    Args:
        checkpoint: the encoder.
        word_ids: whole numbers [batch, length], below the vocabulary's size.
        mask: [batch, length], 1 for a token and 0 for padding.
        type_ids: [batch, length], the segment of each token; all 0 when not given.
        dtype: what to compute in, float32 or float64.

    Returns:
        {"pooled_output": [batch, hidden], "sequence_output": [batch, length, hidden], "encoder_outputs": a list with
        every block's output, each [batch, length, hidden]}.

    Raises:
        ValueError, IndexError: a row longer than the position embeddings, or an id outside the vocabulary.

    Example:
        answers = forward(read_checkpoint("all-MiniLM-L6-v2"), [[101, 7592, 102]], [[1, 1, 1]])

    Reference:
        Devlin et al., BERT (https://arxiv.org/abs/1810.04805); Sanh et al., DistilBERT
        (https://arxiv.org/abs/1910.01108).
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
        attended = _attention(block, hidden, mask, checkpoint.heads)
        hidden = _layer_norm(hidden + attended, block["attention_norm"], eps)
        inner = ACTIVATIONS[checkpoint.activation](_dense(hidden, block["intermediate"]))
        hidden = _layer_norm(hidden + _dense(inner, block["output"]), block["output_norm"], eps)
        outputs.append(hidden)
    first = hidden[:, 0]
    pooled = np.tanh(_dense(first, checkpoint.pair("pooler.dense"))) if checkpoint.has_pooler else first
    return {"pooled_output": pooled, "sequence_output": hidden, "encoder_outputs": outputs}


def masked_lm_logits(checkpoint: Checkpoint, states: np.ndarray) -> np.ndarray:
    """Return the logits of the checkpoint's masked-LM head.

    Args:
        checkpoint: an encoder with a masked-LM head.
        states: hidden states [..., hidden], such as `sequence_output`.

    Returns:
        [..., vocab_size].
    """
    head, words = checkpoint.masked_lm, checkpoint.weights["embeddings.word_embeddings.weight"]
    inner = ACTIVATIONS[checkpoint.activation](_dense(states, (head["dense.weight"], head["dense.bias"])))
    normed = _layer_norm(inner, (head["norm.weight"], head["norm.bias"]), checkpoint.layer_norm_eps)
    return normed @ words.T.astype(normed.dtype) + head["bias"]


def _attention(block: dict[str, Any], hidden: np.ndarray, mask: np.ndarray, heads: int) -> np.ndarray:
    batch, length, width = hidden.shape

    def split(part: str) -> np.ndarray:
        return _dense(hidden, block[part]).reshape(batch, length, heads, width // heads).swapaxes(1, 2)

    scores = split("query") @ split("key").swapaxes(2, 3) / math.sqrt(width // heads)
    scores = np.where(mask[:, None, None, :], scores, -1e9)
    exponents = np.exp(scores - scores.max(axis=-1, keepdims=True))
    context = exponents / exponents.sum(axis=-1, keepdims=True) @ split("value")
    return _dense(context.swapaxes(1, 2).reshape(batch, length, width), block["attention_output"])


def _dense(x: np.ndarray, pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    weight, bias = pair
    return x @ weight.T.astype(x.dtype) + bias


def _layer_norm(x: np.ndarray, pair: tuple[np.ndarray, np.ndarray], eps: float) -> np.ndarray:
    weight, bias = pair
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps) * weight + bias
