"""Fixtures for all tests: tiny encoders, language models, runs and exports, shared by all workers."""

import errno
import gc
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from filelock import FileLock

from tfhub_ft.utils.memory import release_memory

MakeOnce = Callable[[str, Callable[[Path], Any]], Path]
# The maximum memory of a worker.
WORKER_MEMORY = 3 * 2**30
INTEGRATION = Path(__file__).parent / "integration"
# KerasHub requires Python 3.11.
collect_ignore_glob = [] if importlib.util.find_spec("keras_hub") else ["*/language_models/test_*.py"]
if "PYTEST_XDIST_WORKER" in os.environ:
    # Other workers use the other cores. TensorFlow reads the variable on first use.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

SPECIALS = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
PUNCTUATION = "0123456789.,!?'\"-:;()/$%&@#*"
WORDS = """
the a an and or but not no yes of in on at to for with from by as is was are were be been it its this that these
those i you he she we they my your his her our their me him us them who what when where why how all any some
many much more most very too so only just also then than now here there up down out over again never always often
good bad great terrible awful excellent wonderful horrible nice poor best worst better worse fine lovely boring dull
funny sad happy fresh old new cold hot warm slow fast rude kind friendly cheap dear clean dirty big small long short
easy hard early late right wrong real fake true false free full empty quiet loud strong weak sweet bitter
film movie story plot actor scene music book page chapter food soup pizza bread meal dinner lunch waiter service table
hotel room bed staff place price money bill phone screen battery camera sound product box game time day night week year
man woman child people friend family city house car train home work team question answer word name
love hate like enjoy want need think know see watch read eat buy pay call send win lose go come make take give find
feel look seem say tell ask try use stop start recommend return wait work break
""".split()  # noqa: SIM905  a list literal would be much longer


def make_checkpoint(
    folder: Path,
    model_type: str = "bert",
    *,
    pooler: bool = True,
    masked_lm: bool = False,
    seed: int = 0,
    **config: Any,
) -> Path:
    """Write a tiny random checkpoint in the format of Hugging Face, and return its folder.

    Args:
        folder: A new folder.
        model_type: "bert" or "distilbert".
        pooler: Whether a BERT has a pooler.
        masked_lm: Whether the checkpoint has a masked-LM head, tied to the word embeddings.
        seed: Seed of the weights.
        **config: Entries of config.json that replace the default ones.
    """
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    vocabulary = list(dict.fromkeys([*SPECIALS, *PUNCTUATION, *LETTERS, *(f"##{c}" for c in LETTERS), "##s", *WORDS]))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    entries = {"model_type": model_type, "vocab_size": len(vocabulary), "max_position_embeddings": 64}
    entries |= {
        "bert": {
            "num_hidden_layers": 2,
            "hidden_size": 32,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "type_vocab_size": 2,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
        },
        "distilbert": {"n_layers": 2, "dim": 32, "n_heads": 2, "hidden_dim": 64, "activation": "gelu"},
    }[model_type]
    entries |= config
    (folder / "config.json").write_text(json.dumps(entries))
    shapes = _bert_shapes(entries, pooler) if model_type == "bert" else _distilbert_shapes(entries)
    shapes |= _head_shapes(model_type, entries) if masked_lm else {}
    save_file(_random_weights(shapes, seed), folder / "model.safetensors")
    return folder


def _dense(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def _bert_shapes(config: dict[str, Any], pooler: bool) -> dict[str, tuple[int, ...]]:
    size, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings.weight": (config["vocab_size"], size),
        "bert.embeddings.position_embeddings.weight": (config["max_position_embeddings"], size),
        "bert.embeddings.token_type_embeddings.weight": (config["type_vocab_size"], size),
        **_norm("bert.embeddings.LayerNorm", size),
    }
    for layer in range(config["num_hidden_layers"]):
        prefix = f"bert.encoder.layer.{layer}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= _dense(f"{prefix}.attention.{name}", size, size)
        shapes |= _norm(f"{prefix}.attention.output.LayerNorm", size)
        shapes |= _dense(f"{prefix}.intermediate.dense", inner, size)
        shapes |= _dense(f"{prefix}.output.dense", size, inner)
        shapes |= _norm(f"{prefix}.output.LayerNorm", size)
    return shapes | (_dense("bert.pooler.dense", size, size) if pooler else {})


def _distilbert_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    size, inner = config["dim"], config["hidden_dim"]
    shapes: dict[str, tuple[int, ...]] = {
        "distilbert.embeddings.word_embeddings.weight": (config["vocab_size"], size),
        "distilbert.embeddings.position_embeddings.weight": (config["max_position_embeddings"], size),
        **_norm("distilbert.embeddings.LayerNorm", size),
    }
    for layer in range(config["n_layers"]):
        prefix = f"distilbert.transformer.layer.{layer}"
        for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
            shapes |= _dense(f"{prefix}.attention.{name}", size, size)
        shapes |= _norm(f"{prefix}.sa_layer_norm", size)
        shapes |= _dense(f"{prefix}.ffn.lin1", inner, size)
        shapes |= _dense(f"{prefix}.ffn.lin2", size, inner)
        shapes |= _norm(f"{prefix}.output_layer_norm", size)
    return shapes


def _head_shapes(model_type: str, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    bias = (config["vocab_size"],)
    if model_type == "bert":
        size, transform = config["hidden_size"], "cls.predictions.transform"
        shapes = {**_dense(f"{transform}.dense", size, size), **_norm(f"{transform}.LayerNorm", size)}
        return {**shapes, "cls.predictions.bias": bias}
    size = config["dim"]
    shapes = {**_dense("vocab_transform", size, size), **_norm("vocab_layer_norm", size)}
    return {**shapes, "vocab_projector.bias": bias}


def _random_weights(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in shapes.items():
        mean = 1.0 if name.endswith(("LayerNorm.weight", "layer_norm.weight")) else 0.0
        weights[name] = (mean + rng.normal(0, 0.1, shape)).astype(np.float32)
    return weights


class ReadOnly:
    """Make folders read-only by patching `os`, also for root."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.folders: list[str] = []
        for module, name in ((os, "mkdir"), (os, "open"), (os, "unlink")):
            monkeypatch.setattr(module, name, self._wrap(getattr(module, name)))

    def __call__(self, folder: Path) -> None:
        self.folders.append(str(folder))

    def _wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            writes = function.__name__ != "open" or arguments[0] & (os.O_WRONLY | os.O_RDWR)
            if writes and str(path).startswith(tuple(self.folders)):
                self.refuse(path)
            return function(path, *arguments, **options)

        return call

    def refuse(self, path: Any, *arguments: Any, **options: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))


@pytest.fixture
def object_store():
    """An empty object store in memory."""
    import fsspec

    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


@pytest.fixture
def general_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset the environment variables that --quiet, --debug and --trust set, and restore them afterwards."""
    for name in ("TFHUB_FT_QUIET", "TFHUB_FT_DEBUG", "TFHUB_FT_TRUST"):
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> ReadOnly:
    """A function that makes a folder read-only."""
    return ReadOnly(monkeypatch)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the number of workers: one more than cores, as tests wait for processes, if they fit into the memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores + 1, psutil.virtual_memory().available // WORKER_MEMORY))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests in tests/integration."""
    for item in items:
        if INTEGRATION in item.path.parents:
            item.add_marker("integration")


def pytest_collection_finish() -> None:
    """Exclude the objects of imports from later garbage collections."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def cleared_state() -> Iterator[None]:
    """Clear Keras' global state after each module and release memory."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session(free_memory=False)
        release_memory()


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """A function that fills a named folder once per session, for all workers."""
    folder = tmp_path_factory.getbasetemp()
    shared = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "shared"
    shared.mkdir(exist_ok=True)

    def make(name: str, fill: Callable[[Path], Any]) -> Path:
        finished = shared / f"{name}.finished"
        with FileLock(shared / f"{name}.lock"):
            if not finished.exists():
                shutil.rmtree(shared / name, ignore_errors=True)
                (shared / name).mkdir()
                fill(shared / name)
                finished.touch()
        return shared / name

    return make


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess]:
    """A function that runs the command line in `tmp_path`, in this process."""
    from tfhub_ft.cli.main import main

    def call(*arguments: Any, cwd: Path = tmp_path) -> subprocess.CompletedProcess:
        monkeypatch.chdir(cwd)
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        monkeypatch.setattr(sys, "argv", ["tfhub-ft", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        output = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, done.value.code, output.out, output.err)

    return call


@pytest.fixture(scope="session", autouse=True)
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A separate configuration folder, and an environment without --trust."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("configuration")
        patch.setenv("TFHUB_FT_CONFIG", str(folder))
        patch.delenv("TFHUB_FT_TRUST", raising=False)
        yield folder


@pytest.fixture(scope="session")
def checkpoint_maker() -> Callable[..., Path]:
    """`make_checkpoint`, for tests of other tiny checkpoints."""
    return make_checkpoint


@pytest.fixture(scope="session")
def tiny_checkpoint(make_once: MakeOnce) -> Path:
    """A tiny random BERT (2 layers, hidden 32, 64 positions) as a Hugging Face checkpoint folder; do not change it."""
    return make_once("checkpoint", lambda folder: make_checkpoint(folder / "tiny-bert")) / "tiny-bert"


@pytest.fixture(scope="session")
def tiny_pair(tiny_checkpoint: Path, make_once: MakeOnce) -> Path:
    """The folder of `tiny_checkpoint`'s TF Hub SavedModels, `encoder` and `preprocessor`; do not change it."""
    from tfhub_ft.encoders.convert import convert_checkpoint

    return make_once("pair", lambda folder: convert_checkpoint(tiny_checkpoint, folder / "tiny")) / "tiny"


GOOD = ("good", "great", "excellent", "wonderful", "lovely", "nice")
BAD = ("bad", "terrible", "awful", "horrible", "boring", "dull")
THINGS = ("film", "movie", "food", "hotel", "room", "service", "book", "phone", "music", "story")


def make_reviews(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Return short distinct reviews with labels, half of them positive, in the vocabulary of the tiny checkpoint."""
    rng = np.random.default_rng(seed)
    reviews: dict[str, str] = {}
    while len(reviews) < count:
        positive = len(reviews) % 2 == 0
        words = rng.choice(GOOD if positive else BAD, 2)
        filler = rng.choice(["the", "a", "my", "very", "so", "this", "and", "really", "for"], rng.integers(1, 12))
        text = f"{words[0]} {rng.choice(THINGS)} {' '.join(filler)} {words[1]}"
        reviews.setdefault(text, "positive" if positive else "negative")
    return list(reviews.items())


def write_csv(path: Path, rows: list[tuple[str, str]], header: tuple[str, ...] = ("text", "label")) -> Path:
    """Write rows to a CSV file with a header."""
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([header, *rows])
    return path


@pytest.fixture(scope="session")
def reviews_csv(make_once: MakeOnce) -> Path:
    """160 reviews with labels; do not change it."""
    return make_once("rows", lambda folder: write_csv(folder / "reviews.csv", make_reviews(160))) / "reviews.csv"


@pytest.fixture(scope="session")
def tiny_run(tiny_pair: Path, reviews_csv: Path, make_once: MakeOnce) -> Path:
    """The folder of a finished sentiment run with the tiny encoder; do not change it."""
    import tfhub_ft

    settings = {"data": reviews_csv, "encoder": tiny_pair, **TINY_SETTINGS}
    return make_once("run", lambda folder: tfhub_ft.train("sentiment", output_dir=folder / "tiny", **settings)) / "tiny"


@pytest.fixture(scope="session")
def tiny_export(tiny_run: Path, make_once: MakeOnce) -> Path:
    """The export folder of `tiny_run`, with version 1; do not change it."""
    import tfhub_ft

    return make_once("export", lambda folder: tfhub_ft.export(tiny_run, output_dir=folder / "tiny")) / "tiny"


TINY_SETTINGS = {
    "epochs": 4,
    "learning_rate": 5e-3,
    "batch_size": 8,
    "seq_length": 24,
    "dropout": 0.0,
    "patience": 5,
}


CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHAT_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = """
t|h e|r i|n a|n o|n r|e o|u l|l Ġ|t Ġ|a Ġt|h th|e Ġth|e in|g Ġ|s Ġ|w Ġ|i Ġ|f s|t e|n a|r l|e Ġ|b v|e Ġ|g o|o Ġg|oo
Ġgoo|d u|s us|e Ġ|Ġ 1|2 Ġ|1 2|3 3|4 us|er s|s a|s as|s i|s as|s|i Ġ|y Ġy|ou Ġ|m
""".split()  # noqa: SIM905  a list literal would be much longer


def make_byte_pairs(special: list[str]) -> tuple[dict[str, int], list[str]]:
    """Return a tiny byte-level vocabulary, special tokens first, and its merges."""
    from tokenizers.pre_tokenizers import ByteLevel

    merges = [merge.replace("|", " ") for merge in dict.fromkeys(MERGES) if merge.count("|") == 1]
    tokens = [*special, *sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in merges)]
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}, merges


def make_gguf(
    file: Path,
    *,
    seed: int = 0,
    tied: bool = True,
    fields: dict[str, Any] | None = None,
    tensors: dict[str, np.ndarray | None] | None = None,
    quantized: str | None = None,
) -> Path:
    """Write a tiny random Llama (2 layers, hidden 32, 2 heads, 1 key-value head) as a GGUF file, and return the file.

    Args:
        file: The file.
        seed: Seed of the weights.
        tied: Whether the output is tied to the embeddings.
        fields: Metadata that replaces the default; None removes an entry.
        tensors: Tensors that replace the default ones; None removes a tensor.
        quantized: Quantization of dense layers, such as "Q8_0".
    """
    import gguf

    vocabulary, merges = make_byte_pairs(CHAT_TOKENS)
    metadata = {
        "general.name": "Tiny Llama",
        "llama.block_count": 2,
        "llama.context_length": 256,
        "llama.embedding_length": 32,
        "llama.feed_forward_length": 64,
        "llama.attention.head_count": 2,
        "llama.attention.head_count_kv": 1,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": list(vocabulary),
        "tokenizer.ggml.token_type": [3 if token in CHAT_TOKENS else 1 for token in vocabulary],
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": CHATML,
    } | (fields or {})
    arrays = _llama_tensors(len(vocabulary), tied, np.random.default_rng(seed)) | (tensors or {})
    writer = gguf.GGUFWriter(file, metadata.pop("general.architecture", "llama"))
    adders = {str: writer.add_string, bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32}
    adders[list] = writer.add_array
    for name, value in metadata.items():
        if value is not None:
            adders[type(value)](name, value)
    for name, array in arrays.items():
        if array is not None and quantized and array.ndim == 2:
            kind = gguf.GGMLQuantizationType[quantized]
            writer.add_tensor(name, gguf.quantize(array, kind), raw_dtype=kind)
        elif array is not None:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _llama_tensors(vocabulary: int, tied: bool, random: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {"token_embd": (vocabulary, 32), "output_norm": (32,)} | ({} if tied else {"output": (vocabulary, 32)})
    for layer in range(2):
        shapes |= {f"blk.{layer}.{name}": (32,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {f"blk.{layer}.{name}": (32, 32) for name in ("attn_q", "attn_output")}
        shapes |= {f"blk.{layer}.{name}": (16, 32) for name in ("attn_k", "attn_v")}
        shapes |= {f"blk.{layer}.{name}": (64, 32) for name in ("ffn_gate", "ffn_up")}
        shapes[f"blk.{layer}.ffn_down"] = (32, 64)
    return {
        f"{name}.weight": (len(shape) % 2 + random.normal(0, 0.3, shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def make_speaker(file: Path, *texts: str) -> Path:
    """Write a tiny Llama that generates one reply to every prompt as a GGUF file, and return the file.

    Args:
        file: The file.
        texts: The parts of the reply, without repeated tokens; a special token is a part of its own.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    vocabulary, _ = make_byte_pairs(CHAT_TOKENS)
    tokens_of_texts = [
        [text] if text in CHAT_TOKENS else list(ByteLevel(False, use_regex=False).pre_tokenize_str(text)[0][0])
        for text in texts
    ]
    # The layers add zero: each token depends on the previous one, the first on the end of the template.
    chain = [vocabulary[token] for token in ("Ċ", *(token for tokens in tokens_of_texts for token in tokens))]
    embeddings = np.random.default_rng(0).normal(0, 1, (len(vocabulary), 32)).astype(np.float32)
    output = np.zeros_like(embeddings)
    output[chain[1:]] = embeddings[chain[:-1]]
    zeros = {"attn_output": (32, 32), "ffn_down": (32, 64)}
    tensors = {
        f"blk.{layer}.{name}.weight": np.zeros(shape, np.float32) for layer in range(2) for name, shape in zeros.items()
    }
    tensors |= {"token_embd.weight": embeddings, "output.weight": output, "output_norm.weight": np.ones(32, np.float32)}
    return make_gguf(file, tensors=tensors)


@pytest.fixture(scope="session")
def tiny_gguf(make_once: MakeOnce) -> Path:
    """A tiny random Llama as a GGUF file, with ChatML's tokens and template; do not change it."""
    return make_once("gguf", lambda folder: make_gguf(folder / "tiny.gguf")) / "tiny.gguf"


@pytest.fixture(scope="session")
def tiny_preset(tiny_gguf: Path, make_once: MakeOnce) -> Path:
    """The folder of `tiny_gguf` as a KerasHub preset; do not change it."""
    from tfhub_ft.language_models.gguf_conversion import convert_gguf

    return make_once("preset", lambda folder: convert_gguf(tiny_gguf, folder / "tiny")) / "tiny"


@pytest.fixture(scope="session")
def tiny_gpt2_preset(make_once: MakeOnce) -> Path:
    """The folder of a KerasHub preset of a tiny random GPT-2, without a chat template; do not change it."""
    return make_once("gpt2", lambda folder: _save_gpt2(folder / "tiny-gpt2")) / "tiny-gpt2"


def _save_gpt2(folder: Path) -> None:
    import keras_hub

    vocabulary, merges = make_byte_pairs(["<|endoftext|>"])
    tokenizer = keras_hub.models.GPT2Tokenizer(vocabulary, merges)
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=len(vocabulary),
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=256,
    )
    random = np.random.default_rng(0)
    for weight in backbone.weights:
        weight.assign(random.normal(0, 0.1, weight.shape))
    preprocessor = keras_hub.models.GPT2CausalLMPreprocessor(tokenizer, sequence_length=256)
    keras_hub.models.GPT2CausalLM(backbone, preprocessor).save_to_preset(str(folder))


def _train(folder: Path, recipe: str, rows: list[dict[str, Any]], **settings: Any) -> None:
    """Train the run `run` in a folder on some rows."""
    import tfhub_ft

    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tfhub_ft.train(recipe, data=folder / "rows.jsonl", output_dir=folder / "run", **settings)


@pytest.fixture(scope="session")
def tiny_chat_run(tiny_pair: Path, make_once: MakeOnce) -> Path:
    """The folder of a finished run of the recipe retrieval with the tiny encoder; do not change it."""
    rows = [
        {"prompt": f"a {one} and a {other} please", "reply": f"the {other} with the {one}"}
        for one in THINGS
        for other in THINGS
        if one != other
    ]
    settings = {name: value for name, value in TINY_SETTINGS.items() if name != "dropout"} | {"epochs": 2}
    return (
        make_once("retrieval", lambda folder: _train(folder, "retrieval", rows, encoder=tiny_pair, **settings)) / "run"
    )


@pytest.fixture(scope="session")
def tiny_intent_run(tiny_pair: Path, make_once: MakeOnce) -> Path:
    """The folder of a finished run of the recipe intent (praise, complaint) with the tiny encoder; do not change it."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(160):
        words = rng.choice(GOOD if number % 2 else BAD, 2)
        text = f"{words[0]} {rng.choice(THINGS)} {words[1]} {number}"
        rows.append({"text": text, "label": "praise" if number % 2 else "complaint"})
    settings = {**TINY_SETTINGS, "epochs": 8, "in_scope_accuracy": 1.0}
    return make_once("intent", lambda folder: _train(folder, "intent", rows, encoder=tiny_pair, **settings)) / "run"


@pytest.fixture(scope="session")
def tiny_dialogue_run(make_once: MakeOnce) -> Path:
    """The folder of a finished run of the recipe dialogue that generates "use é" for every prompt; do not change it."""
    from tfhub_ft.language_models.gguf_conversion import convert_gguf

    rows = [{"prompt": f"the {thing}", "reply": "my goose"} for thing in THINGS]

    def fill(folder: Path) -> None:
        convert_gguf(make_speaker(folder / "speaker.gguf", "use é", "<|im_end|>"), folder / "preset")
        settings = {"epochs": 1, "batch_size": 4, "seq_length": 128}
        _train(folder, "dialogue", rows, language_model=folder / "preset", **settings)

    return make_once("dialogue", fill) / "run"
