"""Convert a Keras text model to ONNX, from tokens on."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.encoders.truncation import call_truncated
from tfhub_ft.utils.console import quiet
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.keras_compat import freeze_variables

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfhub_ft.exports.context import ExportContext
    from tfhub_ft.run import Run
    from tfhub_ft.tasks.base import Task

PACKAGES = ("onnx", "onnxruntime", "tf2onnx")


def check_onnx_is_installed(run: "Run | None" = None) -> None:
    """Raise an InputError where packages of the extra `onnx` are missing."""
    if missing := [package for package in PACKAGES if find_spec(package) is None]:
        raise InputError(f"ONNX needs {', '.join(missing)}: pip install 'tfhub_ft[onnx]'")


def convert_to_onnx(context: "ExportContext", quantization: str, file: Path) -> dict[str, Any]:
    """Write the ONNX file of an export; "dynamic" quantizes weights to int8, and activations at run time."""
    run = context.run
    write_onnx(context.model, context.task, run.labels, run.thresholds, file)
    if quantization == "dynamic":
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with quiet():
            quantize_dynamic(onnx.load(file), file, per_channel=True, weight_type=QuantType.QInt8)
    return {}


def write_onnx(model: "keras.Model", task: "Task", labels: Sequence[str], decision: dict[str, Any], file: Path) -> None:
    """Write the part of a model from tokens on as an ONNX file.

    Its inputs are those of a SavedModel's signature `tokens`, int32 (batch, length), any batch and any length, which
    is cut to the preprocessor's `seq_length`; its outputs are the signature's numbers by the same names, `logits`
    first. Texts are made from the file's metadata: `task`, and `labels` and `decision` as JSON.

    Args:
        model: the text-in model, with a `token_model`.
        task: its task.
        labels: the labels, in the order of the logits.
        decision: the thresholds.
        file: where to write it, such as onnx/reviews.onnx.

    Raises:
        InputError: the extra `onnx` is not installed.

    Example:
        write_onnx(run.load_model(), run.recipe.task, run.labels, run.thresholds, Path("onnx/reviews.onnx"))
    """
    file.write_bytes(_onnx_bytes(model, task, labels, decision))


def _onnx_bytes(model: "keras.Model", task: "Task", labels: Sequence[str], decision: dict[str, Any]) -> bytes:
    check_onnx_is_installed()
    import onnx

    content = _converted(*_frozen(model, task, labels, decision))
    described = {"task": task.name, "labels": list(labels), "decision": decision}
    words = {name: value if isinstance(value, str) else json.dumps(value) for name, value in described.items()}
    onnx.helper.set_model_props(content, words)
    onnx.checker.check_model(content, full_check=True)
    return content.SerializeToString()


def _frozen(
    model: "keras.Model", task: "Task", labels: Sequence[str], decision: dict[str, Any]
) -> "tuple[tf.Graph, dict[str, str], dict[str, str]]":
    """A graph whose variables are constants; of its inputs and its outputs the tensors and the names that they get."""
    import tensorflow as tf

    network, most = model.get_layer("token_model"), model.get_layer("preprocessor").seq_length
    tokens = {name: tf.TensorSpec((None, None), tf.int32, name=name) for name in network.input}
    names: list[str] = []

    @tf.function(input_signature=[tokens])
    def numbers(features):  # noqa: ANN001, ANN202
        served = task.serving_outputs(call_truncated(network, features, most), labels, decision)
        served = {name: output for name, output in served.items() if output.dtype != tf.string}
        names[:] = served
        return list(served.values())

    with quiet():
        frozen = freeze_variables(numbers.get_concrete_function())
    inputs = {tensor.name: tensor.name.partition(":")[0] for tensor in frozen.inputs}
    return frozen.graph, inputs, {tensor.name: name for tensor, name in zip(frozen.outputs, names, strict=True)}


def _converted(graph: "tf.Graph", inputs: dict[str, str], outputs: dict[str, str]) -> Any:
    import tf2onnx

    from tfhub_ft.utils.precision import rewritten_graphs

    with rewritten_graphs("float32"), quiet():
        content, _ = tf2onnx.convert.from_graph_def(
            graph.as_graph_def(),
            name="token_model",
            input_names=list(inputs),
            output_names=list(outputs),
            tensors_to_rename=inputs | outputs,
            custom_op_handlers={"Erfc": (_as_erf, [])},
        )
    for tensors, sizes in ((content.graph.input, ("batch", "length")), (content.graph.output, ("batch",))):
        for tensor in tensors:
            for dimension, size in zip(tensor.type.tensor_type.shape.dim, sizes, strict=False):
                dimension.dim_param = size
    return content


def _as_erf(ctx: Any, node: Any, name: str, args: list[Any]) -> None:
    """Erfc, which ONNX does not have and tf2onnx lets through, as 1 - Erf."""
    from tf2onnx.utils import map_onnx_to_numpy_type

    one = ctx.make_const(f"{name}_one", np.array(1, map_onnx_to_numpy_type(ctx.get_dtype(node.output[0]))))
    erf = ctx.make_node("Erf", node.input, name=f"{name}_erf")
    shapes, dtypes = node.output_shapes, node.output_dtypes
    ctx.remove_node(node.name)
    inputs = [one.output[0], erf.output[0]]
    ctx.make_node("Sub", inputs, outputs=node.output, name=name, shapes=shapes, dtypes=dtypes)
