"""A GGUF file made into a preset of KerasHub: a folder that `keras_hub.models.CausalLM.from_preset` reads."""

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfhub_ft.language_models.byte_pair import ByteLevelTokenizer
from tfhub_ft.language_models.gguf_file import GGUFModel, read_gguf
from tfhub_ft.language_models.numpy_llama import llama_logits
from tfhub_ft.language_models.tied_embeddings import keep_tied_embeddings
from tfhub_ft.utils.console import log, progress
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import atomic_write

if TYPE_CHECKING:
    import keras_hub

TOLERANCE = 1e-3
CHAT_TEMPLATE = "chat_template.jinja"

TEXTS = (
    "Hello there",
    "The capital of France is Paris, and the capital of Italy is",
    "def add(a, b):\n    return a + b\n\n\nprint(add(2, 40))\n",
    "Café, naïve, Zürich, 東京 and Ελλάδα in one sentence 🙂",
)


@dataclass(frozen=True)
class GgufConversionReport:
    """What a conversion made, and how exactly it answers as the file does.

    Attributes:
        name: what the file calls the model.
        folder: the preset's folder.
        max_difference: the largest absolute difference of a logit from those of the NumPy forward pass.
        texts: the texts that were compared.
        seconds: the time that it took.
    """

    name: str
    folder: Path
    max_difference: float
    texts: int
    seconds: float


def convert_gguf(path: str | Path, out_dir: str | Path) -> GgufConversionReport:
    """Convert a GGUF file of a Llama-like model into a preset of KerasHub.

    The preset holds a `Llama3CausalLM` with float32 weights, its tokenizer (`ByteLevelTokenizer`) and, where the file
    has one, the chat template in chat_template.jinja. `preprocessor.sequence_length` is the longest input of the model.

    The preset is written aside, loaded again as anybody loads it, and compared with a NumPy forward pass of the file's
    tensors; it gets its name only when all logits are within `TOLERANCE`.

    Args:
        path: the GGUF file (see `read_gguf`).
        out_dir: the folder to make; it must not exist.

    Returns:
        What was made and how exact it is.

    Raises:
        InputError: `out_dir` exists, or the file is missing, broken or of a kind that is not supported.
        RunError: the preset answers otherwise than the file; nothing is kept.

    Example:
        report = convert_gguf("SmolLM2-135M-Instruct.Q4_1.gguf", "presets/smollm2")
        causal_lm = keras_hub.models.CausalLM.from_preset("presets/smollm2")
    """
    start = time.monotonic()
    path, out_dir = Path(path), Path(out_dir).absolute()
    if out_dir.exists():
        raise InputError(f"{out_dir}: exists already; name another folder")
    with _seeds_kept(), progress(f"Making a KerasHub preset of {path.name}", 3, "steps") as advance:
        model = read_gguf(path)
        advance(1)
        with atomic_write(out_dir) as aside:
            _write_preset(model, aside)
            advance(1)
            log("Comparing its logits with those of the file's tensors ...")
            difference = _max_difference(model, aside)
            advance(1)
    return GgufConversionReport(model.name, out_dir, difference, len(TEXTS), time.monotonic() - start)


@contextlib.contextmanager
def _seeds_kept() -> Iterator[None]:
    """What is drawn behind this context does not depend on it; Keras draws seeds for weights that it makes."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


def _write_preset(model: GGUFModel, folder: Path) -> None:
    keep_tied_embeddings()
    _causal_lm(model).save_to_preset(str(folder))
    if model.chat_template is not None:
        (folder / CHAT_TEMPLATE).write_text(model.chat_template, encoding="utf-8", newline="")


def _causal_lm(model: GGUFModel) -> "keras_hub.models.CausalLM":
    import keras_hub

    backbone = keras_hub.models.Llama3Backbone(
        vocabulary_size=len(model.tokenizer.tokens),
        num_layers=model.layers,
        num_query_heads=model.heads,
        hidden_dim=model.hidden_size,
        intermediate_dim=model.intermediate_size,
        num_key_value_heads=model.kv_heads,
        rope_max_wavelength=model.rope_base,
        layer_norm_epsilon=model.norm_eps,
        tie_word_embeddings=model.is_tied,
        dtype="float32",
    )
    values = _weights(model)
    for weight in backbone.weights:
        weight.assign(values[weight.path])
    preprocessor = keras_hub.models.Llama3CausalLMPreprocessor(_tokenizer(model), sequence_length=model.context_length)
    return keras_hub.models.Llama3CausalLM(backbone, preprocessor)


def _tokenizer(model: GGUFModel) -> ByteLevelTokenizer:
    kept = model.tokenizer
    return ByteLevelTokenizer(
        {token: number for number, token in enumerate(kept.tokens)},
        kept.merges,
        pre_tokenizer=kept.pre_tokenizer,
        start_token=kept.start,
        end_token=kept.end,
        # The file's own padding is often the end, which KerasHub would stop at before it has begun.
        pad_token_id=1 if kept.tokens[0] == kept.end else 0,
        unsplittable_tokens=kept.special,
    )


def _weights(model: GGUFModel) -> dict[str, np.ndarray]:
    """The values of a `Llama3Backbone`'s weights, by their paths."""
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

    def of(name: str) -> np.ndarray:
        return model.tensors[f"blk.{layer}.{name}.weight"]

    def heads(weight: np.ndarray) -> np.ndarray:
        return weight.reshape(-1, size, hidden).transpose(2, 0, 1)

    def halves(weight: np.ndarray) -> np.ndarray:
        """llama.cpp turns neighbouring dimensions by a position, KerasHub those that are half a head apart."""
        return weight.reshape(-1, size // 2, 2, hidden).swapaxes(1, 2).reshape(weight.shape)

    return {
        "self_attention_layernorm/scale": of("attn_norm"),
        "self_attention/query/kernel": heads(halves(of("attn_q"))),
        "self_attention/key/kernel": heads(halves(of("attn_k"))),
        "self_attention/value/kernel": heads(of("attn_v")),
        "self_attention/attention_output/kernel": of("attn_output").T.reshape(-1, size, hidden),
        "feedforward_layernorm/scale": of("ffn_norm"),
        "feedforward_gate_dense/kernel": of("ffn_gate").T,
        "feedforward_intermediate_dense/kernel": of("ffn_up").T,
        "feedforward_output_dense/kernel": of("ffn_down").T,
    }


def _max_difference(model: GGUFModel, folder: Path) -> float:
    import keras_hub

    causal_lm = keras_hub.models.CausalLM.from_preset(str(folder), dtype="float32")
    worst = 0.0
    for text in TEXTS:
        ids = np.asarray(causal_lm.preprocessor.tokenizer(text))[None, : model.context_length]
        found = np.asarray(causal_lm({"token_ids": ids, "padding_mask": np.ones_like(ids)}))[0]
        worst = max(worst, float(np.abs(found - llama_logits(model, ids[0])).max()))
    if not worst <= TOLERANCE:
        raise RunError(
            f"the preset made of {model.name} answers otherwise than the file: its logits differ by {worst:.1e}, more"
            f" than {TOLERANCE:g}; nothing was written"
        )
    return worst
