"""Convert a Keras text model to an ONNX file that reads tokens."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.encoders.truncation import call_truncated
from tfhub_ft.export_folder import Entry
from tfhub_ft.exports.saved_model import token_specs
from tfhub_ft.utils.console import quiet
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.keras_compat import freeze_variables

if TYPE_CHECKING:
    import keras
    import onnx
    import tensorflow as tf
    from tf2onnx.graph import Graph, Node

    from tfhub_ft.exports.context import ExportContext
    from tfhub_ft.run import Run
    from tfhub_ft.tasks.base import Task

PACKAGES = ("onnx", "onnxruntime", "tf2onnx")


def check_onnx_is_installed(run: "Run | None" = None) -> None:
    """Raise an InputError if packages of the extra `onnx` are missing."""
    if missing := [package for package in PACKAGES if find_spec(package) is None]:
        raise InputError(f"ONNX needs {', '.join(missing)}: pip install 'tfhub_ft[onnx]'")


def convert_to_onnx(context: "ExportContext", quantization: str, file: Path) -> Entry:
    """Write the ONNX file of an export; "dynamic" quantizes weights to int8, and activations at run time."""
    run = context.run
    write_onnx(context.model, context.task, run.labels, run.thresholds, file)
    if quantization == "dynamic":
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with quiet():
            quantize_dynamic(onnx.load(file), file, per_channel=True, weight_type=QuantType.QInt8)
    return {}


def write_onnx(
    model: "keras.Model", task: "Task", labels: Sequence[str], thresholds: dict[str, Any], file: Path
) -> None:
    """Write the `token_model` of a text-in model as an ONNX file.

    Inputs and outputs are those of a SavedModel's signature `tokens`, without texts and with `logits` first. The file's
    metadata contains `task`, and `labels` and `decision` as JSON.
    """
    check_onnx_is_installed()
    import onnx

    proto = _convert(*_frozen_graph(model, task, labels, thresholds))
    metadata = {"task": task.name, "labels": json.dumps(list(labels)), "decision": json.dumps(thresholds)}
    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto, full_check=True)
    file.write_bytes(proto.SerializeToString())


def _frozen_graph(
    model: "keras.Model", task: "Task", labels: Sequence[str], thresholds: dict[str, Any]
) -> "tuple[tf.Graph, dict[str, str], dict[str, str]]":
    """Return a graph with constants in place of variables, and the ONNX names of its input and output tensors."""
    import tensorflow as tf

    network, seq_length = model.get_layer("token_model"), model.get_layer("preprocessor").seq_length
    tokens = token_specs(network)
    names: list[str] = []

    @tf.function(input_signature=[tokens])
    def numeric_outputs(features):  # noqa: ANN001, ANN202
        outputs = task.serving_outputs(call_truncated(network, features, seq_length), labels, thresholds)
        outputs = {name: output for name, output in outputs.items() if output.dtype != tf.string}
        names[:] = outputs
        return list(outputs.values())

    with quiet():
        function: Any = numeric_outputs
        frozen = freeze_variables(function.get_concrete_function())
    inputs = {tensor.name: tensor.name.partition(":")[0] for tensor in frozen.inputs}
    return frozen.graph, inputs, {tensor.name: name for tensor, name in zip(frozen.outputs, names, strict=True)}


def _convert(graph: "tf.Graph", inputs: dict[str, str], outputs: dict[str, str]) -> "onnx.ModelProto":
    import tf2onnx

    from tfhub_ft.utils.precision import rewritten_graphs

    with rewritten_graphs("float32"), quiet():
        proto, _ = tf2onnx.convert.from_graph_def(
            graph.as_graph_def(),
            name="token_model",
            input_names=list(inputs),
            output_names=list(outputs),
            tensors_to_rename=inputs | outputs,
            custom_op_handlers={"Erfc": (_convert_erfc, [])},
        )
    rank = len(graph.get_tensor_by_name(next(iter(inputs))).shape)
    input_sizes = ("batch", "length") if rank == 2 else ("batch", "windows", "length")
    for tensors, sizes in ((proto.graph.input, input_sizes), (proto.graph.output, ("batch",))):
        for tensor in tensors:
            for dimension, size in zip(tensor.type.tensor_type.shape.dim, sizes, strict=False):
                dimension.dim_param = size
    return proto


def _convert_erfc(ctx: "Graph", node: "Node", name: str, args: list[object]) -> None:
    """Replace Erfc, which ONNX lacks and tf2onnx does not convert, by 1 - Erf."""
    from tf2onnx.utils import map_onnx_to_numpy_type

    one = ctx.make_const(f"{name}_one", np.array(1, map_onnx_to_numpy_type(ctx.get_dtype(node.output[0]))))
    erf = ctx.make_node("Erf", node.input, name=f"{name}_erf")
    shapes, dtypes = node.output_shapes, node.output_dtypes
    ctx.remove_node(node.name)
    inputs = [one.output[0], erf.output[0]]
    ctx.make_node("Sub", inputs, outputs=node.output, name=name, shapes=shapes, dtypes=dtypes)
