"""Write TFLite files with MediaPipe metadata and associated files."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.export_folder import TFLITE_DESCRIPTION, TFLITE_VOCABULARY, Description

if TYPE_CHECKING:
    import flatbuffers

LABELS = "labels.txt"
IDENTIFIER, NAME = b"M001", b"TFLITE_METADATA"
# MediaPipe's names and descriptions of the inputs of a BERT.
INPUTS = {
    "input_word_ids": ("ids", "Token ids of the text."),
    "input_mask": ("mask", "1 for a token, 0 for padding."),
    "input_type_ids": ("segment_ids", "The segment of each token."),
    "text": ("text", "One text."),
}
# Values of enums and unions in metadata_schema.fbs.
AXIS_LABELS, VOCABULARY_FILE, FEATURE_PROPERTIES, BERT_TOKENIZER = 2, 5, 1, 4


def write_with_metadata(
    content: bytes, file: Path, description: Description, *, summary: str, vocabulary: str | None
) -> None:
    """Write a TFLite model with metadata and a zip archive of associated files.

    The format is https://ai.google.dev/edge/litert/conversion/tensorflow/metadata. The files are the description, the
    labels and the vocabulary, one token per line; `summary` is a line about the model.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model: Any = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    # The zip archive must follow the flatbuffer, so weights that follow it are moved into it.
    for buffer in model.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(_metadata(model, description, summary, vocabulary))
    entry.name = NAME  # pyright: ignore[reportAttributeAccessIssue]
    entry.buffer = len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    file.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    files = {TFLITE_DESCRIPTION: json.dumps(description, ensure_ascii=False)}
    if description["labels"]:
        files[LABELS] = "\n".join(" ".join(label.split()) for label in description["labels"])
    if vocabulary:
        files[TFLITE_VOCABULARY] = vocabulary
    # Without compression and dates, the same model gives the same bytes.
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)


def _metadata(model: Any, description: Description, summary: str, vocabulary: str | None) -> bytes:
    """Return the ModelMetadata table of metadata_schema.fbs."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    graph = model.subgraphs[0]
    inputs = [_input(builder, graph.tensors[i].name.decode()) for i in graph.inputs]
    files = [_file(builder, LABELS, AXIS_LABELS)] if description["output"] == "probabilities" else []
    content = _table(builder, 3, {0: FEATURE_PROPERTIES, 1: _table(builder, 0, {})})
    output = _table(
        builder, 7, {0: description["output"], 1: "The predictions for each row.", 3: content, 6: files or None}
    )
    subgraph = {0: description["name"], 2: inputs, 3: [output]}
    # MediaPipe's tokenizer converts all texts to lower case, so a cased vocabulary is omitted. It makes no windows.
    is_window = all(len(graph.tensors[i].shape) == 2 for i in graph.inputs)
    if vocabulary and description["lowercase"] and not description["reads_texts"] and is_window:
        tokenizer = _table(builder, 1, {0: [_file(builder, TFLITE_VOCABULARY, VOCABULARY_FILE)]})
        subgraph[5] = [_table(builder, 2, {0: BERT_TOKENIZER, 1: tokenizer})]
    model_table = _table(
        builder, 8, {0: description["name"], 1: summary, 3: [_table(builder, 10, subgraph)], 7: "1.0.0"}
    )
    builder.Finish(model_table, file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _input(builder: "flatbuffers.Builder", tensor: str) -> int:
    name, text = next(texts for input_name, texts in INPUTS.items() if input_name in tensor)
    return _table(builder, 7, {0: name, 1: text})


def _file(builder: "flatbuffers.Builder", name: str, file_type: int) -> int:
    return _table(builder, 5, {0: name, 2: file_type})


class _Offset(int):
    """The offset of an object in the builder, in contrast to a byte."""


def _table(builder: "flatbuffers.Builder", fields: int, values: Mapping[int, str | list[int] | int | None]) -> int:
    """Build a table; its values by slot are texts, lists of tables, tables or bytes."""
    built = {slot: _build(builder, value) for slot, value in values.items() if value is not None}
    builder.StartObject(fields)
    for slot, value in built.items():
        if isinstance(value, _Offset):
            builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        else:
            builder.PrependByteSlot(slot, value, 0)
    return _Offset(builder.EndObject())


def _build(builder: "flatbuffers.Builder", value: str | list[int] | int) -> int:
    if isinstance(value, str):
        return _Offset(builder.CreateString(value))
    if isinstance(value, list):
        builder.StartVector(4, len(value), 4)
        for offset in reversed(value):
            builder.PrependUOffsetTRelative(offset)
        return _Offset(builder.EndVector())
    return value
