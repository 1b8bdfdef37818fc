"""A smaller encoder cut out of a trained one: some of its layers, the words of a domain."""

import dataclasses
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.console import say
from tfhub_ft.encoders.checkpoint import Checkpoint, expected_shapes, write_checkpoint
from tfhub_ft.encoders.recognition import EPSILONS
from tfhub_ft.encoders.reference import ACTIVATIONS, forward
from tfhub_ft.errors import InputError, WorkError
from tfhub_ft.files import written_aside

if TYPE_CHECKING:
    from tfhub_ft.encoders.encoder_layer import HubEncoder
    from tfhub_ft.encoders.preprocessor_layer import HubPreprocessor

TOLERANCE = 1e-3
DROPOUT = 0.1

TEXTS = (
    "A good film.",
    "The soup was cold, the waiter rude and the bill wrong: we shall not come back!",
    "Visit https://example.com/offers?id=42 NOW and win $1,000 (terms apply)",
    "Café, naïve, Zürich, 東京 and Ελλάδα in one sentence",
)

# The parts of tf-models' BertEncoder, which TF Hub's BERTs are exported from, and Hugging Face's names of them.
_PARTS = {
    "word_embeddings": "embeddings.word_embeddings",
    "position_embedding": "embeddings.position_embeddings",
    "type_embeddings": "embeddings.token_type_embeddings",
    "embeddings/layer_norm": "embeddings.LayerNorm",
    "pooler_transform": "pooler.dense",
    "self_attention/query": "attention.self.query",
    "self_attention/key": "attention.self.key",
    "self_attention/value": "attention.self.value",
    "self_attention/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_layer_norm": "output.LayerNorm",
}
_ENDINGS = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}
_NAME = re.compile(rf"(?:^|/)(?:transformer/layer_(\d+)/)?({'|'.join(_PARTS)})/({'|'.join(_ENDINGS)})$")


def cut_encoder(
    encoder: "HubEncoder",
    preprocessor: "HubPreprocessor",
    folder: Path,
    *,
    layers: Sequence[int] | None = None,
    vocabulary: Sequence[str] | None = None,
    seq_length: int | None = None,
) -> float:
    """Write a TF Hub encoder and its preprocessor that have only some of an encoder's layers, words and positions.

    The encoder is read back as a checkpoint, with the weights that it has now, and must compute what this checkpoint
    computes in NumPy; then the checkpoint is cut, converted and compared with the NumPy computation once more. What a
    SavedModel does not say in numbers (its activation, the epsilon of its norms) is what fits the answers best. Its
    dropout is taken to be BERT's, 0.1.

    Args:
        encoder: a BERT by tf-models' names, as TF Hub's are and as `tfhub-ft encoders convert` makes them.
        preprocessor: its preprocessing layer, WordPiece.
        folder: where to write `encoder` and `preprocessor`; it must not exist.
        layers: the layers to keep, from 0, ascending; all when not given.
        vocabulary: the tokens to keep, in their order; all when not given.
        seq_length: the most tokens of a row that it shall read; as many as the encoder when not given.

    Returns:
        The largest difference between the encoder's answers and those of the checkpoint that was read back.

    Raises:
        InputError: the encoder is of another family.
        WorkError: the cut encoder or its preprocessor does not answer as it should; nothing is left behind.

    Example:
        cut_encoder(encoder, preprocessor, Path("smaller"), layers=evenly_spread(4, 6))
    """
    from tfhub_ft.encoders.conversion import build_pair, check_pair

    words = preprocessor.vocabulary
    kept = words if vocabulary is None else list(vocabulary)
    with tempfile.TemporaryDirectory(prefix="tfhub_ft-") as scratch, written_aside(folder) as aside:
        checkpoint, difference = read_back(encoder, preprocessor, words)
        vocab_file = Path(scratch) / "vocab.txt"
        vocab_file.write_text("\n".join(kept) + "\n", encoding="utf-8", newline="")
        checkpoint = dataclasses.replace(checkpoint, vocab_file=vocab_file)
        row = {word: number for number, word in enumerate(words)}
        layers = range(checkpoint.layers) if layers is None else layers
        cut = _cut(checkpoint, layers, [row[word] for word in kept], seq_length or checkpoint.max_positions)
        source = Path(scratch) / folder.name
        write_checkpoint(cut, source)
        say(f"Building an encoder of {cut.layers} layers and {cut.vocab_size:,} words ...")
        build_pair(source, aside)
        check_pair(source, aside)
        _check_tokens(preprocessor, aside, words, kept)
    return difference


def evenly_spread(count: int, layers: int) -> list[int]:
    """Which layers a student of `count` layers takes from a teacher of `layers`.

    Counted from 1, its layer i is the teacher's layer `i * layers // count`: every k-th one where `layers` is k times
    `count`, and the last one always.

    Args:
        count: the student's layers, from 1 to `layers`.
        layers: the teacher's layers.

    Returns:
        The teacher's layers, counted from 0, ascending.

    Example:
        evenly_spread(3, 6)  # [1, 3, 5]

    Reference:
        Sun et al. 2019 (PKD-Skip), https://arxiv.org/abs/1908.09355; Sanh et al. 2019, https://arxiv.org/abs/1910.01108
    """
    return [i * layers // count - 1 for i in range(1, count + 1)]


def read_back(encoder: "HubEncoder", preprocessor: "HubPreprocessor", words: Sequence[str]) -> tuple[Checkpoint, float]:
    """An encoder, with the weights that it has now, as the checkpoint that computes the same.

    Args:
        encoder: a BERT by tf-models' names.
        preprocessor: its preprocessing layer, WordPiece.
        words: the preprocessor's vocabulary.

    Returns:
        The checkpoint, but for its `vocab_file`, and the largest difference between its answers and the encoder's.

    Raises:
        InputError: the encoder is of another family.

    Example:
        checkpoint, _ = read_back(encoder, preprocessor, preprocessor.vocabulary)
    """
    architecture, weights = _architecture_and_weights(encoder)
    if architecture["vocab_size"] != len(words):
        raise _foreign(encoder, f"it has {architecture['vocab_size']:,} word embeddings for {len(words):,} tokens")
    batches = list(_answers(encoder, preprocessor))
    candidates = [
        Checkpoint(
            **architecture,
            activation=activation,
            layer_norm_eps=epsilon,
            do_lower_case=preprocessor.is_uncased,
            vocab_file=Path(),
            weights=weights,
        )
        for activation in ACTIVATIONS
        for epsilon in EPSILONS
    ]
    differences = [_difference(candidate, batches) for candidate in candidates]
    best = int(np.argmin(np.nan_to_num(differences, nan=np.inf)))
    if not differences[best] <= TOLERANCE:
        raise _foreign(encoder, f"its answers differ by {differences[best]:.2g} from what a BERT of its weights gives")
    return candidates[best], differences[best]


def _architecture_and_weights(encoder: "HubEncoder") -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    values: dict[str, np.ndarray] = {}
    for name, value in encoder.values.items():
        if found := _NAME.search(name):
            layer, part, ending = found.groups()
            block = f"encoder.layer.{layer}." if layer else ""
            values[f"{block}{_PARTS[part]}.{_ENDINGS[ending]}"] = value
    try:
        heads = values["encoder.layer.0.attention.self.query.weight"].shape[1]
        vocab_size, hidden = values["embeddings.word_embeddings.weight"].shape
        architecture = {
            "name": encoder.encoder,
            "model_type": "bert",
            "layers": sum(name.endswith("attention.self.query.weight") for name in values),
            "hidden_size": hidden,
            "heads": heads,
            "intermediate_size": values["encoder.layer.0.intermediate.dense.weight"].shape[1],
            "vocab_size": vocab_size,
            "max_positions": len(values["embeddings.position_embeddings.weight"]),
            "type_vocab_size": len(values["embeddings.token_type_embeddings.weight"]),
            "dropout": DROPOUT,
            "attention_dropout": DROPOUT,
        }
        shapes = expected_shapes(architecture)
        if "pooler.dense.weight" not in values:
            shapes = {name: shape for name, shape in shapes.items() if not name.startswith("pooler.")}
        weights = {name: _of_shape(name, values[name], shape) for name, shape in shapes.items()}
    except (KeyError, ValueError, IndexError):
        raise _foreign(encoder, "its weights are not named and shaped as those of TF Hub's BERTs") from None
    return architecture, weights


def _of_shape(name: str, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A weight as Hugging Face has it: a dense layer's is [out, in], and its heads are not apart."""
    is_dense = len(shape) == 2 and not name.endswith("_embeddings.weight")
    return value.reshape(shape[::-1]).T if is_dense else value.reshape(shape)


def _foreign(encoder: "HubEncoder", why: str) -> InputError:
    return InputError(
        f"the encoder {encoder.encoder} cannot be cut: {why}; take another --student, and --vocabulary all"
    )


def _answers(encoder: "HubEncoder", preprocessor: "HubPreprocessor") -> Iterator[tuple[dict, dict]]:
    """Batches of tokens, of one segment and of two, and what the encoder answers."""
    import tensorflow as tf

    texts = tf.constant(TEXTS)
    for segments in (texts, [texts, texts[::-1]]):
        with tf.device("CPU"):  # a GPU may round float32 to TF32
            tokens = {name: ids[:, : encoder.max_seq_length] for name, ids in preprocessor(segments).items()}
            answers = encoder(tokens, training=False)
        yield (
            {name: ids.numpy() for name, ids in tokens.items()},
            {name: answers[name].numpy() for name in ("pooled_output", "sequence_output")},
        )


def _difference(checkpoint: Checkpoint, batches: Sequence[tuple[dict, dict]]) -> float:
    differences = []
    for tokens, answers in batches:
        word_ids, mask, type_ids = (tokens[f"input_{part}"] for part in ("word_ids", "mask", "type_ids"))
        expected = forward(checkpoint, word_ids, mask, type_ids)
        differences.append(np.abs(answers["pooled_output"] - expected["pooled_output"]).max())
        differences.append(np.abs(answers["sequence_output"] - expected["sequence_output"])[mask > 0].max())
    return float(np.max(differences))


def _cut(checkpoint: Checkpoint, layers: Sequence[int], rows: Sequence[int], seq_length: int) -> Checkpoint:
    weights = {}
    for name, value in checkpoint.weights.items():
        block = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)", name)
        if not block:
            weights[name] = value
        elif int(block[1]) in layers:
            weights[f"encoder.layer.{list(layers).index(int(block[1]))}.{block[2]}"] = value
    words, places = "embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"
    weights[words], weights[places] = weights[words][list(rows)], weights[places][:seq_length]
    return dataclasses.replace(
        checkpoint,
        layers=len(layers),
        vocab_size=len(rows),
        max_positions=len(weights[places]),
        weights=weights,
    )


def _check_tokens(preprocessor: "HubPreprocessor", folder: Path, words: Sequence[str], kept: Sequence[str]) -> None:
    """Raise a WorkError where the new preprocessor splits a word otherwise whose tokens were all kept."""
    from tfhub_ft.encoders.saved_module import open_module

    module, _workspace = open_module(folder / "preprocessor", keep_values=True)
    for before, after in zip(_words_of(preprocessor.module, words), _words_of(module, kept), strict=True):
        if before != after and set(before) <= set(kept):
            raise WorkError(f"{folder}: the cut preprocessor splits {before} as {after}; nothing was kept")


def _words_of(module: Any, vocabulary: Sequence[str]) -> list[list[str]]:
    """The words of `TEXTS`, each as a list of its tokens."""
    import tensorflow as tf

    texts = module.tokenize(tf.constant(TEXTS)).to_list()
    return [[vocabulary[number] for number in word] for text in texts for word in text]
