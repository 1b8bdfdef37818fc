"""A Llama-like language model read from a GGUF file, llama.cpp's format, into NumPy arrays."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.language_models.byte_pair import PRE_TOKENIZERS
from tfhub_ft.utils.errors import InputError, first_line

if TYPE_CHECKING:
    import gguf

ARCHITECTURE = "llama"

# What `gguf.TokenType` calls CONTROL and USER_DEFINED: tokens that are found in a text before it is cut into words.
_SPECIAL_KINDS = (3, 4)


@dataclass(frozen=True)
class GGUFTokenizer:
    """The byte-pair tokenizer in a GGUF file.

    Attributes:
        tokens: the vocabulary; a token's place is its id. Bytes stand for themselves as in GPT-2's vocabulary.
        merges: the pairs that are joined, the most urgent first, each as two tokens with a space between.
        pre_tokenizer: how a text is cut into words, one of `byte_pair.PRE_TOKENIZERS`.
        special: the tokens that are found in a text as they are.
        start: the token that each text begins with; None where texts begin with none.
        end: the token that ends an answer.
    """

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
        name: what the file calls it.
        licence: what the file says of its licence; empty where it says nothing.
        layers: the number of Transformer blocks.
        hidden_size: the width of the embeddings.
        heads: the attention heads of a block.
        kv_heads: the heads of keys and values, each of which serves several attention heads.
        intermediate_size: the width of a block's inner dense layers.
        context_length: the longest input, in tokens.
        rope_base: the base of the rotary positions' wavelengths.
        norm_eps: what a norm adds to the mean square.
        tokenizer: its tokenizer.
        chat_template: the Jinja template of a dialogue; None where the file has none.
        tensors: float32 arrays by their names in the file; a dense layer's is [out, in].
    """

    name: str
    licence: str
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
        """The width of one attention head."""
        return self.hidden_size // self.heads

    @property
    def output(self) -> np.ndarray:
        """The weights that make logits of hidden states, [vocabulary, hidden]; the embeddings where they are tied."""
        return self.tensors.get("output.weight", self.tensors["token_embd.weight"])

    @property
    def is_tied(self) -> bool:
        """Whether the embeddings make the logits too."""
        return "output.weight" not in self.tensors


def read_gguf(path: str | Path) -> GGUFModel:
    """Read a language model of the architecture "llama" (Llama, Mistral, SmolLM) from a GGUF file.

    Quantized tensors are made float32 by the `gguf` package. The rows of queries and keys stand as llama.cpp wants
    them: the two dimensions that a rotary position turns together are neighbours.

    Args:
        path: the file.

    Returns:
        The model, all of it in memory.

    Raises:
        InputError: the file is missing, cut off, of another architecture, or holds what is not supported.

    Example:
        model = read_gguf("SmolLM2-135M-Instruct.Q4_1.gguf")
        print(model.name, model.layers, model.tensors["token_embd.weight"].shape)

    Reference:
        https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: is no file")
    import gguf

    try:
        reader = gguf.GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
    # What the reader raises where a length or an offset leads nowhere, is left to NumPy.
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, MemoryError) as error:
        raise InputError(f"{path}: is no whole GGUF file ({first_line(error)})") from error
    return _Read(path, fields, reader.tensors).model()


class _Read:
    """What was read from a file, and the model that it makes."""

    def __init__(self, path: Path, fields: dict[str, Any], tensors: "list[gguf.ReaderTensor]") -> None:
        self.path, self.fields, self.tensors = path, fields, tensors

    def model(self) -> GGUFModel:
        if (architecture := self.field("general.architecture")) != ARCHITECTURE:
            raise self.wrong(
                f"its architecture is {architecture}; only {ARCHITECTURE} (Llama, Mistral, SmolLM) is read"
            )
        described = {
            "layers": self.of_architecture("block_count"),
            "hidden_size": self.of_architecture("embedding_length"),
            "heads": self.of_architecture("attention.head_count"),
            "kv_heads": self.of_architecture("attention.head_count_kv", self.of_architecture("attention.head_count")),
            "intermediate_size": self.of_architecture("feed_forward_length"),
            "context_length": self.of_architecture("context_length"),
        }
        self.check(described)
        return GGUFModel(
            name=str(self.field("general.name", self.path.stem)),
            licence=str(self.field("general.license", "")),
            **described,
            rope_base=float(self.of_architecture("rope.freq_base", 10000.0)),
            norm_eps=float(self.of_architecture("attention.layer_norm_rms_epsilon")),
            tokenizer=(tokenizer := self.tokenizer()),
            chat_template=self.field("tokenizer.chat_template", None),
            tensors=self.arrays(_shapes(**described, vocabulary=len(tokenizer.tokens))),
        )

    def wrong(self, why: str) -> InputError:
        return InputError(f"{self.path}: {why}")

    def field(self, name: str, *default: Any) -> Any:
        if (value := self.fields.get(name)) is not None:
            return value
        if default:
            return default[0]
        raise self.wrong(f"the GGUF file does not say {name}")

    def of_architecture(self, name: str, *default: Any) -> Any:
        return self.field(f"{ARCHITECTURE}.{name}", *default)

    def check(self, described: dict[str, Any]) -> None:
        for name, value in described.items():
            if not isinstance(value, int) or value < 1:
                raise self.wrong(f"{name.replace('_', ' ')} is {value}, where one number is wanted")
        hidden, heads, kv_heads = (described[name] for name in ("hidden_size", "heads", "kv_heads"))
        if hidden % heads or heads % kv_heads:
            raise self.wrong(f"{heads} heads, {kv_heads} of them for keys, do not divide a width of {hidden}")
        head = hidden // heads
        for name in ("rope.dimension_count", "attention.key_length", "attention.value_length"):
            if (size := self.of_architecture(name, head)) != head:
                raise self.wrong(f"{name} is {size}, where the heads are {head} wide; only equal ones are supported")
        if self.of_architecture("rope.scaling.type", "none") != "none":
            raise self.wrong("its rotary positions are scaled, which is not supported")

    def tokenizer(self) -> GGUFTokenizer:
        if "tokenizer.ggml.tokens" not in self.fields:
            raise self.wrong("holds no tokenizer")
        if (kind := self.field("tokenizer.ggml.model")) != "gpt2":
            raise self.wrong(f"its tokenizer is of the kind {kind}; only byte-pair tokenizers (gpt2) are read")
        if (cut := self.field("tokenizer.ggml.pre", "gpt-2")) not in PRE_TOKENIZERS:
            raise self.wrong(f"its tokenizer cuts texts as {cut} does; only {', '.join(PRE_TOKENIZERS)} are known")
        tokens, merges = self.field("tokenizer.ggml.tokens"), self.field("tokenizer.ggml.merges")
        known = set(tokens)
        if len(known) < len(tokens):
            raise self.wrong("its vocabulary has a token twice")
        if unknown := [merge for merge in merges if not known.issuperset(merge.split(" "))]:
            raise self.wrong(f"its tokenizer joins {unknown[0]!r}, which are not in the vocabulary")
        kinds = self.field("tokenizer.ggml.token_type", [])
        starts = self.field("tokenizer.ggml.add_bos_token", False)
        return GGUFTokenizer(
            tokens=tokens,
            merges=merges,
            pre_tokenizer=cut,
            special=[token for token, kind in zip(tokens, kinds) if kind in _SPECIAL_KINDS],
            start=self.token("tokenizer.ggml.bos_token_id", tokens) if starts else None,
            end=self.token("tokenizer.ggml.eos_token_id", tokens),
        )

    def token(self, field: str, tokens: list[str]) -> str:
        number = self.field(field)
        if not 0 <= number < len(tokens):
            raise self.wrong(f"{field} is {number}, in a vocabulary of {len(tokens):,}")
        return tokens[number]

    def arrays(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        found = {tensor.name: tensor for tensor in self.tensors}
        if missing := [name for name in shapes if name not in found and name != "output.weight"]:
            raise self.wrong(f"the tensor {missing[0]} is missing")
        if strange := [name for name in found if name not in shapes]:
            raise self.wrong(f"the tensor {strange[0]} belongs to no Llama that is known here")
        return {name: self.array(tensor, shapes[name]) for name, tensor in found.items()}

    def array(self, tensor: "gguf.ReaderTensor", shape: tuple[int, ...]) -> np.ndarray:
        import gguf

        if (stored := tuple(int(size) for size in reversed(tensor.shape))) != shape:
            raise self.wrong(f"the tensor {tensor.name} has the shape {stored}, not {shape}")
        try:
            return np.asarray(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        except NotImplementedError:
            raise self.wrong(
                f"the tensor {tensor.name} is quantized as {tensor.tensor_type.name}, which gguf cannot undo"
            ) from None


def _shapes(
    *, layers: int, hidden_size: int, heads: int, kv_heads: int, intermediate_size: int, vocabulary: int, **_: int
) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by its name; "output.weight" may be left out."""
    keys = hidden_size // heads * kv_heads
    block = {
        "attn_norm": (hidden_size,),
        "attn_q": (hidden_size, hidden_size),
        "attn_k": (keys, hidden_size),
        "attn_v": (keys, hidden_size),
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
