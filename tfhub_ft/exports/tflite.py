"""Convert a Keras text model to TFLite, from tokens or from text on, quantized or not."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.encoders.truncation import call_truncated
from tfhub_ft.exports.saved_model import described
from tfhub_ft.exports.tflite_metadata import write_with_metadata
from tfhub_ft.exports.tflite_tokenizer import check_tokenizer
from tfhub_ft.inference.runtimes.base import SERVING_DEFAULT, token_batch
from tfhub_ft.inference.runtimes.model import tflite_outputs
from tfhub_ft.tasks.windowed import WindowedTask
from tfhub_ft.utils.console import command_line, quiet
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import temporary_folder, write_fault
from tfhub_ft.utils.keras_compat import freeze_variables

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tfhub_ft.exports.context import ExportContext
    from tfhub_ft.run import Run
    from tfhub_ft.tasks.base import Task


def check_tflite(run: "Run") -> None:
    """Raise an InputError where a run cannot be exported as a TFLite file that reads tokens."""
    if run.recipe.task.name == "masked_words":
        raise InputError(
            f"--format tflite: {run.path} is an encoder; train a recipe with --encoder {command_line(run.path)} first"
        )


def check_tflite_text(run: "Run") -> None:
    """Raise an InputError where a run cannot be exported as a TFLite file that reads texts."""
    check_tflite(run)
    task = run.recipe.task
    if len(task.fields) > 1 or isinstance(task, WindowedTask):
        what = "two texts" if len(task.fields) > 1 else "long texts in windows"
        raise InputError(f"--format tflite_text: the recipe {run.recipe.name} reads {what}; use tflite, from tokens on")


def check_calibration(context: "ExportContext", quantizations: Sequence[str]) -> None:
    """Raise an InputError where int8 lacks the rows that calibrate it."""
    if "int8" in quantizations and not context.rows.calibration:
        raise InputError(f"--quantize int8 is calibrated with training rows; {context.rows.fault}; restore them")


def check_vocabulary(context: "ExportContext", quantizations: Sequence[str]) -> None:
    """Raise an InputError where the tokenizer of a file would lack its vocabulary."""
    if _vocabulary(context) is None:
        raise InputError(
            f"--format tflite_text: the encoder {context.run.settings.encoder} lacks a WordPiece vocabulary, which the"
            " tokenizer of a file needs; use tflite, from tokens on"
        )


def convert_to_tflite(context: "ExportContext", quantization: str, file: Path) -> dict[str, Any]:
    """Write a TFLite file that reads tokens.

    Returns:
        {"tokenizer": what `check_tokenizer` returned}, where the file contains a vocabulary; {} otherwise.

    Raises:
        RunError: the model cannot be converted, or the tokenizer differs.
    """
    calibration = None
    if quantization == "int8":
        # One row at a time: the mask of padding would widen every range.
        preprocessor = context.model.get_layer("preprocessor")
        calibration = [token_batch(preprocessor, [row]) for row in context.rows.calibration]
    content = convert(token_function(context.model, context.task), quantization, calibration=calibration)
    return _write(context, content, file, _vocabulary(context), reads_texts=False)


def convert_to_tflite_text(context: "ExportContext", quantization: str, file: Path) -> dict[str, Any]:
    """Write a TFLite file that reads texts, as `convert_to_tflite` does."""
    vocabulary = _vocabulary(context)
    lowercase = context.model.get_layer("preprocessor").is_uncased
    function = text_function(context.model, context.task, vocabulary, lowercase=lowercase)
    return _write(context, convert(function, quantization), file, vocabulary, reads_texts=True)


def _vocabulary(context: "ExportContext") -> list[str] | None:
    try:
        return context.model.get_layer("preprocessor").vocabulary
    except InputError:
        return None


def _write(
    context: "ExportContext", content: bytes, file: Path, vocabulary: list[str] | None, *, reads_texts: bool
) -> dict[str, Any]:
    run, task, preprocessor = context.run, context.task, context.model.get_layer("preprocessor")
    description = {
        **described(context.model, task, run.labels, run.thresholds),
        "name": context.folder.name,
        "output": "probabilities" if task.output_activation else "logits",
        "reads_texts": reads_texts,
        "lowercase": vocabulary is not None and preprocessor.is_uncased,
    }
    text = None if vocabulary is None else "\n".join(vocabulary)
    write_with_metadata(content, file, description, summary=run.recipe.summary, vocabulary=text)
    if vocabulary is None:
        return {}
    texts = [row[0] for row in context.rows.segments]
    return {"tokenizer": check_tokenizer(file, preprocessor, texts, seed=run.settings.seed)}


def token_function(model: "keras.Model", task: "Task") -> Any:
    """Return a graph from `input_word_ids`, `input_mask` and `input_type_ids` to the one output of a file.

    Args:
        model: a text-in model with a `token_model`.
        task: says what the output is.

    Returns:
        A tf.function of int32 (batch, length) by name, which are cut to the preprocessor's `seq_length`.
    """
    import tensorflow as tf

    network, most = model.get_layer("token_model"), model.get_layer("preprocessor").seq_length
    tokens = {name: tf.TensorSpec((None, None), tf.int32, name=name) for name in network.input}
    return tf.function(
        lambda features: tflite_outputs(task, call_truncated(network, features, most)),
        input_signature=[tokens],
        autograph=False,
    )


def text_function(model: "keras.Model", task: "Task", vocabulary: Sequence[str], *, lowercase: bool) -> Any:
    """Return a graph from `text`, string (batch,), to the one output of a file; it contains the tokenizer.

    The tokenizer is TF Text's FastBertTokenizer, which TFLite has as custom operations. Texts are padded to the longest
    by dense operations: TFLite lacks ragged ones.

    Args:
        model: a text-in model of one text, with a `preprocessor` and a `token_model`.
        task: says what the output is.
        vocabulary: the WordPiece tokens, in the order of their ids.
        lowercase: whether the tokenizer lower-cases and strips accents.

    Reference:
        Song et al. 2021, https://arxiv.org/abs/2012.15524
    """
    import tensorflow as tf
    import tensorflow_text

    first, last = vocabulary.index("[CLS]"), vocabulary.index("[SEP]")
    most = model.get_layer("preprocessor").seq_length - 2
    network = model.get_layer("token_model")
    tokenizer = tensorflow_text.FastBertTokenizer(
        vocabulary, token_out_type=tf.int32, lower_case_nfd_strip_accents=lowercase
    )

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")], autograph=False)
    def from_text(text):  # noqa: ANN001, ANN202
        pieces = tokenizer.tokenize(text)
        splits = tf.cast(pieces.row_splits, tf.int32)
        starts, lengths = splits[:-1], tf.minimum(splits[1:] - splits[:-1], most)
        # Each row is [CLS], its pieces and [SEP], which is the padding, too.
        place = tf.expand_dims(tf.range(tf.reduce_max(lengths) + 2), 0)
        starts, lengths = tf.expand_dims(starts, 1), tf.expand_dims(lengths, 1)
        values = tf.concat([pieces.flat_values, [last]], 0)
        piece = tf.gather(values, tf.minimum(starts + tf.maximum(place - 1, 0), tf.size(values) - 1))
        ids = tf.where(place == 0, first, tf.where(place <= lengths, piece, last))
        features = {
            "input_word_ids": ids,
            "input_mask": tf.cast(place <= lengths + 1, tf.int32),
            "input_type_ids": tf.zeros_like(ids),
        }
        return tflite_outputs(task, network(features, training=False))

    return from_text


def convert(
    function: Any, quantization: str = "none", *, calibration: "Sequence[dict[str, np.ndarray]] | None" = None
) -> bytes:
    """Convert a graph to a TFLite model.

    Weights become constants first: a graph with variables converts without an error and predicts garbage.

    Args:
        function: what `token_function` or `text_function` gave.
        quantization: "none"; "float16": the weights; "dynamic": weights in int8 a channel, activations in int8 as they
            come; "int8": activations too, in ranges that the calibration rows had.
        calibration: inputs by name, one row each, which "int8" needs.

    Returns:
        The file's content. Its signature `serving_default` has the graph's names.

    Raises:
        RunError: the model has operations that TFLite lacks.
    """
    import tensorflow as tf

    if quantization == "int8":
        return _calibrated(convert(function), calibration or ())
    with temporary_folder() as folder, quiet():
        tf.saved_model.save(tf.Module(), folder, signatures={SERVING_DEFAULT: _frozen(function)})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        # The tokenizer's operations; a model without them has none.
        converter.allow_custom_ops = True
        if quantization != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        try:
            return converter.convert()
        except Exception as error:
            if fault := write_fault(error, f"a file in {tempfile.gettempdir()}"):
                raise fault from error
            reason = next((line for line in str(error).splitlines() if "error" in line.lower()), str(error))
            raise RunError(f"this model cannot be converted to TFLite: {reason.strip()[:300]}") from error


def _frozen(function: Any) -> Any:
    import tensorflow as tf

    frozen = freeze_variables(function.get_concrete_function())
    (specs,) = function.input_signature
    by_name = specs if isinstance(specs, dict) else {specs.name: specs}
    (output,) = function.get_concrete_function().structured_outputs

    @tf.function(input_signature=[by_name], autograph=False)
    def call(inputs):  # noqa: ANN001, ANN202
        return {output: frozen(*(inputs[tensor.name.split(":")[0]] for tensor in frozen.inputs))[0]}

    return call


def _calibrated(content: bytes, calibration: "Sequence[dict[str, np.ndarray]]") -> bytes:
    """Quantize the activations of matrix products to int8 in fixed ranges, and all large weights.

    Normalization, softmax and GELU stay in float32, where int8 leaves nothing of a BERT. So do the ranges of products
    that have fewer outputs than inputs: the second layer of each feed-forward block, whose few outliers are a hundred
    times the rest (Bondarenko et al. 2021, https://arxiv.org/abs/2109.12948), and the head. They are quantized as in
    "dynamic".
    """
    from ai_edge_quantizer import qtyping, quantizer

    operations = qtyping.TFLOperationName
    with temporary_folder() as folder, quiet():
        file = Path(folder) / "model.tflite"
        file.write_bytes(content)
        work = quantizer.Quantizer(str(file))
        work.add_dynamic_config(regex=".*", operation_name=operations.FULLY_CONNECTED, num_bits=8)
        in_ranges = [(operations.GATHER, ".*"), *((operations.FULLY_CONNECTED, name) for name in _widening(content))]
        for operation, name in in_ranges:
            work.add_static_config(regex=name, operation_name=operation, activation_num_bits=8, weight_num_bits=8)
        ranges = work.calibrate({SERVING_DEFAULT: list(calibration)})
        return bytes(work.quantize(ranges).quantized_model)


def _widening(content: bytes) -> Iterator[str]:
    """Patterns of the outputs of matrix products that have at least as many outputs as inputs."""
    import re

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    for operation in interpreter._get_ops_details():
        if operation["op_name"] == "FULLY_CONNECTED":
            outputs, inputs = tensors[operation["inputs"][1]]["shape"]
            if outputs >= inputs:
                yield re.escape(tensors[operation["outputs"][0]]["name"])
