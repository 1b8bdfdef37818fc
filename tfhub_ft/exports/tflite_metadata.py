"""Write TFLite files with metadata that MediaPipe reads, and with associated files.

The files (vocabulary, labels, and all that turns an output into predictions) follow the model as a zip archive, as the
TFLite metadata format specifies: https://ai.google.dev/edge/litert/conversion/tensorflow/metadata.
"""

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.export_folder import TFLITE_DESCRIPTION, TFLITE_VOCABULARY

if TYPE_CHECKING:
    import flatbuffers

LABELS = "labels.txt"
IDENTIFIER, NAME = b"M001", b"TFLITE_METADATA"
# The names that MediaPipe gives to the inputs of a BERT.
INPUTS = {
    "input_word_ids": ("ids", "Token ids of the text."),
    "input_mask": ("mask", "1 for a token, 0 for padding."),
    "input_type_ids": ("segment_ids", "The segment of each token."),
    "text": ("text", "One text."),
}
# Numbers of types and unions in metadata_schema.fbs.
AXIS_LABELS, VOCABULARY_FILE, FEATURE_PROPERTIES, BERT_TOKENIZER = 2, 5, 1, 4


def write_with_metadata(
    content: bytes, file: Path, description: dict[str, Any], *, summary: str, vocabulary: str | None
) -> None:
    """Write a TFLite model with metadata and files into a file.

    Args:
        content: the model.
        file: where to write it.
        description: kept in the file; "labels", "lowercase" and "output" are read here too.
        summary: a line that says what the model does.
        vocabulary: a WordPiece vocabulary, a token a line; None where there is none.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    _embed_weights(model, content)
    metadata = _metadata(model, description, summary, vocabulary)
    _attach(model, metadata)
    file.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    files = {TFLITE_DESCRIPTION: json.dumps(description, ensure_ascii=False)}
    if description["labels"]:
        files[LABELS] = "\n".join(" ".join(label.split()) for label in description["labels"])
    if vocabulary:
        files[TFLITE_VOCABULARY] = vocabulary
    # Stored as they are, and without a date: the same model gives the same bytes.
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)


def _embed_weights(model: Any, content: bytes) -> None:
    """Move weights that follow the flatbuffer, where the zip archive must be, into it."""
    import numpy as np

    for buffer in model.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0


def _attach(model: Any, metadata: bytes) -> None:
    from ai_edge_litert import schema_py_generated as schema

    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(metadata)
    entry.name, entry.buffer = NAME, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]


def _metadata(model: Any, description: dict[str, Any], summary: str, vocabulary: str | None) -> bytes:
    """Build the ModelMetadata table of metadata_schema.fbs field by field."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    graph = model.subgraphs[0]
    inputs = [_input(builder, graph.tensors[i].name.decode()) for i in graph.inputs]
    files = [_file(builder, LABELS, AXIS_LABELS)] if description["output"] == "probabilities" else []
    content = _table(builder, 3, {0: FEATURE_PROPERTIES, 1: _table(builder, 0, {})})
    output = _table(
        builder, 7, {0: description["output"], 1: "The predictions for each row.", 3: content, 6: files or None}
    )
    reads = {
        0: description["name"],
        2: inputs,
        3: [output],
    }
    # MediaPipe's tokenizer lower-cases whatever it is given: a vocabulary with upper case is left out.
    if vocabulary and description["lowercase"] and not description["reads_texts"]:
        tokenizer = _table(builder, 1, {0: [_file(builder, TFLITE_VOCABULARY, VOCABULARY_FILE)]})
        reads[5] = [_table(builder, 2, {0: BERT_TOKENIZER, 1: tokenizer})]
    model_table = _table(builder, 8, {0: description["name"], 1: summary, 3: [_table(builder, 10, reads)], 7: "1.0.0"})
    builder.Finish(model_table, file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _input(builder: "flatbuffers.Builder", tensor: str) -> int:
    name, about = next(named for each, named in INPUTS.items() if each in tensor)
    return _table(builder, 7, {0: name, 1: about})


def _file(builder: "flatbuffers.Builder", name: str, kind: int) -> int:
    return _table(builder, 5, {0: name, 2: kind})


class _Offset(int):
    """The offset of a table in the builder, as distinct from a plain number."""


def _table(builder: "flatbuffers.Builder", fields: int, values: dict[int, Any]) -> int:
    """Build a table with a number of fields; a value is a text, a list of tables, a table or a byte."""
    written = {slot: _written(builder, value) for slot, value in values.items() if value is not None}
    builder.StartObject(fields)
    for slot, value in written.items():
        if isinstance(value, _Offset):
            builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        else:
            builder.PrependByteSlot(slot, value, 0)
    return _Offset(builder.EndObject())


def _written(builder: "flatbuffers.Builder", value: Any) -> int:
    if isinstance(value, str):
        return _Offset(builder.CreateString(value))
    if isinstance(value, list):
        builder.StartVector(4, len(value), 4)
        for each in reversed(value):
            builder.PrependUOffsetTRelative(each)
        return _Offset(builder.EndVector())
    return value
