"""A model as an ONNX file, from token ids on, and the proof that ONNX Runtime answers by it as Keras does."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.errors import InputError, WorkError
from tfhub_ft.exports.proof import TIMED, TOLERANCE, Call, fault
from tfhub_ft.files import written_aside

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfhub_ft.tasks.task import Task

PACKAGES = ("onnx", "onnxruntime", "tf2onnx")


def check_onnx_is_installed() -> None:
    """Raise an InputError where the packages of the extra `onnx` are missing."""
    if missing := [package for package in PACKAGES if find_spec(package) is None]:
        raise InputError(f"ONNX needs {', '.join(missing)}: pip install 'tfhub_ft[onnx]'")


def write_onnx(model: "keras.Model", task: "Task", labels: Sequence[str], decision: dict[str, Any], file: Path) -> None:
    """Write the part of a model behind its preprocessor as an ONNX file.

    Its inputs are those of a SavedModel's signature `tokens`, int32 (batch, length), any batch and any length; its
    outputs are the signature's numbers by the same names, `logits` first. What is said in words is made from the
    file's metadata: `task`, and `labels` and `decision` as JSON.

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
    check_onnx_is_installed()
    import onnx

    content = _converted(*_frozen(model, task, labels, decision))
    described = {"task": task.name, "labels": list(labels), "decision": decision}
    words = {name: value if isinstance(value, str) else json.dumps(value) for name, value in described.items()}
    onnx.helper.set_model_props(content, words)
    onnx.checker.check_model(content, full_check=True)
    with written_aside(file) as aside:
        aside.write_bytes(content.SerializeToString())


def prove_onnx(file: Path, call: Call) -> dict[str, Any]:
    """Compare an ONNX file's answers with the Keras model's, in a fresh process that has ONNX Runtime only.

    Args:
        file: the ONNX file.
        call: batches for the signature `tokens`, and what must be answered; its words are left out.

    Returns:
        {"rows", "tolerance", "max_logit_difference": {"tokens": float}, "latency_ms": {"p50", "p95"} of one row}.

    Raises:
        InputError: the extra `onnx` is not installed.
        WorkError: a number differs by more than `TOLERANCE` (as a share of its range, where that is above one), or the
            file cannot be run.
    """
    check_onnx_is_installed()
    with tempfile.TemporaryDirectory(prefix="tfhub_ft-") as folder:
        questions, answers = Path(folder) / "questions.npz", Path(folder) / "answers.npz"
        arrays = {f"{number:06}|{name}": ids for number, feed in enumerate(call.feeds) for name, ids in feed.items()}
        np.savez(questions, **arrays)
        command = [sys.executable, "-m", "tfhub_ft.exports.onnx_file", str(file), str(questions), str(answers)]
        done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
        if done.returncode:
            raise WorkError(f"the ONNX file cannot be run in a fresh process: {done.stderr.strip().splitlines()[-1]}")
        with np.load(answers) as found:
            return _compared(dict(found), call)


def _frozen(
    model: "keras.Model", task: "Task", labels: Sequence[str], decision: dict[str, Any]
) -> "tuple[tf.Graph, dict[str, str], dict[str, str]]":
    """A graph whose variables are constants; of its inputs and its outputs the tensors and the names that they get."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    network = model.get_layer("token_model")
    tokens = {name: tf.TensorSpec((None, None), tf.int32, name=name) for name in network.input}
    names: list[str] = []

    @tf.function(input_signature=[tokens])
    def numbers(features):  # noqa: ANN001, ANN202
        served = task.served(network(features, training=False), labels, decision)
        served = {name: output for name, output in served.items() if output.dtype != tf.string}
        names[:] = served
        return list(served.values())

    frozen = convert_variables_to_constants_v2(numbers.get_concrete_function())
    inputs = {tensor.name: tensor.name.partition(":")[0] for tensor in frozen.inputs}
    return frozen.graph, inputs, {tensor.name: name for tensor, name in zip(frozen.outputs, names, strict=True)}


def _converted(graph: "tf.Graph", inputs: dict[str, str], outputs: dict[str, str]) -> Any:
    import tf2onnx

    from tfhub_ft.training.hardware import matrix_products_in

    with matrix_products_in("float32"):
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


def _compared(found: dict[str, np.ndarray], call: Call) -> dict[str, Any]:
    names = [name for name, array in call.expected[0].items() if array.dtype.kind in "fiub"]
    difference, rows = 0.0, 0
    for number, expected in enumerate(call.expected):
        rows += len(expected[names[0]])
        for name in names:
            answer = found.get(f"{number:06}|{name}")
            wrong = f"it has no output {name}" if answer is None else fault(name, answer, expected[name])
            if wrong:
                raise WorkError(f"the ONNX file answers differently from the model ({wrong}): it was not kept")
        first = np.abs(found[f"{number:06}|{names[0]}"] - expected[names[0]])
        difference = max(difference, float(first.max(initial=0)))
    p50, p95 = np.percentile(found["seconds"] * 1000, [50, 95]).round(2).tolist()
    return {
        "rows": rows,
        "tolerance": TOLERANCE,
        "max_logit_difference": {"tokens": difference},
        "latency_ms": {"p50": p50, "p95": p95},
    }


def _answer(file: str, questions: str, answers: str) -> None:
    """What the fresh process does: ONNX Runtime is all that it needs."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    feeds: dict[str, dict[str, np.ndarray]] = {}
    with np.load(questions) as asked:
        for key in sorted(asked):
            number, name = key.split("|")
            feeds.setdefault(number, {})[name] = asked[key]
    found = {
        f"{number}|{name}": output
        for number, feed in feeds.items()
        for name, output in zip(names, session.run(names, feed), strict=True)
    }
    seconds = []
    rows = [
        {name: ids[i : i + 1] for name, ids in feed.items()}
        for feed in feeds.values()
        for i in range(len(next(iter(feed.values()))))
    ]
    for row in rows[:TIMED]:
        began = time.perf_counter()
        session.run(names, row)
        seconds.append(time.perf_counter() - began)
    np.savez(answers, seconds=np.array(seconds), **found)


if __name__ == "__main__":
    _answer(*sys.argv[1:])
