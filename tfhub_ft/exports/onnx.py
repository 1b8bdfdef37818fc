"""Export a model from token ids on as an ONNX file, and verify that ONNX Runtime reproduces its predictions."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.encoders.truncation import call_truncated
from tfhub_ft.exports.verify import TOLERANCE, Call, fault
from tfhub_ft.inference.batching import make_predict_fn
from tfhub_ft.inference.runtimes.isolated import IsolatedResult, one_by_one, run_isolated
from tfhub_ft.tasks.base import decisions
from tfhub_ft.utils.console import log, quiet
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import atomic_write
from tfhub_ft.utils.keras_compat import freeze_variables

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfhub_ft.exports.context import ExportContext
    from tfhub_ft.tasks.base import Task

PACKAGES = ("onnx", "onnxruntime", "tf2onnx")


def check_onnx_is_installed() -> None:
    """Raise an InputError where the packages of the extra `onnx` are missing."""
    if missing := [package for package in PACKAGES if find_spec(package) is None]:
        raise InputError(f"ONNX needs {', '.join(missing)}: pip install 'tfhub_ft[onnx]'")


def write_onnx(model: "keras.Model", task: "Task", labels: Sequence[str], decision: dict[str, Any], file: Path) -> None:
    """Write the part of a model behind its preprocessor as an ONNX file.

    Its inputs are those of a SavedModel's signature `tokens`, int32 (batch, length), any batch and any length, which
    is cut to the preprocessor's `seq_length`; its outputs are the signature's numbers by the same names, `logits`
    first. What is said in words is made from the file's metadata: `task`, and `labels` and `decision` as JSON.

    Args:
        model: the text-in model, with a `token_model`.
        task: says what is served.
        labels: the labels, in the order of the logits.
        decision: the thresholds of the answers.
        file: where to write it, such as onnx/reviews.onnx; a file that stands there is replaced.

    Raises:
        InputError: the extra `onnx` is not installed.

    Example:
        write_onnx(run.load_model(), run.recipe.task, run.labels, run.decision, Path("onnx/reviews.onnx"))
    """
    content = _onnx_bytes(model, task, labels, decision)
    with atomic_write(file) as aside:
        aside.write_bytes(content)


def export_onnx(work: "ExportContext", quantization: str = "none") -> dict[str, Any]:
    """Write and verify an ONNX file of an export.

    Args:
        work: the export.
        quantization: "none", or "dynamic", which has weights in int8.

    Returns:
        What export.json says of it.

    Raises:
        InputError: the extra `onnx` is not installed.
        RunError: its predictions differ from the model's; the file is removed.
    """
    path = f"onnx/{work.folder.name}{'' if quantization == 'none' else f'_{quantization}'}.onnx"
    log(f"Converting to ONNX: {Path(path).name}")
    with atomic_write(work.folder / path) as aside:
        content = _onnx_bytes(work.model, work.task, work.run.labels, work.run.decision)
        if quantization == "none":
            aside.write_bytes(content)
            verified = prove_onnx(aside, work.calls["tokens"])
            verified["verified_on"] = work.rows.described(verified["rows"], labels=False)
        else:
            _write_quantized(content, aside)
            try:
                verified = _verify_quantized(work, aside, quantization)
            except RunError as error:
                raise RunError(f"{path} was not kept: {error}") from None
        size = aside.stat().st_size
    return {"form": "onnx", "quantization": quantization, "path": path, "bytes": size, **verified}


def prove_onnx(file: Path, call: Call) -> dict[str, Any]:
    """Compare an ONNX file's answers with the Keras model's, in a fresh process that has ONNX Runtime only.

    Args:
        file: the ONNX file.
        call: batches for the signature `tokens`, and what must be answered; its words are left out.

    Returns:
        {"rows", "tolerance", "max_logit_difference", "latency_ms": {"p50", "p95"} of one row without padding}.

    Raises:
        InputError: the extra `onnx` is not installed.
        RunError: a number differs by more than `TOLERANCE` (as a share of its range, where that is above one), or the
            file cannot be run.
    """
    check_onnx_is_installed()
    names = [name for name, array in call.expected[0].items() if array.dtype.kind in "fiub"]
    found = run_isolated("onnx", file, call.feeds, one_by_one(call.feeds))
    for output, expected in zip(found.outputs, call.expected, strict=True):
        for name in names:
            wrong = fault(name, output[name], expected[name]) if name in output else f"it has no output {name}"
            if wrong:
                raise RunError(f"the ONNX file answers differently from the model ({wrong}): it was not kept")
    return {
        "rows": sum(len(expected[names[0]]) for expected in call.expected),
        "tolerance": TOLERANCE,
        "max_logit_difference": _difference(found, call, names[0]),
        "latency_ms": found.latency_ms,
    }


def _difference(found: IsolatedResult, call: Call, name: str) -> float:
    """The largest absolute difference of an output from the Keras model's."""
    pairs = zip(found.outputs, call.expected, strict=True)
    return max(float(np.abs(output[name] - expected[name]).max(initial=0)) for output, expected in pairs)


def _write_quantized(content: bytes, file: Path) -> None:
    """Write an ONNX model with weights in int8, a scale for each channel; activations are quantized as they come."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet():
        quantize_dynamic(onnx.load_model_from_string(content), file, per_channel=True, weight_type=QuantType.QInt8)


def _verify_quantized(work: "ExportContext", file: Path, quantization: str) -> dict[str, Any]:
    """Compare the predictions and the score of a quantized ONNX file with the Keras model's.

    Returns:
        {"rows", "verified_on", "max_logit_difference", "agreement", "score", "latency_ms"}, as of a TFLite file.

    Raises:
        RunError: too few predictions agree, or the score is too low, by the tolerances of TFLite files.
    """
    from tfhub_ft.benchmarking.artifacts import Form, TokenForm

    task, rows, expected, call = work.task, work.rows, work.answers, work.calls["tokens"]
    found = run_isolated("onnx", file, call.feeds, one_by_one(call.feeds))
    network = TokenForm(Form("onnx", file, quantization, "tokens"), task, work.model.get_layer("preprocessor"))
    predict = make_predict_fn(task, network, work.run.labels, work.run.decision)
    predicted = decisions(task, predict(rows.asked), work.run.labels)
    score = None if expected.score is None else expected.score_of(task.make_score_fn(network)(expected.tokens))
    return {
        "rows": len(rows.asked),
        "verified_on": rows.described(len(rows.asked), labels=score is not None),
        "max_logit_difference": _difference(found, call, "logits"),
        **expected.check(quantization, predicted, score),
        "latency_ms": found.latency_ms,
    }


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
