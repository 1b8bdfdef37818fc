"""Read Llama-like language models from GGUF files into NumPy arrays."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.language_models.byte_pair import PRE_TOKENIZERS
from tfhub_ft.utils.errors import InputError, first_line

if TYPE_CHECKING:
    import gguf

ARCHITECTURE = "llama"

# CONTROL and USER_DEFINED of `gguf.TokenType`: tokens that are found in a text before it is split into words.
_SPECIAL_TYPES = (3, 4)


@dataclass(frozen=True)
class GGUFTokenizer:
    """The byte-pair tokenizer of a GGUF file; its tokens are in the order of ids, and a merge is two of them."""

    tokens: list[str]
    merges: list[str]
    pre_tokenizer: str
    special: list[str]
    start: str | None
    end: str


@dataclass(frozen=True)
class GGUFModel:
    """A Llama-like language model: its architecture, weights, tokenizer and chat template.

    Attributes:
        tensors: float32 arrays by their names in the file; kernels are [out, in]. In queries and keys the two
            dimensions that a rotary position rotates together are neighbors.
    """

    name: str
    layers: int
    hidden_size: int
    heads: int
    kv_heads: int
    intermediate_size: int
    context_length: int
    rope_base: float
    norm_eps: float
    tokenizer: GGUFTokenizer
    chat_template: str | None
    tensors: dict[str, np.ndarray]

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.heads

    @property
    def output(self) -> np.ndarray:
        """The output layer, [vocabulary, hidden]: the embeddings where they are tied."""
        return self.tensors.get("output.weight", self.tensors["token_embd.weight"])

    @property
    def is_tied(self) -> bool:
        """Whether the embeddings are the output layer, too."""
        return "output.weight" not in self.tensors


def read_gguf(path: str | Path) -> GGUFModel:
    """Read a language model of the architecture "llama" (Llama, Mistral, SmolLM), with weights in float32.

    Reference:
        https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: not found; expected a GGUF file")
    import gguf

    try:
        reader = gguf.GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
    # The reader leaves wrong lengths and offsets to NumPy.
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, MemoryError) as error:
        raise InputError(f"{path}: not a complete GGUF file ({first_line(error)})") from error
    return _ModelReader(path, fields, reader.tensors).model()


class _ModelReader:
    """Creates a model from the fields and tensors of a file."""

    def __init__(self, path: Path, fields: dict[str, Any], tensors: "list[gguf.ReaderTensor]"):
        self.path, self.fields, self.tensors = path, fields, tensors

    def model(self) -> GGUFModel:
        if (architecture := self.field("general.architecture")) != ARCHITECTURE:
            raise self.error(
                f"the architecture is {architecture}; only {ARCHITECTURE} (Llama, Mistral, SmolLM) is supported"
            )
        sizes = self.sizes()
        tokenizer = self.tokenizer()
        return GGUFModel(
            name=str(self.field("general.name", self.path.stem)),
            **sizes,
            rope_base=float(self.llama_field("rope.freq_base", 10000.0)),
            norm_eps=float(self.llama_field("attention.layer_norm_rms_epsilon")),
            tokenizer=tokenizer,
            chat_template=self.field("tokenizer.chat_template", None),
            tensors=self.arrays(_shapes(**sizes, vocabulary=len(tokenizer.tokens))),
        )

    def error(self, message: str) -> InputError:
        return InputError(f"{self.path}: {message}")

    def field(self, name: str, *default: object) -> Any:
        if (value := self.fields.get(name)) is not None:
            return value
        if default:
            return default[0]
        raise self.error(f"the field {name} is missing")

    def llama_field(self, name: str, *default: object) -> Any:
        return self.field(f"{ARCHITECTURE}.{name}", *default)

    def sizes(self) -> dict[str, int]:
        sizes = {
            "layers": self.llama_field("block_count"),
            "hidden_size": self.llama_field("embedding_length"),
            "heads": self.llama_field("attention.head_count"),
            "kv_heads": self.llama_field("attention.head_count_kv", self.llama_field("attention.head_count")),
            "intermediate_size": self.llama_field("feed_forward_length"),
            "context_length": self.llama_field("context_length"),
        }
        for name, size in sizes.items():
            if not isinstance(size, int) or size < 1:
                raise self.error(f"{name.replace('_', ' ')} is {size}; expected one positive number")
        hidden, heads, kv_heads = (sizes[name] for name in ("hidden_size", "heads", "kv_heads"))
        if hidden % heads or heads % kv_heads:
            raise self.error(f"{heads} heads, {kv_heads} of them for keys, do not divide a width of {hidden}")
        head = hidden // heads
        for name in ("rope.dimension_count", "attention.key_length", "attention.value_length"):
            if (size := self.llama_field(name, head)) != head:
                raise self.error(f"{name} is {size}; only the width of the heads, {head}, is supported")
        if self.llama_field("rope.scaling.type", "none") != "none":
            raise self.error("scaled rotary positions are not supported")
        return sizes

    def tokenizer(self) -> GGUFTokenizer:
        if "tokenizer.ggml.tokens" not in self.fields:
            raise self.error("the tokenizer is missing")
        if (kind := self.field("tokenizer.ggml.model")) != "gpt2":
            raise self.error(f"the tokenizer's model is {kind}; only gpt2 (byte-pair) is supported")
        if (pre_tokenizer := self.field("tokenizer.ggml.pre", "gpt-2")) not in PRE_TOKENIZERS:
            raise self.error(f"the pre-tokenizer is {pre_tokenizer}; only {', '.join(PRE_TOKENIZERS)} are supported")
        tokens, merges = self.field("tokenizer.ggml.tokens"), self.field("tokenizer.ggml.merges")
        vocabulary = set(tokens)
        if len(vocabulary) < len(tokens):
            raise self.error("the vocabulary contains a token twice")
        if unknown := [merge for merge in merges if not vocabulary.issuperset(merge.split(" "))]:
            raise self.error(f"the tokenizer merges {unknown[0]!r}, which are not in the vocabulary")
        types = self.field("tokenizer.ggml.token_type", [])
        has_start = self.field("tokenizer.ggml.add_bos_token", False)
        return GGUFTokenizer(
            tokens=tokens,
            merges=merges,
            pre_tokenizer=pre_tokenizer,
            special=[token for token, type in zip(tokens, types) if type in _SPECIAL_TYPES],
            start=self.token("tokenizer.ggml.bos_token_id", tokens) if has_start else None,
            end=self.token("tokenizer.ggml.eos_token_id", tokens),
        )

    def token(self, field: str, tokens: list[str]) -> str:
        number = self.field(field)
        if not 0 <= number < len(tokens):
            raise self.error(f"{field} is {number}, but the vocabulary has {len(tokens):,} tokens")
        return tokens[number]

    def arrays(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        tensors = {tensor.name: tensor for tensor in self.tensors}
        if missing := [name for name in shapes if name not in tensors and name != "output.weight"]:
            raise self.error(f"the tensor {missing[0]} is missing")
        if unknown := [name for name in tensors if name not in shapes]:
            raise self.error(f"the tensor {unknown[0]} is not supported: it is not part of a Llama")
        return {name: self.array(tensor, shapes[name]) for name, tensor in tensors.items()}

    def array(self, tensor: "gguf.ReaderTensor", shape: tuple[int, ...]) -> np.ndarray:
        import gguf

        if (actual := tuple(int(size) for size in reversed(tensor.shape))) != shape:
            raise self.error(f"the tensor {tensor.name} has the shape {actual}; expected {shape}")
        try:
            return np.asarray(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        except NotImplementedError:
            raise self.error(
                f"the tensor {tensor.name} has the type {tensor.tensor_type.name}, which gguf cannot dequantize"
            ) from None


def _shapes(
    *, layers: int, hidden_size: int, heads: int, kv_heads: int, intermediate_size: int, vocabulary: int, **_: int
) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor; "output.weight" is optional."""
    key_size = hidden_size // heads * kv_heads
    block = {
        "attn_norm": (hidden_size,),
        "attn_q": (hidden_size, hidden_size),
        "attn_k": (key_size, hidden_size),
        "attn_v": (key_size, hidden_size),
        "attn_output": (hidden_size, hidden_size),
        "ffn_norm": (hidden_size,),
        "ffn_gate": (intermediate_size, hidden_size),
        "ffn_up": (intermediate_size, hidden_size),
        "ffn_down": (hidden_size, intermediate_size),
    }
    return {
        "token_embd.weight": (vocabulary, hidden_size),
        "output_norm.weight": (hidden_size,),
        "output.weight": (vocabulary, hidden_size),
        **{f"blk.{layer}.{name}.weight": shape for layer in range(layers) for name, shape in block.items()},
    }
