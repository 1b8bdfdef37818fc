"""Convert a GGUF file of a Llama-like model to a KerasHub preset."""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.language_models.byte_pair import ByteLevelTokenizer
from tfhub_ft.language_models.chat_template import CHAT_TEMPLATE
from tfhub_ft.language_models.gguf_file import GGUFModel, read_gguf
from tfhub_ft.language_models.numpy_llama import llama_logits
from tfhub_ft.language_models.tied_embeddings import keep_tied_embeddings
from tfhub_ft.utils.console import log, progress
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import atomic_write

if TYPE_CHECKING:
    import keras_hub

TOLERANCE = 1e-3
TEXTS = (
    "Hello there",
    "The capital of France is Paris, and the capital of Italy is",
    "def add(a, b):\n    return a + b\n\n\nprint(add(2, 40))\n",
    "Café, naïve, Zürich, 東京 and Ελλάδα in one sentence 🙂",
)


def convert_gguf(path: str | Path, out_dir: str | Path) -> float:
    """Convert a GGUF file to a folder that `keras_hub.models.CausalLM.from_preset` reads.

    The preset contains a `Llama3CausalLM` with float32 weights, its tokenizer (`ByteLevelTokenizer`) and the chat
    template, if any, in chat_template.jinja. It is written only after all logits of the saved preset are within
    `TOLERANCE` of those of `llama_logits`.

    Returns:
        The largest difference of a logit.
    """
    path, out_dir = Path(path), Path(out_dir).absolute()
    if out_dir.exists():
        raise InputError(f"{out_dir}: already exists; choose another folder")
    with _keep_random_state(), progress(f"Converting {path.name} to a KerasHub preset", 3, "steps") as advance:
        model = read_gguf(path)
        advance(1)
        with atomic_write(out_dir) as folder:
            keep_tied_embeddings()
            _causal_lm(model).save_to_preset(str(folder))
            if model.chat_template is not None:
                (folder / CHAT_TEMPLATE).write_text(model.chat_template, encoding="utf-8", newline="")
            advance(1)
            log("Comparing its logits with those of the GGUF file ...")
            difference = _check_logits(model, folder)
            advance(1)
    return difference


@contextlib.contextmanager
def _keep_random_state() -> Iterator[None]:
    """Restore Python's random state, which seeds the initializers of Keras."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


def _causal_lm(model: GGUFModel) -> "keras_hub.models.CausalLM":
    import keras_hub

    backbone = keras_hub.models.Llama3Backbone(
        vocabulary_size=len(model.tokenizer.tokens),
        num_layers=model.layers,
        num_query_heads=model.heads,
        hidden_dim=model.hidden_size,
        intermediate_dim=model.intermediate_size,
        num_key_value_heads=model.kv_heads,
        rope_max_wavelength=model.rope_base,  # pyright: ignore[reportArgumentType]  floats are valid
        layer_norm_epsilon=model.norm_eps,
        tie_word_embeddings=model.is_tied,
        dtype="float32",
    )
    values = _weights(model)
    for weight in backbone.weights:
        weight.assign(values[weight.path])
    tokenizer = ByteLevelTokenizer(
        {token: number for number, token in enumerate(model.tokenizer.tokens)},
        model.tokenizer.merges,
        pre_tokenizer=model.tokenizer.pre_tokenizer,
        start_token=model.tokenizer.start,
        end_token=model.tokenizer.end,
        # The padding token of the file is often the end token, at which KerasHub would stop at once.
        pad_token_id=1 if model.tokenizer.tokens[0] == model.tokenizer.end else 0,
        unsplittable_tokens=model.tokenizer.special,
    )
    preprocessor = keras_hub.models.Llama3CausalLMPreprocessor(tokenizer, sequence_length=model.context_length)
    return keras_hub.models.Llama3CausalLM(backbone, preprocessor)


def _weights(model: GGUFModel) -> dict[str, np.ndarray]:
    """Return the weights of a `Llama3Backbone` by path."""
    values = {
        "token_embedding/embeddings": model.tensors["token_embd.weight"],
        "token_embedding/reverse_embeddings": model.output.T,
        "sequence_output_layernorm/scale": model.tensors["output_norm.weight"],
    }
    for layer in range(model.layers):
        values |= {f"transformer_layer_{layer}/{path}": value for path, value in _block(model, layer).items()}
    return values


def _block(model: GGUFModel, layer: int) -> dict[str, np.ndarray]:
    hidden, size = model.hidden_size, model.head_size

    def tensor(name: str) -> np.ndarray:
        return model.tensors[f"blk.{layer}.{name}.weight"]

    def split_heads(weight: np.ndarray) -> np.ndarray:
        return weight.reshape(-1, size, hidden).transpose(2, 0, 1)

    def reorder(weight: np.ndarray) -> np.ndarray:
        """Reorder dimensions: llama.cpp rotates neighbors, KerasHub dimensions that are half a head apart."""
        return weight.reshape(-1, size // 2, 2, hidden).swapaxes(1, 2).reshape(weight.shape)

    return {
        "self_attention_layernorm/scale": tensor("attn_norm"),
        "self_attention/query/kernel": split_heads(reorder(tensor("attn_q"))),
        "self_attention/key/kernel": split_heads(reorder(tensor("attn_k"))),
        "self_attention/value/kernel": split_heads(tensor("attn_v")),
        "self_attention/attention_output/kernel": tensor("attn_output").T.reshape(-1, size, hidden),
        "feedforward_layernorm/scale": tensor("ffn_norm"),
        "feedforward_gate_dense/kernel": tensor("ffn_gate").T,
        "feedforward_intermediate_dense/kernel": tensor("ffn_up").T,
        "feedforward_output_dense/kernel": tensor("ffn_down").T,
    }


def _check_logits(model: GGUFModel, folder: Path) -> float:
    """Return the largest difference of a logit of the preset in the folder, or raise a RunError."""
    import keras_hub

    causal_lm: Any = keras_hub.models.CausalLM.from_preset(str(folder), dtype="float32")
    difference = 0.0
    for text in TEXTS:
        ids = np.asarray(causal_lm.preprocessor.tokenizer(text))[None, : model.context_length]
        logits = np.asarray(causal_lm({"token_ids": ids, "padding_mask": np.ones_like(ids)}))[0]
        difference = float(np.maximum(difference, np.abs(logits - llama_logits(model, ids[0])).max()))  # NaN, too
    if not difference <= TOLERANCE:
        raise RunError(
            f"{model.name}: the converted preset does not reproduce the GGUF file (logits differ by {difference:.1e},"
            f" more than {TOLERANCE:g}); nothing was written"
        )
    return difference
