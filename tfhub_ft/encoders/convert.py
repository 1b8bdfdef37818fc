"""Convert a Hugging Face checkpoint into a TF Hub encoder and its preprocessor."""

import gc
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.encoders.bert_forward import Architecture
from tfhub_ft.encoders.checkpoint import Checkpoint, read_checkpoint
from tfhub_ft.encoders.hub_export import write_encoder, write_preprocessor
from tfhub_ft.encoders.numpy_bert import forward, masked_lm_logits
from tfhub_ft.utils.console import log, progress
from tfhub_ft.utils.devices import pin_to_cpu, tensor_float_32
from tfhub_ft.utils.errors import RunError
from tfhub_ft.utils.files import atomic_write, check_new
from tfhub_ft.utils.saved_graph import load_graph

if TYPE_CHECKING:
    import tensorflow as tf

TOLERANCE = 1e-4
DEFAULT_SEQ_LENGTH = 128

TEXTS = (
    "A good film.",
    "",
    "The soup was cold, the waiter rude and the bill wrong: we will not come back!",
    "Visit https://example.com/offers?id=42 NOW and win $1,000 (terms apply)",
    "Café, naïve, Zürich, 東京 and Ελλάδα in one sentence",
    "He said: 'It's fine', but nobody in the long queue outside believed him; an hour later all had gone home",
    "unbelievably antidisestablishmentarian",
    "3.14159 * 2 = 6.28318",
)


@dataclass(frozen=True)
class ConversionReport:
    """The result of a conversion."""

    model_type: str
    # The SavedModel folders.
    encoder: Path
    preprocessor: Path
    # A description of `pooled_output`.
    pooled: str
    # The largest absolute difference from the checkpoint, by output.
    differences: dict[str, float]
    # The number of texts compared, and the length of the longest in tokens.
    rows: int
    longest: int

    @property
    def max_difference(self) -> float:
        """The largest absolute difference of any output."""
        return max(self.differences.values())


def convert_checkpoint(checkpoint_dir: str | Path, out_dir: str | Path) -> ConversionReport:
    """Convert a BERT or DistilBERT checkpoint into `out_dir/encoder` and `out_dir/preprocessor`.

    Both follow the TF Hub text API, https://www.tensorflow.org/hub/common_saved_model_apis/text, with the names and
    outputs of https://github.com/tensorflow/models/blob/master/official/nlp/tools/export_tfhub_lib.py. Outputs that
    differ from a NumPy forward pass of the checkpoint by more than `TOLERANCE` raise a RunError, and nothing is kept.
    """
    out_dir = Path(out_dir).absolute()
    check_new(out_dir)
    checkpoint = read_checkpoint(checkpoint_dir)
    pooled = _pooled(checkpoint)
    writing = f"Writing a TF Hub encoder from {checkpoint_dir}; pooled_output is {pooled}"
    with atomic_write(out_dir) as new_folder, progress(writing, 2, "steps") as advance:
        new_folder.mkdir()
        write_converted_pair(checkpoint, new_folder)
        # The written objects keep their weights in reference cycles.
        gc.collect()
        advance(1)
        log("Comparing its outputs with the checkpoint's ...")
        report = ConversionReport(
            checkpoint.model_type,
            out_dir / "encoder",
            out_dir / "preprocessor",
            pooled,
            *check_pair(checkpoint, new_folder),
        )
        (new_folder / "README.md").write_text(_readme(checkpoint, report), encoding="utf-8")
    return report


def write_converted_pair(checkpoint: Checkpoint, folder: Path) -> None:
    """Write `folder/encoder` and `folder/preprocessor`."""
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
        dict(_variables(checkpoint)),
        architecture,
        masked_lm={name: value.T for name, value in checkpoint.masked_lm.items()},
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
def check_pair(checkpoint: Checkpoint, folder: Path) -> tuple[dict[str, float], int, int]:
    """Load a written pair and compare its outputs with NumPy; return the report's differences, rows and longest."""
    encoder, preprocessor = (load_graph(folder / name) for name in ("encoder", "preprocessor"))
    differences: dict[str, list[float]] = {}
    rows = longest = 0
    for batch in _batches(checkpoint, preprocessor):
        word_ids, mask, type_ids = (batch[f"input_{part}"].numpy() for part in ("word_ids", "mask", "type_ids"))
        if word_ids.min() < 0 or word_ids.max() >= checkpoint.vocab_size:
            raise RunError(f"{checkpoint.name}: the preprocessor returns token ids outside the vocabulary")
        expected = forward(checkpoint, word_ids, mask, type_ids, dtype=np.float32)
        with tensor_float_32(False):
            outputs = encoder(batch, training=False)
            if checkpoint.masked_lm:
                positions = np.tile(np.arange(4), (len(word_ids), 1)).astype("int32")
                expected["mlm_logits"] = masked_lm_logits(checkpoint, expected["sequence_output"][:, :4])
                outputs = encoder.mlm({**batch, "masked_lm_positions": positions}, training=False)
        for name in expected:
            difference = np.abs(np.asarray(outputs[name]) - np.asarray(expected[name]))
            # Outputs at padding are unused, and can be ill-conditioned.
            is_token = mask[:, :4] if name == "mlm_logits" else mask
            difference = difference if name == "pooled_output" else difference[..., is_token > 0, :]
            differences.setdefault(name, []).append(float(difference.max()))
        rows, longest = rows + len(word_ids), max(longest, int(mask.sum(axis=1).max()))
    largest = {name: float(np.max(by_batch)) for name, by_batch in differences.items()}
    worst, difference = max(largest.items(), key=lambda pair: (math.isnan(pair[1]), pair[1]))
    if not difference <= TOLERANCE:
        raise RunError(
            f"{checkpoint.name}: the converted encoder's {worst} differs from the checkpoint's by {difference:.2g},"
            f" more than {TOLERANCE:g}; nothing was written, please report this checkpoint"
        )
    return largest, rows, longest


def _pooled(checkpoint: Checkpoint) -> str:
    if checkpoint.has_pooler:
        return "the checkpoint's tanh pooler on the first token ([CLS])"
    return "the last hidden state of the first token ([CLS]), as the checkpoint lacks a pooler"


def _readme(checkpoint: Checkpoint, report: ConversionReport) -> str:
    types = (
        f"{checkpoint.type_vocab_size} segments"
        if checkpoint.type_vocab_size
        else "no segments: `input_type_ids` is accepted and ignored"
    )
    masked_lm = (
        "`encoder.mlm` has the masked-LM head: it also takes `masked_lm_positions` and returns `mlm_logits`."
        if checkpoint.masked_lm
        else "No masked-LM head."
    )
    casing = "lower-cases and strips accents" if checkpoint.do_lower_case else "case-sensitive"
    return f"""# {checkpoint.name}

A text encoder and its preprocessor, converted by `tfhub-ft encoders convert` from the Hugging Face checkpoint
`{checkpoint.name}` ({checkpoint.model_type}). They follow the TF Hub text API:
<https://www.tensorflow.org/hub/common_saved_model_apis/text>.

- `encoder/`: {checkpoint.layers} layers, hidden size {checkpoint.hidden_size}, {checkpoint.heads} heads; at most
  {checkpoint.max_positions} tokens; {types}.
- `pooled_output` (and `default`) is {report.pooled}.
- {masked_lm}
- `preprocessor/`: WordPiece, {checkpoint.vocab_size} tokens; {casing}.
- Outputs differ from a NumPy forward pass of the checkpoint by at most {report.max_difference:.1e}, on
  {report.rows} texts of up to {report.longest} tokens.

The license is that of the checkpoint.
"""


def _variables(checkpoint: Checkpoint) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each variable's name in TF Hub's encoders and its value."""
    weights = checkpoint.weights
    yield "word_embeddings/embeddings", weights["embeddings.word_embeddings.weight"]
    yield "position_embedding/embeddings", weights["embeddings.position_embeddings.weight"]
    if checkpoint.type_vocab_size:
        yield "type_embeddings/embeddings", weights["embeddings.token_type_embeddings.weight"]
    yield from _pair("embeddings/layer_norm", checkpoint.pair("embeddings.LayerNorm"))
    heads = (checkpoint.heads, checkpoint.hidden_size // checkpoint.heads)
    for index in range(checkpoint.layers):
        for part, pair in checkpoint.block(index).items():
            for name, value in _pair(f"transformer/layer_{index}/{part}", pair):
                if part in ("self_attention/query", "self_attention/key", "self_attention/value"):
                    value = value.reshape(*value.shape[:-1], *heads)
                elif part == "self_attention/attention_output" and name.endswith("kernel"):
                    value = value.reshape(*heads, -1)
                yield name, value
    if checkpoint.has_pooler:
        yield from _pair("pooler_transform", checkpoint.pair("pooler.dense"))


def _pair(name: str, pair: tuple[np.ndarray, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the variables of a dense layer, or of a layer normalization."""
    weight, bias = pair
    is_dense = weight.ndim == 2
    yield f"{name}/{'kernel' if is_dense else 'gamma'}", weight.T
    yield f"{name}/{'bias' if is_dense else 'beta'}", bias


def _batches(checkpoint: Checkpoint, preprocessor: Any) -> Iterator["dict[str, tf.Tensor]"]:
    """Yield padded and truncated inputs, pairs of segments, and a row that fills every position."""
    import tensorflow as tf

    def packed(*segments: Sequence[str], length: int) -> "dict[str, tf.Tensor]":
        length = min(length, checkpoint.max_positions)
        return preprocessor.bert_pack_inputs(
            [preprocessor.tokenize(tf.constant(texts)) for texts in segments], seq_length=tf.constant(length)
        )

    yield packed(TEXTS, length=32)
    if checkpoint.type_vocab_size != 1:
        yield packed(TEXTS, TEXTS[::-1], length=48)
    yield preprocessor(tf.constant(TEXTS[2:4]))
    yield packed([" ".join(TEXTS * (checkpoint.max_positions // 32 + 1))], length=checkpoint.max_positions)
