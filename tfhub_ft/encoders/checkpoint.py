"""Read checkpoint folders into NumPy arrays, without torch and without pickles."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tfhub_ft.encoders import model_garden
from tfhub_ft.utils.console import log
from tfhub_ft.utils.documents import read_json
from tfhub_ft.utils.errors import InputError

SUPPORTED = ("bert", "distilbert")

# Hugging Face's names of the activations, and what each computes.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}

_CONFIG_KEYS = {
    "bert": {
        "layers": "num_hidden_layers",
        "hidden_size": "hidden_size",
        "heads": "num_attention_heads",
        "intermediate_size": "intermediate_size",
        "vocab_size": "vocab_size",
        "max_positions": "max_position_embeddings",
        "type_vocab_size": "type_vocab_size",
        "activation": "hidden_act",
        "dropout": "hidden_dropout_prob",
        "attention_dropout": "attention_probs_dropout_prob",
    },
    "distilbert": {
        "layers": "n_layers",
        "hidden_size": "dim",
        "heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "vocab_size": "vocab_size",
        "max_positions": "max_position_embeddings",
        "activation": "activation",
        "dropout": "dropout",
        "attention_dropout": "attention_dropout",
    },
}

_BLOCKS = {"bert": "encoder.layer", "distilbert": "transformer.layer"}

_BLOCK_PARTS = {
    "bert": {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "attention_output": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "intermediate": "intermediate.dense",
        "output": "output.dense",
        "output_norm": "output.LayerNorm",
    },
    "distilbert": {
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "attention_output": "attention.out_lin",
        "attention_norm": "sa_layer_norm",
        "intermediate": "ffn.lin1",
        "output": "ffn.lin2",
        "output_norm": "output_layer_norm",
    },
}

# The masked-LM head, whose output weights, the decoder's, are the word embeddings.
_HEAD_WEIGHTS = {
    "bert": {
        "dense.weight": "predictions.transform.dense.weight",
        "dense.bias": "predictions.transform.dense.bias",
        "norm.weight": "predictions.transform.LayerNorm.weight",
        "norm.bias": "predictions.transform.LayerNorm.bias",
        "bias": "predictions.bias",
        "decoder": "predictions.decoder.weight",
    },
    "distilbert": {
        "dense.weight": "vocab_transform.weight",
        "dense.bias": "vocab_transform.bias",
        "norm.weight": "vocab_layer_norm.weight",
        "norm.bias": "vocab_layer_norm.bias",
        "bias": "vocab_projector.bias",
        "decoder": "vocab_projector.weight",
    },
}

_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_WORDPIECE_CLASSES = ("BertTokenizer", "ElectraTokenizer", "PreTrainedTokenizer", "TokenizersBackend")
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_H5_PARTS = {"embeddings", "encoder", "transformer", "pooler", "predictions"}
_H5_HEAD = {"vocab_transform", "vocab_layer_norm", "vocab_projector"}
_H5_ENDINGS = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias"}


@dataclass(frozen=True)
class Checkpoint:
    """A pretrained encoder of Hugging Face: its architecture, its vocabulary and its weights.

    Attributes:
        name: the folder's name.
        model_type: "bert" or "distilbert".
        layers: the number of Transformer blocks.
        hidden_size: the width of every output.
        heads: the attention heads of a block.
        intermediate_size: the width of a block's inner dense layer.
        vocab_size: the rows of the word embeddings.
        max_positions: the longest input, in tokens.
        type_vocab_size: the number of token types (segments); 0 for DistilBERT, which has none.
        activation: "gelu" (by the error function), "gelu_tanh" (its approximation), "relu" or "silu".
        layer_norm_eps: what layer normalization adds to the variance.
        dropout: the rate behind embeddings and dense layers, in training.
        attention_dropout: the rate on attention probabilities, in training.
        do_lower_case: whether texts are lower-cased (and their accents stripped) before they are split.
        vocabulary: the WordPiece tokens, in the order of their ids.
        weights: float32 arrays by their names in Hugging Face's torch model, without the leading "bert." or
            "distilbert."; a dense layer's weight is [out, in].
        masked_lm: the masked-LM head as float32 arrays: "dense.weight" [out, in], "dense.bias", "norm.weight",
            "norm.bias" and "bias" [vocab_size]; empty where the checkpoint has none that shares the word embeddings.
    """

    name: str
    model_type: str
    layers: int
    hidden_size: int
    heads: int
    intermediate_size: int
    vocab_size: int
    max_positions: int
    type_vocab_size: int
    activation: str
    layer_norm_eps: float
    dropout: float
    attention_dropout: float
    do_lower_case: bool
    vocabulary: tuple[str, ...]
    weights: dict[str, np.ndarray]
    masked_lm: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def has_pooler(self) -> bool:
        """Whether a trained tanh pooler makes the pooled output (else it is the first token's last hidden state)."""
        return "pooler.dense.weight" in self.weights

    def pair(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The weight and the bias of a dense layer or a layer normalization, such as "embeddings.LayerNorm"."""
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]

    def block(self, index: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The weights and biases of one Transformer block, by names that both model types share.

        Args:
            index: the block, from 0.

        Returns:
            {part: (weight, bias)} for the dense layers query, key, value, attention_output, intermediate and output,
            each weight [out, in], and the layer normalizations attention_norm and output_norm.
        """
        prefix = f"{_BLOCKS[self.model_type]}.{index}"
        return {part: self.pair(f"{prefix}.{name}") for part, name in _BLOCK_PARTS[self.model_type].items()}


def read_checkpoint(folder: str | Path) -> Checkpoint:
    """Read a checkpoint folder of Hugging Face or of the TensorFlow Model Garden.

    A folder of Hugging Face has config.json, a WordPiece vocabulary, and weights. One of the Model Garden has
    bert_config.json, vocab.txt and one checkpoint; it is read by tf-models-official, the extra [models].

    The weights are read from `model.safetensors`, from shards named by `model.safetensors.index.json`, or from
    `tf_model.h5`; float16 and bfloat16 become float32. A masked-LM head is read, other heads are left out. A
    `pytorch_model.bin` is a pickle, which can run any code, and is never loaded. Where there is no `vocab.txt`, a
    WordPiece `tokenizer.json` gives the vocabulary. Nothing is written into the folder.

    Args:
        folder: the checkpoint folder.

    Returns:
        The checkpoint, every tensor of the right name and shape.

    Raises:
        InputError: a file is missing or broken, or the model is of a kind that is not supported.

    Example:
        checkpoint = read_checkpoint("all-MiniLM-L6-v2")
        print(checkpoint.layers, checkpoint.weights["embeddings.word_embeddings.weight"].shape)
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one with config.json, vocab.txt and model.safetensors")
    found = (folder / name for name in ("config.json", model_garden.CONFIG) if (folder / name).is_file())
    if (config_file := next(found, None)) is None:
        raise InputError(f"{folder}: not a checkpoint folder (neither config.json nor {model_garden.CONFIG} found)")
    is_of_model_garden = config_file.name == model_garden.CONFIG
    config = read_json(config_file, dict)
    if is_of_model_garden:
        # Its "gelu" is the tanh approximation.
        activation = {"gelu": "gelu_new"}.get(config.get("hidden_act"), config.get("hidden_act"))
        config |= {"model_type": "bert", "hidden_act": activation}
    architecture = _architecture(config_file, config)
    tokenizer_file = folder / "tokenizer_config.json"
    tokenizer = read_json(tokenizer_file, dict) if tokenizer_file.is_file() else {}
    vocabulary = _vocabulary(folder, tokenizer, architecture["vocab_size"])
    source = config_file if is_of_model_garden else _weights_file(folder)
    shapes = expected_shapes(architecture)
    weights, masked_lm = _read_weights(source, shapes, _head_shapes(architecture), architecture["model_type"])
    return Checkpoint(
        name=folder.resolve().name,
        **architecture,
        do_lower_case=_lower_case(folder, config, tokenizer),
        vocabulary=tuple(vocabulary),
        weights=weights,
        masked_lm=masked_lm,
    )


def expected_shapes(architecture: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Each tensor's shape by its name in `Checkpoint.weights`; the pooler's are optional.

    Args:
        architecture: the attributes of a `Checkpoint` that say its sizes, by name.
    """
    model_type, hidden, inner = (architecture[key] for key in ("model_type", "hidden_size", "intermediate_size"))
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (architecture["vocab_size"], hidden),
        "embeddings.position_embeddings.weight": (architecture["max_positions"], hidden),
        "embeddings.LayerNorm.weight": (hidden,),
    }
    if architecture["type_vocab_size"]:
        shapes["embeddings.token_type_embeddings.weight"] = (architecture["type_vocab_size"], hidden)
    if model_type == "bert":
        shapes["pooler.dense.weight"] = (hidden, hidden)
    special = {"attention_norm": (hidden,), "output_norm": (hidden,), "intermediate": (inner, hidden)}
    special["output"] = (hidden, inner)
    for index in range(architecture["layers"]):
        for part, name in _BLOCK_PARTS[model_type].items():
            shapes[f"{_BLOCKS[model_type]}.{index}.{name}.weight"] = special.get(part, (hidden, hidden))
    biases = {n.replace(".weight", ".bias"): s[:1] for n, s in shapes.items() if not n.endswith("_embeddings.weight")}
    return shapes | biases


def _architecture(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The numbers of config.json under this module's names, checked."""
    model_type = config.get("model_type")
    if model_type not in SUPPORTED:
        raise InputError(f"{path}: model_type is {model_type!r}; supported are {', '.join(SUPPORTED)}")
    keys = _CONFIG_KEYS[model_type]
    sizes = ("layers", "hidden_size", "heads", "intermediate_size", "vocab_size", "max_positions")
    found: dict[str, Any] = {"model_type": model_type, "type_vocab_size": 0}
    found |= {name: _size(path, config, keys[name]) for name in (*sizes, "type_vocab_size") if name in keys}
    found |= {name: _rate(path, config, keys[name], 0.1) for name in ("dropout", "attention_dropout")}
    # DistilBERT's is fixed in its code, whatever config.json says.
    found["layer_norm_eps"] = _rate(path, config, "layer_norm_eps", 1e-12) if model_type == "bert" else 1e-12
    activation = config.get(keys["activation"], "gelu")
    if activation not in ACTIVATIONS:
        raise InputError(f"{path}: {keys['activation']} is {activation!r}; supported are {', '.join(ACTIVATIONS)}")
    found["activation"] = ACTIVATIONS[activation]
    if found["hidden_size"] % found["heads"]:
        raise InputError(f"{path}: {keys['hidden_size']} is not a multiple of {keys['heads']}")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(f"{path}: position_embedding_type is not absolute; relative positions are not supported")
    if config.get("is_decoder"):
        raise InputError(f"{path}: is_decoder is true; only encoders, which see the whole text, are supported")
    return found


def _size(path: Path, config: dict[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{path}: {key} is {value!r}; it must be a whole number above 0")
    return value


def _rate(path: Path, config: dict[str, Any], key: str, default: float) -> float:
    value = config.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise InputError(f"{path}: {key} is {value!r}; it must be a number from 0 to below 1")
    return float(value)


def _vocabulary(folder: Path, tokenizer: dict[str, Any], rows: int) -> list[str]:
    """Return the tokens of vocab.txt, otherwise of tokenizer.json, checked."""
    kind = tokenizer.get("tokenizer_class") or "BertTokenizer"
    if not any(known in kind for known in _WORDPIECE_CLASSES):
        path = folder / "tokenizer_config.json"
        raise InputError(f"{path}: tokenizer_class is {kind}; only BERT's WordPiece tokenizer is supported")
    path = folder / "vocab.txt"
    if path.is_file():
        tokens = _read_vocabulary(path)
    else:
        path = folder / "tokenizer.json"
        tokens = _vocabulary_of_tokenizer(path)
    missing = [token for token in _SPECIAL_TOKENS if token not in tokens]
    if missing:
        raise InputError(f"{path}: has no {', '.join(missing)}; take the vocabulary that belongs to the weights")
    if len(set(tokens)) != len(tokens):
        twice = next(token for token in tokens if tokens.count(token) > 1)
        raise InputError(f"{path}: {twice!r} stands in it twice; take the vocabulary that belongs to the weights")
    if len(tokens) != rows:
        raise InputError(
            f"{path}: {len(tokens)} tokens, but config.json says vocab_size {rows}; take the vocabulary that belongs to"
            " the weights (where these were padded, add a line such as [unused1000] for every row that is left over)"
        )
    return tokens


def _read_vocabulary(path: Path) -> list[str]:
    try:
        lines = path.read_bytes().decode("utf-8").removeprefix("\ufeff").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; download it again") from None
    # Only line feeds end a token: the vocabularies of many languages hold other characters that str.splitlines splits.
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def _vocabulary_of_tokenizer(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"{path.parent}: has neither vocab.txt nor tokenizer.json; download the vocabulary too")
    model = read_json(path, dict).get("model")
    model = model if isinstance(model, dict) else {}
    if model.get("type") != "WordPiece" or not isinstance(model.get("vocab"), dict):
        raise InputError(f"{path}: its model is {model.get('type')!r}; without a vocab.txt it must be WordPiece")
    vocabulary = model["vocab"]
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise InputError(f"{path}: the ids of its vocabulary are not 0, 1, 2, ...; get the model's vocab.txt")
    return sorted(vocabulary, key=vocabulary.__getitem__)


def _lower_case(folder: Path, config: dict[str, Any], tokenizer: dict[str, Any]) -> bool:
    """Whether the tokenizer lower-cases: what its files say, or else the model's name."""
    described = folder / "tokenizer.json"
    normalizer = (read_json(described, dict).get("normalizer") or {}) if described.is_file() else {}
    lower = tokenizer.get("do_lower_case", normalizer.get("lowercase"))
    if not isinstance(lower, bool):
        name = f"{folder.resolve().name} {config.get('_name_or_path', '')}".lower()
        lower = "uncased" in name or "cased" not in name
        log(f"{folder}: says nothing of do_lower_case; taken to be {'un' if lower else ''}cased")
    strips = tokenizer.get("strip_accents", normalizer.get("strip_accents"))
    if isinstance(strips, bool) and strips != lower:
        log(
            f"{folder}: TF Text strips accents if and only if it lower-cases; texts with accents may be split otherwise"
        )
    return lower


def _weights_file(folder: Path) -> Path:
    for name in ("model.safetensors", "model.safetensors.index.json", "tf_model.h5"):
        if (folder / name).is_file():
            return folder / name
    pickles = [f.name for f in (*sorted(folder.glob("*.bin")), *sorted(folder.glob("*.pt"))) if f.is_file()]
    if pickles:
        raise InputError(
            f"{folder / pickles[0]}: a pickle can run any code and is never loaded; re-save the model where you trust"
            " it: AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER, safe_serialization=True)"
        )
    raise InputError(f"{folder}: has no weights (model.safetensors, its shards with their index, or tf_model.h5)")


def _head_shapes(architecture: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of a masked-LM head's tensors, all optional, by their names in Hugging Face's torch model."""
    hidden, words = architecture["hidden_size"], architecture["vocab_size"]
    shapes = {"dense.weight": (hidden, hidden), "bias": (words,), "decoder": (words, hidden)}
    names = _HEAD_WEIGHTS[architecture["model_type"]]
    return {name: shapes.get(part, (hidden,)) for part, name in names.items()}


def _read_weights(
    source: Path, shapes: dict[str, tuple[int, ...]], head_shapes: dict[str, tuple[int, ...]], model_type: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the tensors of the encoder and those of its masked-LM head as float32, each checked."""
    wanted, weights = {**shapes, **head_shapes}, {}
    for name, tensor in _tensors(source, wanted):
        if tensor.dtype.name not in _FLOATS:
            raise InputError(f"{source}: {name} is {tensor.dtype.name}; a quantized checkpoint cannot be converted")
        if tensor.shape != wanted[name]:
            raise InputError(
                f"{source}: {name} has the shape {list(tensor.shape)}, by config.json it must be {list(wanted[name])}"
            )
        weights[name] = np.asarray(tensor, np.float32)
        if not np.isfinite(weights[name]).all():
            raise InputError(f"{source}: {name} holds numbers that are not finite; take another checkpoint")
    optional = set() if any(n.startswith("pooler.") for n in weights) else {"pooler.dense.weight", "pooler.dense.bias"}
    missing = [name for name in shapes if name not in weights and name not in optional]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"{source}: lacks {missing[0]}{more}; it does not fit config.json")
    head = {part: weights.pop(name) for part, name in _HEAD_WEIGHTS[model_type].items() if name in weights}
    return weights, _masked_lm(source, head, weights["embeddings.word_embeddings.weight"], len(head_shapes))


def _masked_lm(
    source: Path, head: dict[str, np.ndarray], word_embeddings: np.ndarray, size: int
) -> dict[str, np.ndarray]:
    """The head's weights without the decoder's; none where one is missing or the decoder has words of its own."""
    decoder = head.pop("decoder", word_embeddings)
    if head and not np.array_equal(decoder, word_embeddings):
        log(f"{source}: its masked-LM head does not share the word embeddings and is left out")
        return {}
    return head if len(head) == size - 1 else {}


def _tensors(source: Path, wanted: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
    if source.name == model_garden.CONFIG:
        return ((name, value) for name, value in model_garden.read_weights(source.parent).items() if name in wanted)
    if source.suffix == ".h5":
        return _h5_tensors(source, wanted)
    if source.suffix == ".json":
        return (pair for shard in _shards(source) for pair in _safetensors(shard, wanted))
    return _safetensors(source, wanted)


def _shards(index: Path) -> list[Path]:
    files = read_json(index, dict).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise InputError(f"{index}: has no weight_map; download it again")
    shards = [index.parent / str(name) for name in sorted(set(files.values()))]
    for shard in shards:
        if shard.parent != index.parent or not shard.is_file():
            raise InputError(f"{index}: names {shard.name}, which is not in the folder; download every shard")
    return shards


def _safetensors(path: Path, wanted: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
    import ml_dtypes  # noqa: F401  gives NumPy bfloat16
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            for stored in file.keys():  # noqa: SIM118  it is no dictionary
                if (name := _torch_name(stored)) in wanted:
                    yield name, file.get_tensor(stored)
    except (SafetensorError, OSError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error}); download it again") from None


def _torch_name(stored: str) -> str:
    name = re.sub(r"^(bert|distilbert|cls)\.", "", stored)
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _h5_tensors(path: Path, wanted: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            names: list[str] = []
            file.visit(names.append)
            for stored in names:
                name, transposed = _name_of_h5(stored)
                if name in wanted:
                    yield name, file[stored][()].T if transposed else file[stored][()]
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: not a whole HDF5 file ({error}); download it again") from None


def _name_of_h5(h5_name: str) -> tuple[str, bool]:
    """The torch name of a tensor that TensorFlow saved, and whether it is transposed.

    Example: "bert/tf_bert_model/bert/encoder/layer_._0/output/dense/kernel:0" is
    "encoder.layer.0.output.dense.weight", transposed.
    """
    parts = h5_name.removesuffix(":0").replace("_._", "/").split("/")
    start = next((index for index, part in enumerate(parts) if part in _H5_PARTS), len(parts) - 1)
    start = next((index for index in reversed(range(len(parts))) if parts[index] in _H5_HEAD), start)
    ending = parts[-1]
    return ".".join([*parts[start:-1], _H5_ENDINGS.get(ending, ending)]), ending == "kernel"
