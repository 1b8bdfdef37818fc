"""Read a SavedModel's graph before it is loaded: it may compute, and read its own assets, and nothing else.

The graph's nodes and all functions of its library are read, whoever calls them: initializers and creators of resources,
branches and bodies of loops, gradients, and what no signature reaches.
"""

import contextlib
import hashlib
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from tfhub_ft.utils.allowed_operations import ALLOWED, CHECKPOINTS, READS_ASSETS
from tfhub_ft.utils.errors import InputError, UntrustedCode
from tfhub_ft.utils.keras_compat import is_operation
from tfhub_ft.utils.trust import TRUST_VARIABLE, trusts_all

SAVED_MODEL, OTHER_FORMATS = "saved_model.pb", ("saved_model.pbtxt", "saved_model.cpb")
_DEFAULTS = ("Const", "PlaceholderWithDefault")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# How many inputs of an operation a file's name may come through, and that of a file that is written.
_PASSED_ON = {"Identity": 1}
_PASSED_ON_TO_WRITE = {"Identity": 1, "StringJoin": 1, "ShardedFilename": 1, "Pack": None}
_ASSET, _CHECKPOINT, _OTHER = "asset", "checkpoint", "other"
_INIT = "__saved_model_init_op"
# By the sha256 of saved_model.pb: what the graph does that it may not do, and the names of its assets.
_checked: dict[str, tuple[str | None, tuple[str, ...]]] = {}


def load_graph(folder: Path, name: str | None = None) -> Any:
    """Check and load a SavedModel.

    Args:
        folder: the SavedModel's.
        name: what to call it in an error; by default the folder.

    Raises:
        UntrustedCode: its graph may do more than compute, and --trust is not given.
        InputError: it has no graph that can be read.
    """
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers the operations of tokenizers

    check_graph(folder, name)
    return tf.saved_model.load(str(folder))


def check_graph(folder: Path, name: str | None = None) -> None:
    """Raise an error where the graph of a SavedModel may do more than text encoders, preprocessors and exports need.

    Args:
        folder: the SavedModel's.
        name: what to call it in an error; by default the folder.

    Raises:
        UntrustedCode: its graph may do more than compute, and --trust is not given.
        InputError: it has no graph that can be read.
    """
    name = name or str(folder)
    if not trusts_all():
        _refuse(name, _fault(folder, name))


def check_archive(path: Path) -> None:
    """Check the graphs in a .keras file, as `check_graph` does; a file that cannot be read is left to whoever loads it.

    Args:
        path: the file.

    Raises:
        UntrustedCode: a graph may do more than compute, and --trust is not given.
        InputError: a graph cannot be read.
    """
    if trusts_all() or not zipfile.is_zipfile(path):
        return
    with contextlib.suppress(zipfile.BadZipFile, zlib.error, OSError), zipfile.ZipFile(path) as archive:
        for member in map(PurePosixPath, archive.namelist()):
            name = f"{path}: {member.parent}"
            if member.name in OTHER_FORMATS:
                _refuse(name, f"holds its graph in {member.name}")
            if member.name == SAVED_MODEL:
                _refuse(name, _fault_of_content(archive.read(str(member)), name)[0])


def _refuse(name: str, fault: str | None) -> None:
    if fault:
        raise UntrustedCode(
            f"{name}: {fault}, which no text encoder needs: a SavedModel is a program; pass --trust (in Python set"
            f" {TRUST_VARIABLE}=1) if you trust its maker"
        )


def _fault(folder: Path, name: str) -> str | None:
    others = [other for other in OTHER_FORMATS if (folder / other).exists()]
    if others:
        return f"holds its graph in {others[0]}"
    try:
        content = (folder / SAVED_MODEL).read_bytes()
    except OSError as error:
        raise InputError(f"{name}: {SAVED_MODEL} cannot be read ({error.strerror or error})") from None
    fault, assets = _fault_of_content(content, name)
    root = folder.resolve()
    for asset in assets:
        if not (root / "assets" / asset).resolve().is_relative_to(root):
            return f"reads the file {asset!r}, which is not in its folder"
    return fault


def _fault_of_content(content: bytes, name: str) -> tuple[str | None, tuple[str, ...]]:
    digest = hashlib.sha256(content).hexdigest()
    if digest not in _checked:
        _checked[digest] = _read_graphs(content, name)
    return _checked[digest]


def _read_graphs(content: bytes, name: str) -> tuple[str | None, tuple[str, ...]]:
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        graphs = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    except DecodeError:
        graphs = ()
    if not graphs:
        raise InputError(f"{name}: {SAVED_MODEL} cannot be read: it is damaged or empty")
    try:
        fault = next((fault for graph in graphs if (fault := _Graph(graph).fault())), None)
    except (IndexError, RecursionError):
        fault = "has operations without their inputs, or too many in a row"
    return fault, tuple(asset.filename for graph in graphs for asset in graph.asset_file_def)


class _Graph:
    """A graph with its functions; the outermost nodes are those of the function ""."""

    def __init__(self, graph: Any):
        self.graph, self.twice, self._passed_on = graph, None, _PASSED_ON
        self.functions: dict[str, list[Any]] = {}
        self.arguments: dict[str, list[str]] = {}
        for function in graph.graph_def.library.function:
            name = function.signature.name
            self.twice = name if name in self.functions else self.twice
            self.functions[name] = list(function.node_def)
            self.arguments[name] = [arg.name for arg in function.signature.input_arg]
        self.twice = "" if "" in self.functions else self.twice
        self.functions[""], self.arguments[""] = list(graph.graph_def.node), []

    def fault(self) -> str | None:
        files = []
        if self.twice is not None:
            return f"has the function {self.twice} twice"
        for function, nodes in self.functions.items():
            for node in nodes:
                if self._is_unknown(node.op) or not all(map(self._is_function, _named_functions(node.attr.values()))):
                    return _said(node.op, function)
                if node.op == "Const" and not _is_data(node):
                    return f"{_said(node.op, function)} that holds a resource"
                if node.op in READS_ASSETS or node.op in CHECKPOINTS:
                    files.append((function, node))
        return next((fault for function, node in files if (fault := self._file_fault(function, node))), None)

    def _is_unknown(self, operation: str) -> bool:
        known = operation in ALLOWED or operation in READS_ASSETS or operation in CHECKPOINTS
        return not (known or self._is_function(operation))

    def _is_function(self, name: str) -> bool:
        """Whether a name is that of a function, and not of an operation, which TensorFlow would run in its place."""
        return bool(name) and name in self.functions and not is_operation(name)

    def _file_fault(self, function: str, node: Any) -> str | None:
        """What is wrong with an operation on a file: it may read assets, and checkpoints for the model's saver."""
        wanted, inputs = (
            (_ASSET, READS_ASSETS[node.op]) if node.op in READS_ASSETS else (_CHECKPOINT, CHECKPOINTS[node.op])
        )
        data = _data_inputs(node)
        for number in inputs:
            self._passed_on = _PASSED_ON_TO_WRITE if node.op in ("SaveV2", "MergeV2Checkpoints") else _PASSED_ON
            origins = self._origins(function, data[number], set())
            if origins != {wanted}:
                other = "a file that is not an asset of the model" if wanted == _ASSET else "a file outside its saver"
                return f"{_said(node.op, function)}, on {other}"
        return None

    def _origins(self, function: str, tensor: str, seen: set[tuple[str, str]]) -> set[str]:
        """Where the values of a tensor come from: `_ASSET`, `_CHECKPOINT` or something else."""
        name = _node_name(tensor)
        if (function, name) in seen:
            return set()
        seen.add((function, name))
        if name in self.arguments[function]:
            return self._origins_of_argument(function, self.arguments[function].index(name), seen)
        node = self._nodes[function].get(name)
        if node is None:
            return {_OTHER}
        if function == "" and name in self._fed_nodes:
            return {self._fed_nodes[name]}
        if function == "" and node.op == "ReadVariableOp":
            return self._origins_of_variable(_data_inputs(node)[0], seen)
        if node.op not in self._passed_on:
            return {_OTHER}
        return {
            origin
            for each in _data_inputs(node)[: self._passed_on[node.op]]
            for origin in self._origins(function, each, seen)
        }

    def _origins_of_argument(self, function: str, number: int, seen: set[tuple[str, str]]) -> set[str]:
        origins = set()
        objects = self.graph.object_graph_def
        if function in objects.concrete_functions:
            bound = objects.concrete_functions[function].bound_inputs
            place = number - (len(self.arguments[function]) - len(bound))
            is_asset = place >= 0 and objects.nodes[bound[place]].WhichOneof("kind") == "asset"
            origins.add(_ASSET if is_asset else _OTHER)
        for caller, node in self._callers[function]:
            data = _data_inputs(node)
            if (node.op not in _CALLS and node.op != function) or number >= len(data):
                return {_OTHER}
            origins |= self._origins(caller, data[number], seen)
        return origins

    def _origins_of_variable(self, tensor: str, seen: set[tuple[str, str]]) -> set[str]:
        """Where what is assigned to a variable among the outermost nodes comes from."""
        handle = self._nodes[""].get(_node_name(tensor))
        if handle is None or handle.op != "VarHandleOp":
            return {_OTHER}
        shared = handle.attr["shared_name"].s
        handles = [
            (function, node.name)
            for function, nodes in self.functions.items()
            for node in nodes
            if node.op == "VarHandleOp" and node.attr["shared_name"].s == shared
        ]
        same, origins = {name for _, name in handles}, {_OTHER for function, _ in handles if function}
        for node in self.functions[""]:
            data = _data_inputs(node)
            if same.isdisjoint(_node_name(each) for each in data) or node.op in (
                "ReadVariableOp",
                "VarIsInitializedOp",
            ):
                continue
            origins |= self._origins("", data[1], seen) if node.op == "AssignVariableOp" else {_OTHER}
        return origins

    @cached_property
    def _fed_nodes(self) -> dict[str, str]:
        """The outermost nodes whose values whoever loads the graph gives, and no signature: what they are."""
        signatures = self.graph.signature_def
        inputs = {_node_name(info.name) for each in signatures.values() for info in each.inputs.values()}
        outputs = {
            name: [info.name for info in each.outputs.values()] for name, each in signatures.items() if name != _INIT
        }
        used = self._behind([name for each in outputs.values() for name in each])
        initialized = [info.name for info in signatures[_INIT].outputs.values()] if _INIT in signatures else []
        for collection in ("saved_model_main_op", "legacy_init_op"):
            if collection in self.graph.collection_def:
                initialized += self.graph.collection_def[collection].node_list.value
        fed = {_node_name(asset.tensor_info.name): _ASSET for asset in self.graph.asset_file_def}
        saver = _node_name(self.graph.saver_def.filename_tensor_name)
        if saver not in self._behind(initialized):
            fed[saver] = _CHECKPOINT
        # A plain placeholder has no value of its own that a signature could take.
        return {
            name: kind
            for name, kind in fed.items()
            if name not in inputs
            and (node := self._nodes[""].get(name))
            and (node.op == "Placeholder" or (node.op in _DEFAULTS and name not in used))
        }

    def _behind(self, tensors: list[str]) -> set[str]:
        """The outermost nodes that tensors are computed by."""
        found, waiting = set(), [_node_name(each) for each in tensors]
        while waiting:
            name = waiting.pop()
            if name not in found and name in self._nodes[""]:
                found.add(name)
                waiting += map(_node_name, self._nodes[""][name].input)
        return found

    @cached_property
    def _nodes(self) -> dict[str, dict[str, Any]]:
        return {name: {node.name: node for node in nodes} for name, nodes in self.functions.items()}

    @cached_property
    def _callers(self) -> dict[str, list[tuple[str, Any]]]:
        """Each function's callers: the function and the node."""
        callers = defaultdict(list)
        for caller, nodes in self.functions.items():
            for node in nodes:
                for called in (node.op, *_named_functions(node.attr.values())):
                    callers[called].append((caller, node))
        return callers


def _named_functions(attributes: Any) -> Iterator[str]:
    """The functions that an operation's attributes name."""
    for attribute in attributes:
        kind = attribute.WhichOneof("value")
        for function in (attribute.func,) if kind == "func" else attribute.list.func if kind == "list" else ():
            yield function.name
            yield from _named_functions(function.attr.values())


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").split(":")[0]


def _data_inputs(node: Any) -> list[str]:
    return [each for each in node.input if not each.startswith("^")]


def _is_data(node: Any) -> bool:
    from tensorflow.core.framework import types_pb2

    return node.attr["value"].tensor.dtype not in (types_pb2.DT_RESOURCE, types_pb2.DT_VARIANT)


def _said(operation: str, function: str) -> str:
    return f"has the operation {operation} in " + (f"the function {function}" if function else "its graph")
