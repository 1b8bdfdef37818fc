"""Convert a Keras text model to a TFLite file that reads tokens or texts."""

import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.encoders.packing import split_head_and_tail
from tfhub_ft.encoders.truncation import call_truncated
from tfhub_ft.export_folder import Entry
from tfhub_ft.exports.saved_model import describe_model, token_specs
from tfhub_ft.exports.tflite_metadata import write_with_metadata
from tfhub_ft.exports.tflite_tokenizer import check_tokenizer, fast_tokenizer
from tfhub_ft.inference.runtimes.base import SERVING_DEFAULT, Batch, token_batch
from tfhub_ft.inference.runtimes.model import tflite_outputs
from tfhub_ft.tasks.windowed import WindowedTask
from tfhub_ft.utils.console import command_line, quiet
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import temporary_folder, write_fault
from tfhub_ft.utils.keras_compat import freeze_variables

if TYPE_CHECKING:
    import keras

    from tfhub_ft.exports.context import ExportContext
    from tfhub_ft.run import Run
    from tfhub_ft.tasks.base import Task


def check_tflite(run: "Run") -> None:
    """Raise an InputError if a run cannot be exported to the format "tflite"."""
    if run.recipe.task.name == "masked_words":
        raise InputError(
            f"--format tflite: {run.path} is an encoder; train a recipe with --encoder {command_line(run.path)} first"
        )


def check_tflite_text(run: "Run") -> None:
    """Raise an InputError if a run cannot be exported to the format "tflite_text"."""
    check_tflite(run)
    task = run.recipe.task
    if len(task.fields) > 1 or isinstance(task, WindowedTask):
        texts = "two texts" if len(task.fields) > 1 else "long texts in windows"
        raise InputError(f"--format tflite_text: the recipe {run.recipe.name} reads {texts}; use tflite instead")
    if getattr(run.settings, "long_texts", "truncate") == "windows":
        raise InputError("--format tflite_text: not available for --long-texts windows; use tflite instead")


def check_calibration(context: "ExportContext", quantizations: Sequence[str]) -> None:
    """Raise an InputError if the rows that calibrate int8 activations are missing."""
    if "int8" in quantizations and not context.rows.calibration:
        raise InputError(f"--quantize int8: calibration needs training rows, but {context.rows.fault}; restore them")


def check_vocabulary(context: "ExportContext", quantizations: Sequence[str]) -> None:
    """Raise an InputError if the encoder lacks a WordPiece vocabulary."""
    if _vocabulary(context) is None:
        encoder = context.run.settings.as_dict()["encoder"]
        raise InputError(
            f"--format tflite_text: the encoder {encoder} lacks a WordPiece vocabulary; use tflite instead"
        )


def convert_to_tflite(context: "ExportContext", quantization: str, file: Path) -> Entry:
    """Write a TFLite file that reads tokens; return the field "tokenizer" if it contains a vocabulary."""
    calibration: list[Batch] = []
    if quantization == "int8":
        # Single rows: the mask of padding would widen every range.
        preprocessor = context.model.get_layer("preprocessor")
        calibration = [token_batch(preprocessor, [row]) for row in context.rows.calibration]
    content = convert(token_function(context.model, context.task), quantization, calibration=calibration)
    return _write(context, content, file, _vocabulary(context), reads_texts=False)


def convert_to_tflite_text(context: "ExportContext", quantization: str, file: Path) -> Entry:
    """Write a TFLite file that reads texts; return the field "tokenizer"."""
    preprocessor = context.model.get_layer("preprocessor")
    vocabulary, lowercase = preprocessor.vocabulary, preprocessor.is_uncased
    function = text_function(context.model, context.task, vocabulary, lowercase=lowercase)
    return _write(context, convert(function, quantization), file, vocabulary, reads_texts=True)


def _vocabulary(context: "ExportContext") -> list[str] | None:
    try:
        return context.model.get_layer("preprocessor").vocabulary
    except InputError:
        return None


def _write(
    context: "ExportContext", content: bytes, file: Path, vocabulary: list[str] | None, *, reads_texts: bool
) -> Entry:
    run, task, preprocessor = context.run, context.task, context.model.get_layer("preprocessor")
    description = {
        **describe_model(context.model, task, run.labels, run.thresholds),
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
    """Return a tf.function from tokens by name, int32 (batch, length), to the only output of a TFLite file."""
    import tensorflow as tf

    network, seq_length = model.get_layer("token_model"), model.get_layer("preprocessor").seq_length
    tokens = token_specs(network)
    return tf.function(
        lambda features: tflite_outputs(task, call_truncated(network, features, seq_length)),
        input_signature=[tokens],
        autograph=False,
    )


def text_function(model: "keras.Model", task: "Task", vocabulary: Sequence[str], *, lowercase: bool) -> Any:
    """Return a tf.function from `text`, string (batch,), to the only output of a TFLite file.

    It contains TF Text's FastBertTokenizer (Song et al. 2021, https://arxiv.org/abs/2012.15524), which TFLite supports
    by custom operations. TFLite lacks ragged operations, so the padding is done by dense ones.
    """
    import tensorflow as tf

    start_id, end_id = vocabulary.index("[CLS]"), vocabulary.index("[SEP]")
    preprocessor = model.get_layer("preprocessor")
    max_tokens = preprocessor.seq_length - 2
    head = split_head_and_tail(max_tokens)[0] if preprocessor.long_texts == "head-tail" else max_tokens
    network = model.get_layer("token_model")
    tokenizer = fast_tokenizer(vocabulary, lowercase=lowercase)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")], autograph=False)
    def from_text(text):  # noqa: ANN001, ANN202
        tokens = tokenizer.tokenize(text)
        splits = tf.cast(tokens.row_splits, tf.int32)
        starts, counts = splits[:-1], splits[1:] - splits[:-1]
        lengths = tf.minimum(counts, max_tokens)
        # A row is [CLS], the tokens and [SEP], which is also the padding.
        position = tf.expand_dims(tf.range(tf.reduce_max(lengths) + 2), 0)
        starts, omitted, lengths = (tf.expand_dims(each, 1) for each in (starts, counts - lengths, lengths))
        # The tokens after the head are the last ones.
        starts = starts + tf.where(position > head, omitted, 0)
        values = tf.concat([tokens.flat_values, [end_id]], 0)
        token = tf.gather(values, tf.minimum(starts + tf.maximum(position - 1, 0), tf.size(values) - 1))
        ids = tf.where(position == 0, start_id, tf.where(position <= lengths, token, end_id))
        features = {
            "input_word_ids": ids,
            "input_mask": tf.cast(position <= lengths + 1, tf.int32),
            "input_type_ids": tf.zeros_like(ids),
        }
        return tflite_outputs(task, network(features, training=False))

    return from_text


def convert(function: Any, quantization: str = "none", *, calibration: Sequence[Batch] = ()) -> bytes:
    """Convert a tf.function to a TFLite model with the signature `serving_default`.

    "float16" quantizes weights; "dynamic" quantizes weights to int8 per channel, and activations at run time; "int8"
    quantizes activations in fixed ranges, too, which are determined with calibration rows, one per batch.
    """
    import tensorflow as tf

    if quantization == "int8":
        return _quantize_int8(convert(function), calibration)
    with temporary_folder() as folder, quiet():
        tf.saved_model.save(tf.Module(), folder, signatures={SERVING_DEFAULT: _frozen(function)})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        # For the operations of the tokenizer.
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
    """Return a tf.function with constants in place of variables, with which TFLite models silently predict garbage."""
    import tensorflow as tf

    frozen = freeze_variables(function.get_concrete_function())
    (specs,) = function.input_signature
    specs_by_name = specs if isinstance(specs, dict) else {specs.name: specs}
    (output,) = function.get_concrete_function().structured_outputs

    @tf.function(input_signature=[specs_by_name], autograph=False)
    def call(inputs):  # noqa: ANN001, ANN202
        return {output: frozen(*(inputs[tensor.name.split(":")[0]] for tensor in frozen.inputs))[0]}

    return call


def _quantize_int8(content: bytes, calibration: Sequence[Batch]) -> bytes:
    """Quantize large weights to int8, and the activations of matrix products to int8 in fixed ranges.

    Normalization, softmax and GELU stay in float32: in int8 a BERT loses its accuracy. The products that have fewer
    outputs than inputs are quantized as in "dynamic". These are the head, and the second layer of each feed-forward
    block, whose outliers are a hundred times the other values (Bondarenko et al. 2021,
    https://arxiv.org/abs/2109.12948).
    """
    from ai_edge_quantizer import qtyping, quantizer

    operations = qtyping.TFLOperationName
    with temporary_folder() as folder, quiet():
        file = Path(folder) / "model.tflite"
        file.write_bytes(content)
        model = quantizer.Quantizer(str(file))
        model.add_dynamic_config(regex=".*", operation_name=operations.FULLY_CONNECTED, num_bits=8)
        static = [(operations.GATHER, ".*"), *((operations.FULLY_CONNECTED, name) for name in _wide_products(content))]
        for operation, name in static:
            model.add_static_config(regex=name, operation_name=operation, activation_num_bits=8, weight_num_bits=8)
        quantized = model.quantize(model.calibrate({SERVING_DEFAULT: list(calibration)})).quantized_model
        if quantized is None:
            raise RunError("this model cannot be quantized to int8")
        return bytes(quantized)


def _wide_products(content: bytes) -> Iterator[str]:
    """Yield the names, as patterns, of matrix products that have at least as many outputs as inputs."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    for operation in interpreter._get_ops_details():
        if operation["op_name"] == "FULLY_CONNECTED":
            outputs, inputs = tensors[operation["inputs"][1]]["shape"]
            if outputs >= inputs:
                yield re.escape(tensors[operation["outputs"][0]]["name"])
