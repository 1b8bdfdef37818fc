"""A Hugging Face checkpoint made into a TF Hub encoder and its preprocessor, by TensorFlow's own exporter.

tf-models-official is built on Keras 2, so the work is done in processes of its own: one builds the pair, a second one
loads it from disk and compares its answers with the checkpoint's.
"""

import importlib.util
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfhub_ft.console import progress, say
from tfhub_ft.encoders.checkpoint import Checkpoint, read_checkpoint
from tfhub_ft.encoders.reference import forward
from tfhub_ft.errors import TfhubFtError, WorkError, kind_and_first_line
from tfhub_ft.files import check_new, temporary_folder, written_aside
from tfhub_ft.memory import collect_seldom
from tfhub_ft.placement import QUIET_AND_ON_CPU
from tfhub_ft.processes import child_environment, module_command

TOLERANCE = 1e-4
DEFAULT_SEQ_LENGTH = 128
OUTPUTS = ("pooled_output", "sequence_output", "encoder_outputs")

TEXTS = (
    "A good film.",
    "",
    "The soup was cold, the waiter rude and the bill wrong: we shall not come back!",
    "Visit https://example.com/offers?id=42 NOW and win $1,000 (terms apply)",
    "Café, naïve, Zürich, 東京 and Ελλάδα in one sentence",
    "He said: 'It's fine', but nobody in the long queue outside believed him; an hour later all had gone home",
    "unbelievably antidisestablishmentarian",
    "3.14159 * 2 = 6.28318",
)


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion made, and how exactly it answers as the checkpoint does.

    Attributes:
        name: the checkpoint folder's name.
        model_type: "bert" or "distilbert".
        encoder: the encoder's SavedModel folder.
        preprocessor: the preprocessor's SavedModel folder.
        pooled: how `pooled_output` is made, a few words.
        differences: the largest absolute difference from the checkpoint, for each of the three outputs.
        rows: the tokenized texts that were compared.
        longest: the longest of them, in tokens.
        seconds: the time that it took.
    """

    name: str
    model_type: str
    encoder: Path
    preprocessor: Path
    pooled: str
    differences: dict[str, float]
    rows: int
    longest: int
    seconds: float

    @property
    def max_difference(self) -> float:
        """The largest absolute difference of any output."""
        return max(self.differences.values())


def convert_checkpoint(checkpoint_dir: str | Path, out_dir: str | Path) -> ConversionReport:
    """Convert a Hugging Face BERT or DistilBERT checkpoint into a TF Hub encoder and preprocessor.

    `out_dir/encoder` and `out_dir/preprocessor` are SavedModels that follow the TF Hub text API; `out_dir/README.md`
    says what they are. BERT's pooled output is its tanh pooler. DistilBERT has none, and a BERT checkpoint may come
    without its own: there `pooled_output` is the last hidden state of the first token ([CLS]), and no weights are made
    up. DistilBERT has no token types either: `input_type_ids` is taken and has no effect.

    The pair is written aside, loaded again in a fresh process and compared with a NumPy forward pass of the checkpoint
    on texts of several lengths; it gets its name only when every output is within `TOLERANCE`. Outputs at padding are
    not compared: nothing attends to them, and they can be so ill-conditioned that float32's rounding alone shows.

    Args:
        checkpoint_dir: the checkpoint folder (see `read_checkpoint`).
        out_dir: the folder to make; it must not exist.

    Returns:
        What was made and how exact it is.

    Raises:
        InputError: `out_dir` exists, or the checkpoint is missing, broken or of a kind that is not supported.
        WorkError: building failed, or the encoder answers otherwise than the checkpoint; nothing is left behind.

    Example:
        report = convert_checkpoint("all-MiniLM-L6-v2", "encoders/minilm")
        print(report.encoder, report.max_difference)

    Reference:
        The exporter is `official.nlp.tools.export_tfhub_lib` of https://github.com/tensorflow/models; the API is
        https://www.tensorflow.org/hub/common_saved_model_apis/text#transformer-encoders
    """
    start = time.monotonic()
    checkpoint_dir, out_dir = Path(checkpoint_dir).absolute(), Path(out_dir).absolute()
    check_new(out_dir)
    checkpoint = read_checkpoint(checkpoint_dir)
    if importlib.util.find_spec("official") is None:
        raise WorkError("converting needs tf-models-official: pip install 'tf-models-official~=2.20.0'")
    pooled = _pooled(checkpoint)
    building = f"Building a TF Hub encoder from {checkpoint_dir}; pooled_output is {pooled}"
    with written_aside(out_dir) as aside, progress(building, 2, "steps") as advance:
        build_pair(checkpoint_dir, aside)
        advance(1)
        say("Comparing its answers with the checkpoint's ...")
        checked = check_pair(checkpoint_dir, aside)
        (aside / "README.md").write_text(_readme(checkpoint, pooled, checked), encoding="utf-8")
    return ConversionReport(
        name=checkpoint.name,
        model_type=checkpoint.model_type,
        encoder=out_dir / "encoder",
        preprocessor=out_dir / "preprocessor",
        pooled=pooled,
        **checked,
        seconds=time.monotonic() - start,
    )


def build_pair(checkpoint_dir: Path, folder: Path) -> None:
    """Build `folder/encoder` and `folder/preprocessor` from a checkpoint, in a process of its own.

    Raises:
        WorkError: building failed.
    """
    _run("build", checkpoint_dir, folder)


def write_preprocessor(folder: Path, vocab_file: Path, *, do_lower_case: bool, seq_length: int) -> None:
    """Build a WordPiece preprocessor of a vocabulary, in a process of its own.

    Args:
        folder: the SavedModel's; it must not exist.
        vocab_file: a token a line.
        do_lower_case: whether it lower-cases and strips accents.
        seq_length: the length of rows where its user does not say one.

    Raises:
        WorkError: building failed.
    """
    _run("preprocessor", vocab_file, folder, str(int(do_lower_case)), str(seq_length))


def check_pair(checkpoint_dir: Path, folder: Path) -> dict[str, Any]:
    """Load a converted pair in a fresh process and hold its answers against the checkpoint's.

    Args:
        checkpoint_dir: the checkpoint folder.
        folder: holds `encoder` and `preprocessor`.

    Returns:
        {"differences": {output: largest absolute difference}, "rows": compared, "longest": their longest, in tokens}.

    Raises:
        WorkError: an output differs by more than `TOLERANCE`, or the pair does not load or answer.
    """
    checked = json.loads(_run("check", checkpoint_dir, folder))
    worst, difference = max(checked["differences"].items(), key=lambda pair: (math.isnan(pair[1]), pair[1]))
    if not difference <= TOLERANCE:
        raise WorkError(
            f"{checkpoint_dir}: the converted encoder's {worst} differs from the checkpoint's by {difference:.2g}, more"
            f" than {TOLERANCE:g}; nothing was kept, please report this checkpoint"
        )
    return checked


def _pooled(checkpoint: Checkpoint) -> str:
    if checkpoint.has_pooler:
        return "the checkpoint's tanh pooler on the first token ([CLS])"
    return "the last hidden state of the first token ([CLS]), as the checkpoint has no pooler"


def _run(step: str, source: Path, folder: Path, *options: str) -> str:
    """Do one step in a fresh process; its last line of output."""
    environment = child_environment(**QUIET_AND_ON_CPU)
    command = module_command("tfhub_ft.encoders.conversion", step, str(source), str(folder), *options)
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no message"]
        reason = f"killed by signal {-done.returncode}, out of memory?" if done.returncode < 0 else said[-1]
        raise WorkError(f"{source}: the {step} of the TF Hub encoder failed: {reason}")
    return (done.stdout.strip().splitlines() or [""])[-1]


def _readme(checkpoint: Checkpoint, pooled: str, checked: dict[str, Any]) -> str:
    types = (
        f"{checkpoint.type_vocab_size} segments"
        if checkpoint.type_vocab_size
        else "no segments: `input_type_ids` is taken and has no effect"
    )
    casing = "lower-cases and strips accents" if checkpoint.do_lower_case else "keeps upper and lower case"
    return f"""# {checkpoint.name}

A text encoder and its preprocessor, converted by `tfhub-ft encoders convert` from the Hugging Face checkpoint
`{checkpoint.name}` ({checkpoint.model_type}). They follow the TF Hub text API:
<https://www.tensorflow.org/hub/common_saved_model_apis/text>.

- `encoder/`: {checkpoint.layers} layers, hidden size {checkpoint.hidden_size}, {checkpoint.heads} heads; at most
  {checkpoint.max_positions} tokens; {types}.
- `pooled_output` (and `default`) is {pooled}.
- `preprocessor/`: WordPiece, {checkpoint.vocab_size} tokens; {casing}.
- Compared with a NumPy forward pass of the checkpoint on {checked["rows"]} texts of up to {checked["longest"]} tokens,
  no output differs by more than {max(checked["differences"].values()):.1e}.

The licence is that of the checkpoint.
"""


def _build(checkpoint: Checkpoint, folder: Path) -> None:
    import tensorflow as tf
    import tf_keras

    network = _network(checkpoint)
    # A dictionary of inputs can be called after loading, a list cannot.
    inputs = {tensor.name: tensor for tensor in network.inputs}
    outputs = dict(network.output)
    if not checkpoint.has_pooler:
        outputs["pooled_output"] = outputs["sequence_output"][:, 0, :]
    encoder = tf_keras.Model(inputs, {**outputs, "default": outputs["pooled_output"]})
    _assign(encoder, dict(_values(checkpoint)))
    with temporary_folder() as scratch:
        vocab_file = Path(scratch) / "vocab.txt"
        vocab_file.write_text("\n".join(checkpoint.vocabulary) + "\n", encoding="utf-8", newline="")
        encoder.vocab_file = tf.saved_model.Asset(str(vocab_file))
        encoder.do_lower_case = tf.Variable(checkpoint.do_lower_case, trainable=False)
        encoder.save(str(folder / "encoder"), include_optimizer=False, save_format="tf")
        seq_length = min(DEFAULT_SEQ_LENGTH, checkpoint.max_positions)
        _build_preprocessor(folder / "preprocessor", vocab_file, checkpoint.do_lower_case, seq_length)


def _build_preprocessor(folder: Path, vocab_file: Path, do_lower_case: bool, seq_length: int) -> None:
    from official.nlp.tools import export_tfhub_lib

    export_tfhub_lib.export_preprocessing(
        str(folder),
        vocab_file=str(vocab_file),
        do_lower_case=do_lower_case,
        # The offsets double the preprocessor's size and the time that it takes to load; so do the assertions, which are
        # TF Text's checks of its own ragged tensors.
        tokenize_with_offsets=False,
        experimental_disable_assert=True,
        default_seq_length=seq_length,
    )


def _network(checkpoint: Checkpoint) -> Any:
    """tf-models' BertEncoder for a checkpoint, with initial weights."""
    import tf_keras
    from official.legacy.bert.configs import BertConfig
    from official.nlp.tools import export_tfhub_lib

    # tf-models' own "gelu" is the tanh approximation.
    activations = {"gelu": _erf_gelu, "gelu_tanh": "gelu", "relu": "relu", "silu": "swish"}
    network = export_tfhub_lib.get_bert_encoder(
        BertConfig(
            vocab_size=checkpoint.vocab_size,
            hidden_size=checkpoint.hidden_size,
            num_hidden_layers=checkpoint.layers,
            num_attention_heads=checkpoint.heads,
            intermediate_size=checkpoint.intermediate_size,
            hidden_act=activations[checkpoint.activation],
            hidden_dropout_prob=checkpoint.dropout,
            attention_probs_dropout_prob=checkpoint.attention_dropout,
            max_position_embeddings=checkpoint.max_positions,
            type_vocab_size=checkpoint.type_vocab_size or 2,
        )
    )
    if not checkpoint.type_vocab_size:
        network.get_layer("type_embeddings").trainable = False
    # BertEncoder sets 1e-12 itself and has no argument for it; the value is read when the model is saved.
    for layer in network.submodules:
        if isinstance(layer, tf_keras.layers.LayerNormalization):
            layer.epsilon = checkpoint.layer_norm_eps
    return network


def _erf_gelu(x: Any) -> Any:
    """GELU by the error function; tf.nn.gelu takes erfc, which is slower and which tf2onnx cannot convert."""
    import tensorflow as tf

    return 0.5 * x * (1.0 + tf.math.erf(x / math.sqrt(2)))


def _values(checkpoint: Checkpoint) -> Iterator[tuple[str, np.ndarray]]:
    """Each variable's value by its name in tf-models' BertEncoder."""
    weights, hidden, heads = checkpoint.weights, checkpoint.hidden_size, checkpoint.heads
    no_types = np.zeros((2, hidden), np.float32)
    yield "word_embeddings/embeddings", weights["embeddings.word_embeddings.weight"]
    yield "position_embedding/embeddings", weights["embeddings.position_embeddings.weight"]
    yield "type_embeddings/embeddings", weights.get("embeddings.token_type_embeddings.weight", no_types)
    yield from _norm("embeddings/layer_norm", checkpoint.pair("embeddings.LayerNorm"))
    for index in range(checkpoint.layers):
        block, name = checkpoint.block(index), f"transformer/layer_{index}"
        for part in ("query", "key", "value"):
            weight, bias = block[part]
            yield f"{name}/self_attention/{part}/kernel", weight.T.reshape(hidden, heads, -1)
            yield f"{name}/self_attention/{part}/bias", bias.reshape(heads, -1)
        weight, bias = block["attention_output"]
        yield f"{name}/self_attention/attention_output/kernel", weight.T.reshape(heads, -1, hidden)
        yield f"{name}/self_attention/attention_output/bias", bias
        yield from _norm(f"{name}/self_attention_layer_norm", block["attention_norm"])
        yield from _dense(f"{name}/intermediate", block["intermediate"])
        yield from _dense(f"{name}/output", block["output"])
        yield from _norm(f"{name}/output_layer_norm", block["output_norm"])
    if checkpoint.has_pooler:
        yield from _dense("pooler_transform", checkpoint.pair("pooler.dense"))


def _dense(name: str, pair: tuple[np.ndarray, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{name}/kernel", pair[0].T
    yield f"{name}/bias", pair[1]


def _norm(name: str, pair: tuple[np.ndarray, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{name}/gamma", pair[0]
    yield f"{name}/beta", pair[1]


def _assign(encoder: Any, values: dict[str, np.ndarray]) -> None:
    variables = {variable.name.removesuffix(":0"): variable for variable in encoder.variables}
    if odd := variables.keys() ^ values.keys():
        raise WorkError(f"tf-models-official's BertEncoder has other variables than expected: {min(odd)}")
    for name, variable in variables.items():
        variable.assign(values[name])


def _check(checkpoint: Checkpoint, folder: Path) -> dict[str, Any]:
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers the preprocessor's operations

    encoder = tf.saved_model.load(str(folder / "encoder"))
    preprocessor = tf.saved_model.load(str(folder / "preprocessor"))
    differences: dict[str, list[float]] = {name: [] for name in OUTPUTS}
    rows = longest = 0
    for batch in _batches(checkpoint, preprocessor):
        word_ids, mask, type_ids = (batch[f"input_{part}"].numpy() for part in ("word_ids", "mask", "type_ids"))
        if word_ids.min() < 0 or word_ids.max() >= checkpoint.vocab_size:
            raise WorkError("the preprocessor makes token ids that lie outside the vocabulary")
        expected = forward(checkpoint, word_ids, mask, type_ids)
        answers = encoder(batch, training=False)
        for name in OUTPUTS:
            difference = np.abs(np.asarray(answers[name]) - np.asarray(expected[name]))
            differences[name].append(
                float((difference if name == "pooled_output" else difference[..., mask > 0, :]).max())
            )
        rows, longest = rows + len(word_ids), max(longest, int(mask.sum(axis=1).max()))
    return {"differences": {n: float(np.max(d)) for n, d in differences.items()}, "rows": rows, "longest": longest}


def _batches(checkpoint: Checkpoint, preprocessor: Any) -> Iterator[dict[str, Any]]:
    """Encoder inputs of several lengths: padded, cut, of two segments, and one that fills every position."""
    import tensorflow as tf

    def packed(*segments: Any, length: int) -> dict[str, Any]:
        length = min(length, checkpoint.max_positions)
        return preprocessor.bert_pack_inputs(
            [preprocessor.tokenize(tf.constant(texts)) for texts in segments], seq_length=tf.constant(length)
        )

    yield packed(TEXTS, length=32)
    if checkpoint.type_vocab_size != 1:
        yield packed(TEXTS, TEXTS[::-1], length=48)
    yield preprocessor(tf.constant(TEXTS[2:4]))
    yield packed([" ".join(TEXTS * (checkpoint.max_positions // 32 + 1))], length=checkpoint.max_positions)


def _main(step: str, source: str, folder: str, *options: str) -> int:
    try:
        if step == "preprocessor":
            do_lower_case, seq_length = map(int, options)
            _build_preprocessor(Path(folder), Path(source), bool(do_lower_case), seq_length)
        elif step == "build":
            _build(read_checkpoint(source), Path(folder))
        else:
            print(json.dumps(_check(read_checkpoint(source), Path(folder))))
    except TfhubFtError as error:
        print(error, file=sys.stderr)
        return 1
    except Exception as error:  # noqa: BLE001  whatever it is, the parent passes it on
        print(kind_and_first_line(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    collect_seldom()
    sys.exit(_main(*sys.argv[1:]))
