"""Convert a Hugging Face checkpoint into a TF Hub encoder and its preprocessor."""

import gc
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfhub_ft.encoders.bert_forward import Architecture
from tfhub_ft.encoders.checkpoint import Checkpoint, read_checkpoint
from tfhub_ft.encoders.hub_export import MASKED_LM, write_encoder, write_preprocessor
from tfhub_ft.encoders.numpy_bert import forward, masked_lm_logits
from tfhub_ft.utils.console import log, progress
from tfhub_ft.utils.devices import pin_to_cpu, tensor_float_32
from tfhub_ft.utils.errors import RunError
from tfhub_ft.utils.files import atomic_write, check_new
from tfhub_ft.utils.saved_graph import load_graph

TOLERANCE = 1e-4
DEFAULT_SEQ_LENGTH = 128

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
        differences: the largest absolute difference from the checkpoint, for each output.
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

    A masked-LM head that shares the word embeddings becomes the encoder's `mlm`, which also takes
    `masked_lm_positions` and returns `mlm_logits`.

    The pair is written aside, loaded again and compared with a NumPy forward pass of the checkpoint on texts of several
    lengths; it gets its name only when every output is within `TOLERANCE`.

    Args:
        checkpoint_dir: the checkpoint folder (see `read_checkpoint`).
        out_dir: the folder to make; it must not exist.

    Returns:
        What was made and how exact it is.

    Raises:
        InputError: `out_dir` exists, or the checkpoint is missing, broken or of a kind that is not supported.
        RunError: an output differs from the checkpoint's; nothing is kept.

    Example:
        report = convert_checkpoint("all-MiniLM-L6-v2", "encoders/minilm")
        print(report.encoder, report.max_difference)

    Reference:
        https://www.tensorflow.org/hub/common_saved_model_apis/text#transformer-encoders; names and outputs are those of
        https://github.com/tensorflow/models/blob/master/official/nlp/tools/export_tfhub_lib.py
    """
    start = time.monotonic()
    out_dir = Path(out_dir).absolute()
    check_new(out_dir)
    checkpoint = read_checkpoint(checkpoint_dir)
    pooled = _pooled(checkpoint)
    writing = f"Writing a TF Hub encoder from {checkpoint_dir}; pooled_output is {pooled}"
    with atomic_write(out_dir) as aside, progress(writing, 2, "steps") as advance:
        aside.mkdir()
        write_converted_pair(checkpoint, aside)
        # What was written has its weights still, in cycles of references.
        gc.collect()
        advance(1)
        log("Comparing its outputs with the checkpoint's ...")
        checked = check_pair(checkpoint, aside)
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


def write_converted_pair(checkpoint: Checkpoint, folder: Path) -> None:
    """Write `folder/encoder` and `folder/preprocessor`.

    Args:
        checkpoint: the encoder.
        folder: an existing folder.
    """
    architecture = Architecture(
        layers=checkpoint.layers,
        shared=False,
        heads=checkpoint.heads,
        activation=checkpoint.activation,
        epsilon=checkpoint.layer_norm_eps,
        dropout=checkpoint.dropout,
        attention_dropout=checkpoint.attention_dropout,
    )
    write_encoder(
        folder / "encoder",
        dict(_values(checkpoint)),
        architecture,
        masked_lm=_masked_lm(checkpoint),
        vocabulary=checkpoint.vocabulary,
        do_lower_case=checkpoint.do_lower_case,
    )
    write_preprocessor(
        folder / "preprocessor",
        checkpoint.vocabulary,
        do_lower_case=checkpoint.do_lower_case,
        seq_length=min(DEFAULT_SEQ_LENGTH, checkpoint.max_positions),
    )


@pin_to_cpu
def check_pair(checkpoint: Checkpoint, folder: Path) -> dict[str, Any]:
    """Load a pair from disk and compare its outputs with those of the checkpoint in NumPy.

    Args:
        checkpoint: the encoder.
        folder: holds `encoder` and `preprocessor`.

    Returns:
        {"differences": {output: largest absolute difference}, "rows": compared, "longest": their longest, in tokens}.

    Raises:
        RunError: an output differs by more than `TOLERANCE`.
    """
    encoder, preprocessor = (load_graph(folder / name) for name in ("encoder", "preprocessor"))
    differences: dict[str, list[float]] = {}
    rows = longest = 0
    for batch in _batches(checkpoint, preprocessor):
        word_ids, mask, type_ids = (batch[f"input_{part}"].numpy() for part in ("word_ids", "mask", "type_ids"))
        if word_ids.min() < 0 or word_ids.max() >= checkpoint.vocab_size:
            raise RunError(f"{checkpoint.name}: the preprocessor makes token ids outside the vocabulary")
        expected = forward(checkpoint, word_ids, mask, type_ids, dtype=np.float32)
        with tensor_float_32(False):
            outputs = encoder(batch, training=False)
            if checkpoint.masked_lm:
                positions = np.tile(np.arange(4), (len(word_ids), 1)).astype("int32")
                expected["mlm_logits"] = masked_lm_logits(checkpoint, expected["sequence_output"][:, :4])
                outputs = encoder.mlm({**batch, "masked_lm_positions": positions}, training=False)
        for name in expected:
            difference = np.abs(np.asarray(outputs[name]) - np.asarray(expected[name]))
            # Nothing attends to padding, whose outputs can be so ill-conditioned that rounding alone shows.
            here = mask[:, :4] if name == "mlm_logits" else mask
            difference = difference if name == "pooled_output" else difference[..., here > 0, :]
            differences.setdefault(name, []).append(float(difference.max()))
        rows, longest = rows + len(word_ids), max(longest, int(mask.sum(axis=1).max()))
    largest = {name: float(np.max(found)) for name, found in differences.items()}
    worst, difference = max(largest.items(), key=lambda pair: (math.isnan(pair[1]), pair[1]))
    if not difference <= TOLERANCE:
        raise RunError(
            f"{checkpoint.name}: the converted encoder's {worst} differs from the checkpoint's by {difference:.2g},"
            f" more than {TOLERANCE:g}; nothing was kept, please report this checkpoint"
        )
    return {"differences": largest, "rows": rows, "longest": longest}


def _pooled(checkpoint: Checkpoint) -> str:
    if checkpoint.has_pooler:
        return "the checkpoint's tanh pooler on the first token ([CLS])"
    return "the last hidden state of the first token ([CLS]), as the checkpoint has no pooler"


def _readme(checkpoint: Checkpoint, pooled: str, checked: dict[str, Any]) -> str:
    types = (
        f"{checkpoint.type_vocab_size} segments"
        if checkpoint.type_vocab_size
        else "no segments: `input_type_ids` is taken and has no effect"
    )
    masked_lm = (
        "no masked-LM head."
        if not checkpoint.masked_lm
        else ("`encoder.mlm` has the masked-LM head: it also takes `masked_lm_positions` and returns `mlm_logits`.")
    )
    casing = "lower-cases and strips accents" if checkpoint.do_lower_case else "keeps upper and lower case"
    return f"""# {checkpoint.name}

A text encoder and its preprocessor, converted by `tfhub-ft encoders convert` from the Hugging Face checkpoint
`{checkpoint.name}` ({checkpoint.model_type}). They follow the TF Hub text API:
<https://www.tensorflow.org/hub/common_saved_model_apis/text>.

- `encoder/`: {checkpoint.layers} layers, hidden size {checkpoint.hidden_size}, {checkpoint.heads} heads; at most
  {checkpoint.max_positions} tokens; {types}.
- `pooled_output` (and `default`) is {pooled}.
- {masked_lm}
- `preprocessor/`: WordPiece, {checkpoint.vocab_size} tokens; {casing}.
- Compared with a NumPy forward pass of the checkpoint on {checked["rows"]} texts of up to {checked["longest"]} tokens,
  no output differs by more than {max(checked["differences"].values()):.1e}.

The license is that of the checkpoint.
"""


def _values(checkpoint: Checkpoint) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each variable's name in TF Hub's encoders and its value."""
    weights, hidden, heads = checkpoint.weights, checkpoint.hidden_size, checkpoint.heads
    yield "word_embeddings/embeddings", weights["embeddings.word_embeddings.weight"]
    yield "position_embedding/embeddings", weights["embeddings.position_embeddings.weight"]
    if checkpoint.type_vocab_size:
        yield "type_embeddings/embeddings", weights["embeddings.token_type_embeddings.weight"]
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


def _masked_lm(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    head = checkpoint.masked_lm
    if not head:
        return {}
    parts = (head["dense.weight"].T, head["dense.bias"], head["norm.weight"], head["norm.bias"], head["bias"])
    return dict(zip(MASKED_LM, parts, strict=True))


def _dense(name: str, pair: tuple[np.ndarray, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{name}/kernel", pair[0].T
    yield f"{name}/bias", pair[1]


def _norm(name: str, pair: tuple[np.ndarray, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{name}/gamma", pair[0]
    yield f"{name}/beta", pair[1]


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
