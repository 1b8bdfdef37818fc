"""A smaller encoder cut out of a trained one: some of its layers, the words of a domain."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.encoders.architecture_detection import UnknownFamily
from tfhub_ft.encoders.bert_forward import Architecture, role_of
from tfhub_ft.encoders.freezing import depth_of
from tfhub_ft.encoders.hub_export import write_encoder, write_preprocessor
from tfhub_ft.utils.console import log
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import atomic_write

if TYPE_CHECKING:
    import numpy as np

    from tfhub_ft.encoders.hub_encoder import HubEncoder
    from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor

TEXTS = (
    "A good film.",
    "The soup was cold, the waiter rude and the bill wrong: we shall not come back!",
    "Visit https://example.com/offers?id=42 NOW and win $1,000 (terms apply)",
    "Café, naïve, Zürich, 東京 and Ελλάδα in one sentence",
)


def cut_encoder(
    encoder: "HubEncoder",
    preprocessor: "HubPreprocessor",
    folder: Path,
    *,
    layers: Sequence[int] | None = None,
    vocabulary: Sequence[str] | None = None,
    seq_length: int | None = None,
) -> None:
    """Write a TF Hub encoder and its preprocessor that have only some of an encoder's layers, words and positions.

    Args:
        encoder: of a family that is computed natively, with the weights that it has now.
        preprocessor: its preprocessing layer, WordPiece where words are left out.
        folder: where to write `encoder` and `preprocessor`; it must not exist.
        layers: the layers to keep, from 0, ascending; all when not given.
        vocabulary: the tokens to keep, in their order; all when not given.
        seq_length: the most tokens of a row that it shall read; as many as the encoder when not given.

    Raises:
        InputError: the encoder is of another family.
        RunError: the cut preprocessor does not split words as it should; nothing is kept.

    Example:
        cut_encoder(encoder, preprocessor, Path("smaller"), layers=evenly_spread(4, 6))
    """
    architecture = architecture_of(encoder)
    layers = list(range(architecture.layers) if layers is None else layers)
    words = preprocessor.vocabulary if vocabulary else []
    place = {word: number for number, word in enumerate(words)}
    rows = [place[word] for word in vocabulary] if vocabulary else None
    values = _cut(encoder.values, layers, rows, seq_length, shared=architecture.shared)
    with atomic_write(folder) as aside:
        log(f"Cutting an encoder of {len(layers)} layers" + (f" and {len(rows):,} words" if rows else ""))
        write_encoder(aside / "encoder", values, dataclasses.replace(architecture, layers=len(layers)))
        if vocabulary:
            _write_preprocessor(aside, preprocessor, vocabulary, values)
            _check_tokens(preprocessor, aside, words, vocabulary)
        else:
            preprocessor.write_module(aside / "preprocessor")


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


def architecture_of(encoder: "HubEncoder") -> Architecture:
    """What an encoder is besides its weights.

    Raises:
        InputError: it is of no family that is computed natively.
    """
    try:
        return encoder.backend.architecture
    except UnknownFamily as error:
        raise InputError(
            f"the encoder {encoder.encoder} cannot be cut, as it is no BERT, ELECTRA or ALBERT as TF Hub has them:"
            f" {error.reason}; take another --student, and --vocabulary all"
        ) from None


def _cut(
    values: dict[str, "np.ndarray"], layers: list[int], rows: list[int] | None, seq_length: int | None, *, shared: bool
) -> dict[str, "np.ndarray"]:
    cut = {}
    for name, value in values.items():
        role, depth = role_of(name), None if shared else depth_of(name)
        if role is None or (depth is not None and depth not in layers):
            continue
        if role == "word_embeddings/embeddings" and rows is not None:
            value = value[rows]
        if role == "position_embedding/embeddings":
            value = value[:seq_length]
        if depth is not None:
            name = name.replace(f"layer_{depth}/", f"layer_{layers.index(depth)}/")
        cut[name] = value
    return cut


def _write_preprocessor(
    folder: Path, preprocessor: "HubPreprocessor", vocabulary: Sequence[str], values: dict[str, "np.ndarray"]
) -> None:
    from tfhub_ft.encoders.convert import DEFAULT_SEQ_LENGTH

    positions = next(len(value) for name, value in values.items() if "position_embedding" in name)
    write_preprocessor(
        folder / "preprocessor",
        vocabulary,
        do_lower_case=preprocessor.is_uncased,
        seq_length=min(DEFAULT_SEQ_LENGTH, positions),
    )


def _check_tokens(preprocessor: "HubPreprocessor", folder: Path, words: Sequence[str], kept: Sequence[str]) -> None:
    """Raise a RunError where the new preprocessor splits a word otherwise whose tokens were all kept."""
    from tfhub_ft.encoders.saved_module import open_module

    module, _workspace = open_module(folder / "preprocessor", keep_values=True)
    for before, after in zip(_words_of(preprocessor.module, words), _words_of(module, kept), strict=True):
        if before != after and set(before) <= set(kept):
            raise RunError(f"{folder}: the cut preprocessor splits {before} as {after}; nothing was kept")


def _words_of(module: Any, vocabulary: Sequence[str]) -> list[list[str]]:
    """The words of `TEXTS`, each as a list of its tokens."""
    import tensorflow as tf

    texts = module.tokenize(tf.constant(TEXTS)).to_list()
    return [[vocabulary[number] for number in word] for text in texts for word in text]
