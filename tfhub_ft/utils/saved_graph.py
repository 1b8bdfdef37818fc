"""Check the graph of a SavedModel before it is loaded.

It may compute and read its own assets. All nodes and all functions of the library are checked, also initializers,
branches, gradients and functions that no signature reaches.
"""

import contextlib
import hashlib
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tfhub_ft.utils.allowed_operations import ALLOWED, CHECKPOINTS, READS_ASSETS
from tfhub_ft.utils.errors import InputError, UntrustedCode
from tfhub_ft.utils.keras_compat import is_operation
from tfhub_ft.utils.trust import TRUST_VARIABLE, trusts_all

if TYPE_CHECKING:
    from tensorflow.core.framework.attr_value_pb2 import AttrValue
    from tensorflow.core.framework.node_def_pb2 import NodeDef
    from tensorflow.core.protobuf import meta_graph_pb2

SAVED_MODEL, OTHER_FORMATS = "saved_model.pb", ("saved_model.pbtxt", "saved_model.cpb")
_DEFAULTS = ("Const", "PlaceholderWithDefault")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# Operations that may pass on the name of a file to read, or to write, with their number of such inputs.
_PASS_TO_READ = {"Identity": 1}
_PASS_TO_WRITE = {"Identity": 1, "StringJoin": 1, "ShardedFilename": 1, "Pack": None}
_ASSET, _CHECKPOINT, _OTHER = "asset", "checkpoint", "other"
_INIT = "__saved_model_init_op"
# By the SHA-256 of saved_model.pb: the fault of the graph, and the names of its assets.
_checked: dict[str, tuple[str | None, tuple[str, ...]]] = {}


def load_graph(folder: Path, name: str | None = None) -> Any:
    """Check a SavedModel as `check_graph` does, and load it."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers the operations of tokenizers

    check_graph(folder, name)
    return tf.saved_model.load(str(folder))


def check_graph(folder: Path, name: str | None = None) -> None:
    """Raise an UntrustedCode if a SavedModel's graph does more than encoders and exports need, unless --trust is given.

    A missing or damaged graph raises an InputError. `name` is that of the model in errors, by default the folder.
    """
    name = name or str(folder)
    if not trusts_all():
        _raise_if_untrusted(name, _fault(folder, name))


def check_archive(path: Path) -> None:
    """Check the graphs in a .keras file as `check_graph` does; other files are left to the loader."""
    if trusts_all() or not zipfile.is_zipfile(path):
        return
    with contextlib.suppress(zipfile.BadZipFile, zlib.error, OSError), zipfile.ZipFile(path) as archive:
        for member in map(PurePosixPath, archive.namelist()):
            name = f"{path}: {member.parent}"
            if member.name in OTHER_FORMATS:
                _raise_if_untrusted(name, f"has its graph in {member.name}")
            if member.name == SAVED_MODEL:
                _raise_if_untrusted(name, _fault_of_content(archive.read(str(member)), name)[0])


def _raise_if_untrusted(name: str, fault: str | None) -> None:
    if fault:
        raise UntrustedCode(
            f"{name}: {fault}, which text encoders do not need, and a SavedModel is a program; pass --trust (in Python,"
            f" set {TRUST_VARIABLE}=1) if you trust its author"
        )


def _fault(folder: Path, name: str) -> str | None:
    others = [other for other in OTHER_FORMATS if (folder / other).exists()]
    if others:
        return f"has its graph in {others[0]}"
    try:
        content = (folder / SAVED_MODEL).read_bytes()
    except OSError as error:
        raise InputError(f"{name}: {SAVED_MODEL} cannot be read ({error.strerror or error}); restore it") from None
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
        raise InputError(f"{name}: {SAVED_MODEL} cannot be read (damaged or empty); restore it")
    try:
        fault = next((fault for graph in graphs if (fault := _Graph(graph).fault())), None)
    except (IndexError, RecursionError):
        fault = "has operations without their inputs, or a chain of operations that is too long"
    return fault, tuple(asset.filename for graph in graphs for asset in graph.asset_file_def)


class _Graph:
    """A graph with its functions; its own nodes are those of the function ""."""

    def __init__(self, graph: "meta_graph_pb2.MetaGraphDef"):
        self.graph, self._pass_on = graph, _PASS_TO_READ
        self.functions: dict[str, list[NodeDef]] = {}
        self.arguments: dict[str, list[str]] = {}
        self.duplicates: list[str] = []
        for function in graph.graph_def.library.function:
            name = function.signature.name
            if name in self.functions or not name:
                self.duplicates.append(name)
            self.functions[name] = list(function.node_def)
            self.arguments[name] = [arg.name for arg in function.signature.input_arg]
        self.functions[""], self.arguments[""] = list(graph.graph_def.node), []

    def fault(self) -> str | None:
        """Return what the graph may not do; None if it is allowed."""
        if self.duplicates:
            return f"has the function {self.duplicates[-1]} twice"
        file_nodes = []
        for function, nodes in self.functions.items():
            for node in nodes:
                if self._is_unknown(node.op) or not all(map(self._is_function, _named_functions(node.attr.values()))):
                    return _describe(node.op, function)
                if node.op == "Const" and not _is_data(node):
                    return f"{_describe(node.op, function)} that contains a resource"
                if node.op in READS_ASSETS or node.op in CHECKPOINTS:
                    file_nodes.append((function, node))
        return next((fault for function, node in file_nodes if (fault := self._file_fault(function, node))), None)

    def _is_unknown(self, operation: str) -> bool:
        known = operation in ALLOWED or operation in READS_ASSETS or operation in CHECKPOINTS
        return not (known or self._is_function(operation))

    def _is_function(self, name: str) -> bool:
        """Return whether a name is that of a function and not of an operation, which would take precedence."""
        return bool(name) and name in self.functions and not is_operation(name)

    def _file_fault(self, function: str, node: "NodeDef") -> str | None:
        """Return the fault of an operation on a file, which may be an asset or a checkpoint of the model's saver."""
        is_asset = node.op in READS_ASSETS
        expected = {_ASSET if is_asset else _CHECKPOINT}
        inputs, data = (READS_ASSETS if is_asset else CHECKPOINTS)[node.op], _data_inputs(node)
        self._pass_on = _PASS_TO_WRITE if node.op in ("SaveV2", "MergeV2Checkpoints") else _PASS_TO_READ
        if all(self._origins(function, data[index], set()) == expected for index in inputs):
            return None
        file = "a file that is not an asset of the model" if is_asset else "a file outside its saver"
        return f"{_describe(node.op, function)}, on {file}"

    def _origins(self, function: str, tensor: str, seen: set[tuple[str, str]]) -> set[str]:
        """Return the origins of the values of a tensor: `_ASSET`, `_CHECKPOINT` or `_OTHER`."""
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
        if node.op not in self._pass_on:
            return {_OTHER}
        return {
            origin
            for each in _data_inputs(node)[: self._pass_on[node.op]]
            for origin in self._origins(function, each, seen)
        }

    def _origins_of_argument(self, function: str, index: int, seen: set[tuple[str, str]]) -> set[str]:
        origins = set()
        objects = self.graph.object_graph_def
        if function in objects.concrete_functions:
            bound = objects.concrete_functions[function].bound_inputs
            place = index - (len(self.arguments[function]) - len(bound))
            is_asset = place >= 0 and objects.nodes[bound[place]].WhichOneof("kind") == "asset"
            origins.add(_ASSET if is_asset else _OTHER)
        for caller, node in self._callers[function]:
            data = _data_inputs(node)
            if (node.op not in _CALLS and node.op != function) or index >= len(data):
                return {_OTHER}
            origins |= self._origins(caller, data[index], seen)
        return origins

    def _origins_of_variable(self, tensor: str, seen: set[tuple[str, str]]) -> set[str]:
        """Return the origins of the values that are assigned to a variable of the graph."""
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
        names, origins = {name for _, name in handles}, {_OTHER for function, _ in handles if function}
        for node in self.functions[""]:
            data = _data_inputs(node)
            is_used = not names.isdisjoint(map(_node_name, data))
            if is_used and node.op not in ("ReadVariableOp", "VarIsInitializedOp"):
                origins |= self._origins("", data[1], seen) if node.op == "AssignVariableOp" else {_OTHER}
        return origins

    @cached_property
    def _fed_nodes(self) -> dict[str, str]:
        """The origins of the nodes of the graph whose values the loader feeds, and not a signature."""
        signatures = self.graph.signature_def
        inputs = {_node_name(info.name) for each in signatures.values() for info in each.inputs.values()}
        outputs = {
            name: [info.name for info in each.outputs.values()] for name, each in signatures.items() if name != _INIT
        }
        used = self._ancestors([name for each in outputs.values() for name in each])
        initialized = [info.name for info in signatures[_INIT].outputs.values()] if _INIT in signatures else []
        for collection in ("saved_model_main_op", "legacy_init_op"):
            if collection in self.graph.collection_def:
                initialized += self.graph.collection_def[collection].node_list.value
        fed = {_node_name(asset.tensor_info.name): _ASSET for asset in self.graph.asset_file_def}
        saver = _node_name(self.graph.saver_def.filename_tensor_name)
        if saver not in self._ancestors(initialized):
            fed[saver] = _CHECKPOINT
        # A placeholder lacks a default value that a signature could use.
        return {
            name: kind
            for name, kind in fed.items()
            if name not in inputs
            and (node := self._nodes[""].get(name))
            and (node.op == "Placeholder" or (node.op in _DEFAULTS and name not in used))
        }

    def _ancestors(self, tensors: list[str]) -> set[str]:
        """Return the nodes of the graph that tensors are computed from."""
        ancestors, queue = set(), [_node_name(each) for each in tensors]
        while queue:
            name = queue.pop()
            if name not in ancestors and name in self._nodes[""]:
                ancestors.add(name)
                queue += map(_node_name, self._nodes[""][name].input)
        return ancestors

    @cached_property
    def _nodes(self) -> "dict[str, dict[str, NodeDef]]":
        return {name: {node.name: node for node in nodes} for name, nodes in self.functions.items()}

    @cached_property
    def _callers(self) -> "dict[str, list[tuple[str, NodeDef]]]":
        """The callers of each function: a function and its node."""
        callers = defaultdict(list)
        for caller, nodes in self.functions.items():
            for node in nodes:
                for called in (node.op, *_named_functions(node.attr.values())):
                    callers[called].append((caller, node))
        return callers


def _named_functions(attributes: "Iterable[AttrValue]") -> Iterator[str]:
    """Yield the names of the functions in an operation's attributes."""
    for attribute in attributes:
        kind = attribute.WhichOneof("value")
        for function in (attribute.func,) if kind == "func" else attribute.list.func if kind == "list" else ():
            yield function.name
            yield from _named_functions(function.attr.values())


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").split(":")[0]


def _data_inputs(node: "NodeDef") -> list[str]:
    return [each for each in node.input if not each.startswith("^")]


def _is_data(node: "NodeDef") -> bool:
    import tensorflow as tf

    dtype = node.attr["value"].tensor.dtype
    return dtype not in (tf.resource.as_datatype_enum, tf.variant.as_datatype_enum)


def _describe(operation: str, function: str) -> str:
    return f"has the operation {operation} in " + (f"the function {function}" if function else "its graph")
