"""Prune the layers and the vocabulary of a trained encoder."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.encoders.architecture_detection import UnknownFamily
from tfhub_ft.encoders.bert_forward import Architecture, role_of
from tfhub_ft.encoders.freezing import depth_of
from tfhub_ft.encoders.hub_encoder import encoder_of
from tfhub_ft.encoders.hub_export import write_encoder, write_preprocessor
from tfhub_ft.utils.console import log
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import atomic_write

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tfhub_ft.encoders.hub_encoder import HubEncoder
    from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor

TEXTS = (
    "A good film.",
    "The soup was cold, the waiter rude and the bill wrong: we will not come back!",
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
    """Write an encoder and its preprocessor with the given layers (ascending), tokens and positions only.

    Without `layers`, `vocabulary` or `seq_length`, all are kept. The encoder needs a native backend, and its
    preprocessor a WordPiece vocabulary if `vocabulary` is given. The folder, which must not exist, gets `encoder` and
    `preprocessor`.
    """
    architecture = architecture_of(encoder)
    layers = list(range(architecture.layers) if layers is None else layers)
    rows = None
    if vocabulary:
        ids = {token: number for number, token in enumerate(preprocessor.vocabulary)}
        rows = [ids[token] for token in vocabulary]
    values = _cut(encoder.values, layers, rows, seq_length, shared=architecture.shared)
    with atomic_write(folder) as aside:
        log(f"Writing an encoder with {len(layers)} layers" + (f" and {len(rows):,} tokens" if rows else ""))
        write_encoder(aside / "encoder", values, dataclasses.replace(architecture, layers=len(layers)))
        if vocabulary:
            _write_preprocessor(aside / "preprocessor", preprocessor, vocabulary, values)
        else:
            preprocessor.write_module(aside / "preprocessor")


def evenly_spread(count: int, layers: int) -> list[int]:
    """Return the teacher's layers that a student starts from, such as [1, 3, 5] for 3 of 6.

    Counted from 1, layer i of the student is the teacher's layer `i * layers // count`; the last layer is always kept.

    Reference:
        Sun et al. 2019 (PKD-Skip), https://arxiv.org/abs/1908.09355; Sanh et al. 2019, https://arxiv.org/abs/1910.01108
    """
    return [i * layers // count - 1 for i in range(1, count + 1)]


def architecture_of(encoder: "HubEncoder") -> Architecture:
    """Return the architecture of an encoder, or raise an InputError where its family lacks a native backend."""
    try:
        return encoder.backend.architecture
    except UnknownFamily as error:
        raise InputError(
            f"the encoder {encoder.encoder} cannot be pruned: not a BERT, ELECTRA or ALBERT of TF Hub ({error.reason});"
            " choose another --student and --vocabulary all"
        ) from None


def copy_head(source: "keras.Model", target: "keras.Model") -> None:
    """Copy all weights but those of the encoder to a network whose encoder has the same hidden size."""

    def head_weights(network: "keras.Model") -> list["keras.Variable"]:
        encoder_variables = {id(variable) for variable in encoder_of(network).variables}
        return [variable for variable in network.weights if id(variable) not in encoder_variables]

    for weight, value in zip(head_weights(target), head_weights(source), strict=True):
        weight.assign(value)


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
    """Write a preprocessor with a smaller vocabulary, and check that it tokenizes words of kept tokens as before."""
    from tfhub_ft.encoders.convert import DEFAULT_SEQ_LENGTH
    from tfhub_ft.encoders.saved_module import open_module

    positions = next(len(value) for name, value in values.items() if "position_embedding" in name)
    seq_length = min(DEFAULT_SEQ_LENGTH, positions)
    write_preprocessor(folder, vocabulary, do_lower_case=preprocessor.is_uncased, seq_length=seq_length)
    module, _workspace = open_module(folder, keep_values=True)
    old_words = _words_of(preprocessor.module, preprocessor.vocabulary)
    for before, after in zip(old_words, _words_of(module, vocabulary), strict=True):
        if before != after and set(before) <= set(vocabulary):
            raise RunError(f"{folder}: the pruned preprocessor splits {before} as {after}; nothing was kept")


def _words_of(module: Any, vocabulary: Sequence[str]) -> list[list[str]]:
    """Return the words of `TEXTS`, each as a list of its tokens."""
    import tensorflow as tf

    texts: list[list[list[int]]] = module.tokenize(tf.constant(TEXTS)).to_list()
    return [[vocabulary[number] for number in word] for text in texts for word in text]
