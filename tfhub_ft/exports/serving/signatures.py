"""Read the signatures of a SavedModel without loading it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.core.framework.node_def_pb2 import NodeDef
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef, SignatureDef

PREDICT = "tensorflow/serving/predict"
INITIALIZER = "__saved_model_init_op"


def signatures(saved_model: Path) -> "dict[str, dict[str, tf.TensorSpec]]":
    """Return the inputs of each signature by name, in alphabetical order."""
    return {name: _specs(signature.inputs) for name, signature in sorted(_signature_defs(saved_model).items())}


def output_types(saved_model: Path) -> dict[str, dict[str, str]]:
    """Return the outputs of each signature, logits first, such as {"tokens": {"logits": "float32 (batch, 2)"}}."""

    def type_text(spec: "tf.TensorSpec") -> str:
        sizes = ["any" if size is None else str(size) for size in spec.shape.as_list()[1:]]
        return f"{spec.dtype.name} ({', '.join(['batch', *sizes])})"

    types = {}
    for name, signature in _signature_defs(saved_model).items():
        specs = _specs(signature.outputs)
        types[name] = {output: type_text(specs[output]) for output in sorted(specs, key=lambda each: each != "logits")}
    return types


def custom_operations(saved_model: Path) -> dict[str, list[str]]:
    """Return the operations of each signature that TensorFlow itself lacks, such as those of TF Text.

    These are the operations that compute the outputs or initialize the model. TF Serving needs an operation when it
    first calls a function that contains it, so a signature works without the operations of another one.
    """
    graph = _graph(saved_model)
    functions = {function.signature.name: function.node_def for function in graph.graph_def.library.function}
    nodes = {node.name: node for node in graph.graph_def.node}
    initializers = [info.name for info in graph.signature_def[INITIALIZER].outputs.values()]
    operations = {}
    for name, signature in sorted(_signature_defs(saved_model).items()):
        outputs = [info.name for info in signature.outputs.values()]
        used = _operations(_ancestors([*outputs, *initializers], nodes), functions)
        operations[name] = sorted(filter(_is_custom, used))
    return operations


def _graph(saved_model: Path) -> "MetaGraphDef":
    from tensorflow.core.protobuf import saved_model_pb2

    content = saved_model_pb2.SavedModel()
    content.ParseFromString((saved_model / "saved_model.pb").read_bytes())
    return content.meta_graphs[0]


def _signature_defs(saved_model: Path) -> "dict[str, SignatureDef]":
    definitions = _graph(saved_model).signature_def
    return {name: definition for name, definition in definitions.items() if definition.method_name == PREDICT}


def _specs(tensors: Any) -> "dict[str, tf.TensorSpec]":
    import tensorflow as tf

    return {
        name: tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.dtypes.as_dtype(info.dtype), name=name)
        for name, info in sorted(tensors.items())
    }


def _ancestors(tensors: Iterable[str], nodes: "dict[str, NodeDef]") -> "list[NodeDef]":
    """Return the nodes that compute tensors."""
    ancestors, queue = {}, list(tensors)
    while queue:
        name = queue.pop().removeprefix("^").split(":")[0]
        if name and name not in ancestors:
            ancestors[name] = nodes[name]
            queue += nodes[name].input
    return list(ancestors.values())


def _operations(nodes: "Iterable[NodeDef]", functions: "Mapping[str, Iterable[NodeDef]]") -> set[str]:
    """Return the operations of nodes and of all functions that they call."""
    used, queue = set(), list(nodes)
    while queue:
        node = queue.pop()
        attributes = node.attr.values()
        names = [node.op, *(a.func.name for a in attributes), *(f.name for a in attributes for f in a.list.func)]
        for name in names:
            if name and name not in used:
                used.add(name)
                queue += functions.get(name, ())
    return used - set(functions)


def _is_custom(operation: str) -> bool:
    import tensorflow as tf

    # raw_ops lacks TensorFlow's run-time operations, such as _Arg, and those of XLA.
    return not hasattr(tf.raw_ops, operation) and not operation.startswith(("_", "Xla"))
