"""What a SavedModel's file says of its signatures, without loading it."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

PREDICT = "tensorflow/serving/predict"
START = "__saved_model_init_op"


def signatures(saved_model: Path) -> "dict[str, dict[str, tf.TensorSpec]]":
    """The inputs of each signature.

    Args:
        saved_model: the SavedModel's folder.

    Returns:
        {signature: {input: its dtype and shape}}, in alphabetical order.
    """
    import tensorflow as tf

    found = _graph(saved_model).signature_def
    return {
        name: {
            each: tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.dtypes.as_dtype(info.dtype), name=each)
            for each, info in sorted(found[name].inputs.items())
        }
        for name in sorted(found)
        if found[name].method_name == PREDICT
    }


def output_types(saved_model: Path) -> dict[str, dict[str, str]]:
    """Return the outputs of each signature, the logits first, such as {"tokens": {"logits": "float32 (batch, 2)"}}."""
    import tensorflow as tf

    found = _graph(saved_model).signature_def

    def described(info: Any) -> str:
        sizes = ["any" if size is None else str(size) for size in tf.TensorShape(info.tensor_shape).as_list()[1:]]
        return f"{tf.dtypes.as_dtype(info.dtype).name} ({', '.join(['batch', *sizes])})"

    return {
        name: {
            each: described(info)
            for each, info in sorted(found[name].outputs.items(), key=lambda item: (item[0] != "logits", item[0]))
        }
        for name in found
        if found[name].method_name == PREDICT
    }


def custom_operations(saved_model: Path) -> dict[str, list[str]]:
    """The operations that each signature needs and TensorFlow itself does not have, such as those of TF Text.

    What a signature needs is reached from its outputs through the functions that are called, and from what is run when
    the model is loaded. TF Serving looks up an operation when it first calls a function that has it, so a signature
    works where the operations of another one are missing.

    Args:
        saved_model: the SavedModel's folder.

    Returns:
        {signature: names of operations, in alphabetical order}.
    """
    graph = _graph(saved_model)
    functions = {function.signature.name: function.node_def for function in graph.graph_def.library.function}
    nodes = {node.name: node for node in graph.graph_def.node}
    start = [info.name for info in graph.signature_def[START].outputs.values()]
    needed = {}
    for name in signatures(saved_model):
        outputs = [info.name for info in graph.signature_def[name].outputs.values()]
        used = _called(_behind([*outputs, *start], nodes), functions)
        needed[name] = sorted(filter(_is_custom, used))
    return needed


def _graph(saved_model: Path) -> Any:
    from tensorflow.core.protobuf import saved_model_pb2

    content = saved_model_pb2.SavedModel()
    content.ParseFromString((saved_model / "saved_model.pb").read_bytes())
    return content.meta_graphs[0]


def _behind(tensors: Iterable[str], nodes: dict[str, Any]) -> list[Any]:
    """The nodes that tensors are computed by."""
    reached, waiting = {}, list(tensors)
    while waiting:
        name = waiting.pop().removeprefix("^").split(":")[0]
        if name and name not in reached:
            reached[name] = nodes[name]
            waiting += nodes[name].input
    return list(reached.values())


def _called(nodes: Iterable[Any], functions: dict[str, Any]) -> set[str]:
    """The operations of nodes and of all functions that they call."""
    used, waiting = set(), list(nodes)
    while waiting:
        node = waiting.pop()
        attributes = node.attr.values()
        names = [node.op, *(a.func.name for a in attributes), *(f.name for a in attributes for f in a.list.func)]
        for name in names:
            if name and name not in used:
                used.add(name)
                waiting += functions.get(name, ())
    return used - set(functions)


def _is_custom(operation: str) -> bool:
    import tensorflow as tf

    # raw_ops has all operations of TensorFlow but those of its run time (_Arg) and of XLA.
    return not hasattr(tf.raw_ops, operation) and not operation.startswith(("_", "Xla"))
