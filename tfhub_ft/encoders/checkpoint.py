"""Read checkpoint folders into NumPy arrays, without torch and without pickles."""

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tfhub_ft.encoders import model_garden
from tfhub_ft.utils.console import log
from tfhub_ft.utils.documents import read_json
from tfhub_ft.utils.errors import InputError

SUPPORTED = ("bert", "distilbert")

# Our names of activations, by Hugging Face's.
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

# The parts of a block by their names in TF Hub's encoders.
_BLOCK_PARTS = {
    "bert": model_garden.BLOCK_PARTS,
    "distilbert": {
        "self_attention/query": "attention.q_lin",
        "self_attention/key": "attention.k_lin",
        "self_attention/value": "attention.v_lin",
        "self_attention/attention_output": "attention.out_lin",
        "self_attention_layer_norm": "sa_layer_norm",
        "intermediate": "ffn.lin1",
        "output": "ffn.lin2",
        "output_layer_norm": "output_layer_norm",
    },
}

# The masked-LM head, by its names in TF Hub's encoders. The weights of its decoder are the word embeddings.
_HEAD_WEIGHTS = {
    "bert": {
        "cls/predictions/transform/dense/kernel": "predictions.transform.dense.weight",
        "cls/predictions/transform/dense/bias": "predictions.transform.dense.bias",
        "cls/predictions/transform/LayerNorm/gamma": "predictions.transform.LayerNorm.weight",
        "cls/predictions/transform/LayerNorm/beta": "predictions.transform.LayerNorm.bias",
        "cls/predictions/output_bias/bias": "predictions.bias",
        "decoder": "predictions.decoder.weight",
    },
    "distilbert": {
        "cls/predictions/transform/dense/kernel": "vocab_transform.weight",
        "cls/predictions/transform/dense/bias": "vocab_transform.bias",
        "cls/predictions/transform/LayerNorm/gamma": "vocab_layer_norm.weight",
        "cls/predictions/transform/LayerNorm/beta": "vocab_layer_norm.bias",
        "cls/predictions/output_bias/bias": "vocab_projector.bias",
        "decoder": "vocab_projector.weight",
    },
}

_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_WORDPIECE_CLASSES = ("BertTokenizer", "ElectraTokenizer", "PreTrainedTokenizer", "TokenizersBackend")
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_H5_PARTS = {"embeddings", "encoder", "transformer", "pooler", "predictions"}
_H5_HEAD = {"vocab_transform", "vocab_layer_norm", "vocab_projector"}
_H5_ENDINGS = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias"}

Shapes = dict[str, tuple[int, ...]]
Tensors = Iterator[tuple[str, np.ndarray]]


@dataclass(frozen=True)
class Checkpoint:
    """A pretrained encoder of Hugging Face: architecture, vocabulary and weights."""

    # The folder's name.
    name: str
    model_type: str
    layers: int
    hidden_size: int
    heads: int
    intermediate_size: int
    vocab_size: int
    max_positions: int
    # 0 for DistilBERT, which has a single segment.
    type_vocab_size: int
    activation: str
    layer_norm_eps: float
    dropout: float
    attention_dropout: float
    # Whether texts are lower-cased and stripped of accents.
    do_lower_case: bool
    vocabulary: tuple[str, ...]
    # float32 by the names of Hugging Face's torch model without its prefix; dense layers are [out, in].
    weights: dict[str, np.ndarray]
    # By its names in TF Hub's encoders, dense [out, in]; empty without a head that shares the word embeddings.
    masked_lm: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def has_pooler(self) -> bool:
        """Whether there is a tanh pooler; otherwise the pooled output is the first token's last hidden state."""
        return "pooler.dense.weight" in self.weights

    def pair(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the weight and bias of a dense layer or a layer normalization, such as "embeddings.LayerNorm"."""
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]

    def block(self, index: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return the weights and biases of a Transformer block by their part's name in TF Hub's encoders."""
        prefix = f"{_BLOCKS[self.model_type]}.{index}"
        return {part: self.pair(f"{prefix}.{name}") for part, name in _BLOCK_PARTS[self.model_type].items()}


def read_checkpoint(folder: str | Path) -> Checkpoint:
    """Read and check a checkpoint folder of Hugging Face or the TensorFlow Model Garden.

    A folder of Hugging Face has config.json, a WordPiece vocabulary (vocab.txt or tokenizer.json) and weights
    (safetensors files or tf_model.h5). One of the Model Garden has bert_config.json, vocab.txt and a checkpoint.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: not found; expected a folder with config.json, vocab.txt and model.safetensors")
    config_files = (folder / name for name in ("config.json", model_garden.CONFIG) if (folder / name).is_file())
    if (config_file := next(config_files, None)) is None:
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
    weights, masked_lm = _read_weights(source, architecture)
    return Checkpoint(
        name=folder.resolve().name,
        **architecture,
        do_lower_case=_lower_case(folder, config, tokenizer),
        vocabulary=tuple(vocabulary),
        weights=weights,
        masked_lm=masked_lm,
    )


def expected_shapes(architecture: dict[str, Any]) -> Shapes:
    """Return each tensor's shape by its name in `Checkpoint.weights`, from the sizes of a `Checkpoint` by name."""
    model_type, hidden, inner = (architecture[key] for key in ("model_type", "hidden_size", "intermediate_size"))
    shapes: Shapes = {
        "embeddings.word_embeddings.weight": (architecture["vocab_size"], hidden),
        "embeddings.position_embeddings.weight": (architecture["max_positions"], hidden),
        "embeddings.LayerNorm.weight": (hidden,),
    }
    if architecture["type_vocab_size"]:
        shapes["embeddings.token_type_embeddings.weight"] = (architecture["type_vocab_size"], hidden)
    if model_type == "bert":
        shapes["pooler.dense.weight"] = (hidden, hidden)
    by_part = {"self_attention_layer_norm": (hidden,), "output_layer_norm": (hidden,)}
    by_part |= {"intermediate": (inner, hidden), "output": (hidden, inner)}
    for index in range(architecture["layers"]):
        for part, name in _BLOCK_PARTS[model_type].items():
            shapes[f"{_BLOCKS[model_type]}.{index}.{name}.weight"] = by_part.get(part, (hidden, hidden))
    biases = {n.replace(".weight", ".bias"): s[:1] for n, s in shapes.items() if not n.endswith("_embeddings.weight")}
    return shapes | biases


def _architecture(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Return the checked sizes of config.json by their names in `Checkpoint`."""
    model_type = config.get("model_type")
    if model_type not in SUPPORTED:
        raise InputError(f"{path}: model_type is {model_type!r}; supported are {', '.join(SUPPORTED)}")
    keys = _CONFIG_KEYS[model_type]
    sizes = ("layers", "hidden_size", "heads", "intermediate_size", "vocab_size", "max_positions", "type_vocab_size")
    architecture: dict[str, Any] = {"model_type": model_type, "type_vocab_size": 0}
    architecture |= {name: _size(path, config, keys[name]) for name in sizes if name in keys}
    architecture |= {name: _rate(path, config, keys[name], 0.1) for name in ("dropout", "attention_dropout")}
    # DistilBERT's is fixed in its code, whatever config.json says.
    epsilon = _rate(path, config, "layer_norm_eps", 1e-12) if model_type == "bert" else 1e-12
    activation = config.get(keys["activation"], "gelu")
    if activation not in ACTIVATIONS:
        raise InputError(f"{path}: {keys['activation']} is {activation!r}; supported are {', '.join(ACTIVATIONS)}")
    if architecture["hidden_size"] % architecture["heads"]:
        raise InputError(f"{path}: {keys['hidden_size']} is not a multiple of {keys['heads']}")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(f"{path}: position_embedding_type is not absolute; relative positions are not supported")
    if config.get("is_decoder"):
        raise InputError(f"{path}: is_decoder is true; only encoders are supported")
    return architecture | {"layer_norm_eps": epsilon, "activation": ACTIVATIONS[activation]}


def _size(path: Path, config: dict[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{path}: {key} is {value!r}; expected a positive integer")
    return value


def _rate(path: Path, config: dict[str, Any], key: str, default: float) -> float:
    value = config.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise InputError(f"{path}: {key} is {value!r}; expected a number in [0, 1)")
    return float(value)


def _vocabulary(folder: Path, tokenizer: dict[str, Any], size: int) -> list[str]:
    """Return the tokens of vocab.txt, otherwise of tokenizer.json, checked."""
    tokenizer_class = tokenizer.get("tokenizer_class") or "BertTokenizer"
    if not any(known in tokenizer_class for known in _WORDPIECE_CLASSES):
        path = folder / "tokenizer_config.json"
        raise InputError(f"{path}: tokenizer_class is {tokenizer_class}; only BERT's WordPiece tokenizer is supported")
    path = folder / "vocab.txt"
    if path.is_file():
        tokens = _read_vocabulary(path)
    else:
        path = folder / "tokenizer.json"
        tokens = _vocabulary_of_tokenizer(path)
    missing = [token for token in _SPECIAL_TOKENS if token not in tokens]
    if missing:
        raise InputError(f"{path}: {', '.join(missing)} not found; use the vocabulary of the weights")
    if len(set(tokens)) != len(tokens):
        duplicate = next(token for token in tokens if tokens.count(token) > 1)
        raise InputError(f"{path}: duplicate token {duplicate!r}; use the vocabulary of the weights")
    if len(tokens) != size:
        raise InputError(
            f"{path}: got {len(tokens)} tokens, expected {size} (vocab_size in config.json); use the vocabulary of the"
            " weights (if these are padded, add a line such as [unused1000] for each padding row)"
        )
    return tokens


def _read_vocabulary(path: Path) -> list[str]:
    try:
        lines = path.read_bytes().decode("utf-8").removeprefix("\ufeff").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; download it again") from None
    # Only line feeds end a token: many vocabularies have other characters that str.splitlines splits at.
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def _vocabulary_of_tokenizer(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"{path.parent}: neither vocab.txt nor tokenizer.json found; download the vocabulary, too")
    model = read_json(path, dict).get("model")
    model = model if isinstance(model, dict) else {}
    vocabulary = model.get("vocab")
    if model.get("type") != "WordPiece" or not isinstance(vocabulary, dict):
        raise InputError(
            f"{path}: the tokenizer model is {model.get('type')!r}; without vocab.txt it must be WordPiece"
        )
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise InputError(f"{path}: its token ids are not 0, 1, 2, ...; download the model's vocab.txt")
    return sorted(vocabulary, key=vocabulary.__getitem__)


def _lower_case(folder: Path, config: dict[str, Any], tokenizer: dict[str, Any]) -> bool:
    """Return whether the tokenizer lower-cases, from its files or the model's name."""
    tokenizer_file = folder / "tokenizer.json"
    normalizer = (read_json(tokenizer_file, dict).get("normalizer") or {}) if tokenizer_file.is_file() else {}
    lower = tokenizer.get("do_lower_case", normalizer.get("lowercase"))
    if not isinstance(lower, bool):
        name = f"{folder.resolve().name} {config.get('_name_or_path', '')}".lower()
        lower = "uncased" in name or "cased" not in name
        log(f"{folder}: do_lower_case not found; assuming {'un' if lower else ''}cased")
    strip_accents = tokenizer.get("strip_accents", normalizer.get("strip_accents"))
    if isinstance(strip_accents, bool) and strip_accents != lower:
        log(f"{folder}: TF Text strips accents only if it lower-cases; texts with accents may be tokenized differently")
    return lower


def _weights_file(folder: Path) -> Path:
    for name in ("model.safetensors", "model.safetensors.index.json", "tf_model.h5"):
        if (folder / name).is_file():
            return folder / name
    pickles = [f.name for f in (*sorted(folder.glob("*.bin")), *sorted(folder.glob("*.pt"))) if f.is_file()]
    if pickles:
        raise InputError(
            f"{folder / pickles[0]}: a pickle can run any code and is never loaded; save the model again where you"
            " trust it: AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER, safe_serialization=True)"
        )
    raise InputError(
        f"{folder}: weights not found; expected model.safetensors, shards with their index, or tf_model.h5"
    )


def _read_weights(source: Path, architecture: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the checked float32 tensors of the encoder and its masked-LM head."""
    shapes, weights = expected_shapes(architecture), {}
    hidden, vocab_size = architecture["hidden_size"], architecture["vocab_size"]
    head_names = list(_HEAD_WEIGHTS[architecture["model_type"]].values())
    head_shapes = [(hidden, hidden), (hidden,), (hidden,), (hidden,), (vocab_size,), (vocab_size, hidden)]
    all_shapes = shapes | dict(zip(head_names, head_shapes, strict=True))
    for name, tensor in _tensors(source, all_shapes):
        if tensor.dtype.name not in _FLOATS:
            raise InputError(f"{source}: {name} is {tensor.dtype.name}; a quantized checkpoint cannot be converted")
        if tensor.shape != all_shapes[name]:
            raise InputError(
                f"{source}: {name} has the shape {list(tensor.shape)}, expected {list(all_shapes[name])} (config.json)"
            )
        weights[name] = np.asarray(tensor, np.float32)
        if not np.isfinite(weights[name]).all():
            raise InputError(f"{source}: {name} has NaN or infinite values; use another checkpoint")
    optional = set() if any(n.startswith("pooler.") for n in weights) else {"pooler.dense.weight", "pooler.dense.bias"}
    missing = [name for name in shapes if name not in weights and name not in optional]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"{source}: {missing[0]}{more} not found; the weights do not match config.json")
    head = {
        part: weights.pop(name) for part, name in _HEAD_WEIGHTS[architecture["model_type"]].items() if name in weights
    }
    word_embeddings = weights["embeddings.word_embeddings.weight"]
    if head and not np.array_equal(head.pop("decoder", word_embeddings), word_embeddings):
        log(f"{source}: the masked-LM head does not share the word embeddings and is ignored")
        head = {}
    return weights, head if len(head) == len(head_names) - 1 else {}


def _tensors(source: Path, names: Container[str]) -> Tensors:
    if source.name == model_garden.CONFIG:
        return ((name, value) for name, value in model_garden.read_weights(source.parent).items() if name in names)
    if source.suffix == ".h5":
        return _h5_tensors(source, names)
    if source.suffix == ".json":
        return (pair for shard in _shards(source) for pair in _safetensors(shard, names))
    return _safetensors(source, names)


def _shards(index: Path) -> list[Path]:
    files = read_json(index, dict).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise InputError(f"{index}: weight_map not found; download it again")
    shards = [index.parent / str(name) for name in sorted(set(files.values()))]
    for shard in shards:
        if shard.parent != index.parent or not shard.is_file():
            raise InputError(f"{index}: {shard.name} not found in the folder; download every shard")
    return shards


def _safetensors(path: Path, names: Container[str]) -> Tensors:
    import ml_dtypes  # noqa: F401  adds bfloat16 to NumPy
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            for key in file.keys():  # noqa: SIM118  not a dictionary
                if (name := _torch_name(key)) in names:
                    yield name, file.get_tensor(key)
    except (SafetensorError, OSError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a complete safetensors file ({error}); download it again") from None


def _torch_name(key: str) -> str:
    name = re.sub(r"^(bert|distilbert|cls)\.", "", key)
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _h5_tensors(path: Path, names: Container[str]) -> Tensors:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            keys: list[str] = []
            file.visit(keys.append)
            for key in keys:
                name, is_transposed = _torch_name_of_h5(key)
                if name in names and isinstance(dataset := file[key], h5py.Dataset):
                    yield name, dataset[()].T if is_transposed else dataset[()]
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: not a complete HDF5 file ({error}); download it again") from None


def _torch_name_of_h5(key: str) -> tuple[str, bool]:
    """Return the torch name of a tensor saved by TensorFlow, and whether the tensor is transposed.

    "bert/tf_bert_model/bert/encoder/layer_._0/output/dense/kernel:0" is "encoder.layer.0.output.dense.weight",
    transposed.
    """
    parts = key.removesuffix(":0").replace("_._", "/").split("/")
    start = next((index for index, part in enumerate(parts) if part in _H5_PARTS), len(parts) - 1)
    start = next((index for index in reversed(range(len(parts))) if parts[index] in _H5_HEAD), start)
    ending = parts[-1]
    return ".".join([*parts[start:-1], _H5_ENDINGS.get(ending, ending)]), ending == "kernel"
