"""Run a SavedModel with TensorFlow's C library, without Python TensorFlow.

Run as a script: CALLS OUTPUTS [LIBRARY]... The libraries are files of TF Text's folder python/ops. CALLS is JSON,
{"saved_model": its folder, "signatures": {signature: {"inputs": {name: [tensor name, values]}, "outputs": {name: tensor
name}}}, "steps": None or what `load_in_steps` takes}. OUTPUTS is written as JSON, {signature: {output: values}}.
"""

import ctypes
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

FLOAT, INT32, STRING = 1, 3, 7
KINDS = {FLOAT: np.float32, INT32: np.int32}
STRING_SIZE = 24  # of a TF_TString


def package(name: str) -> Path:
    return Path(importlib.util.find_spec(name).submodule_search_locations[0])


ctypes.CDLL(str(package("tensorflow") / "libtensorflow_framework.so.2"), mode=ctypes.RTLD_GLOBAL)
tf = ctypes.CDLL(str(package("tensorflow") / "libtensorflow_cc.so.2"), mode=ctypes.RTLD_GLOBAL)
for function, result in {
    "TF_NewStatus": ctypes.c_void_p,
    "TF_Message": ctypes.c_char_p,
    "TF_NewGraph": ctypes.c_void_p,
    "TF_NewDeprecatedSession": ctypes.c_void_p,
    "TF_NewSessionOptions": ctypes.c_void_p,
    "TF_LoadLibrary": ctypes.c_void_p,
    "TF_LoadSessionFromSavedModel": ctypes.c_void_p,
    "TF_GraphOperationByName": ctypes.c_void_p,
    "TF_AllocateTensor": ctypes.c_void_p,
    "TF_TensorData": ctypes.c_void_p,
    "TF_TensorByteSize": ctypes.c_size_t,
    "TF_Dim": ctypes.c_int64,
    "TF_StringGetDataPointer": ctypes.c_void_p,
    "TF_StringGetSize": ctypes.c_size_t,
}.items():
    getattr(tf, function).restype = result
status = ctypes.c_void_p(tf.TF_NewStatus())


class Output(ctypes.Structure):
    """TF_Output: a tensor of the graph."""

    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


def checked(result):
    if tf.TF_GetCode(status):
        raise RuntimeError(tf.TF_Message(status).decode())
    return result


def tensor_of(values: list | str) -> ctypes.c_void_p:
    array = np.array(values)
    kind = STRING if array.dtype.kind == "U" else INT32
    size = STRING_SIZE * array.size if kind == STRING else 4 * array.size
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    tensor = ctypes.c_void_p(tf.TF_AllocateTensor(kind, shape, array.ndim, ctypes.c_size_t(size)))
    data = tf.TF_TensorData(tensor)
    if kind == INT32:
        content = array.astype(np.int32).tobytes()
        ctypes.memmove(data, content, len(content))
        return tensor
    for number, word in enumerate(array.ravel()):
        place, content = ctypes.c_void_p(data + number * STRING_SIZE), str(word).encode()
        tf.TF_StringInit(place)
        tf.TF_StringCopy(place, content, ctypes.c_size_t(len(content)))
    return tensor


def values_of(tensor: ctypes.c_void_p) -> list:
    shape = [tf.TF_Dim(tensor, axis) for axis in range(tf.TF_NumDims(tensor))]
    kind, data = tf.TF_TensorType(tensor), tf.TF_TensorData(tensor)
    if kind != STRING:
        content = ctypes.string_at(data, tf.TF_TensorByteSize(tensor))
        return np.frombuffer(content, KINDS[kind]).reshape(shape).tolist()
    places = [ctypes.c_void_p(data + number * STRING_SIZE) for number in range(int(np.prod(shape)))]
    words = [ctypes.string_at(tf.TF_StringGetDataPointer(each), tf.TF_StringGetSize(each)) for each in places]
    return np.array([word.decode() for word in words]).reshape(shape).tolist()


def place_of(graph: ctypes.c_void_p, name: str) -> Output:
    operation, _, index = name.partition(":")
    found = tf.TF_GraphOperationByName(graph, operation.encode())
    assert found, name
    return Output(found, int(index))


def load(saved_model: str) -> Callable[..., dict]:
    """Load with TensorFlow's loader, which needs all operations of all functions."""
    graph, options = ctypes.c_void_p(tf.TF_NewGraph()), ctypes.c_void_p(tf.TF_NewSessionOptions())
    tags = (ctypes.c_char_p * 1)(b"serve")
    session = tf.TF_LoadSessionFromSavedModel(options, None, saved_model.encode(), tags, 1, graph, None, status)
    session = ctypes.c_void_p(checked(session))

    def call(inputs: dict, outputs: dict) -> dict:
        places = (Output * len(inputs))(*(place_of(graph, name) for name, _ in inputs.values()))
        wanted = (Output * len(outputs))(*(place_of(graph, name) for name in outputs.values()))
        tensors = (ctypes.c_void_p * len(outputs))()
        sources, targets = (places, tensors_of(inputs), len(inputs)), (wanted, tensors, len(outputs))
        checked(tf.TF_SessionRun(session, None, *sources, *targets, None, 0, None, status))
        return {name: values_of(ctypes.c_void_p(tensor)) for name, tensor in zip(outputs, tensors)}

    return call


def load_in_steps(graph: str, variables: dict, assets: dict, restore: str, initialize: str) -> Callable[..., dict]:
    """Load in the steps of TF Serving's loader: a session of the GraphDef, restore, initialize; no TF_Graph.

    https://github.com/tensorflow/tensorflow/blob/master/tensorflow/cc/saved_model/loader.cc
    """
    options = ctypes.c_void_p(tf.TF_NewSessionOptions())
    session = ctypes.c_void_p(checked(tf.TF_NewDeprecatedSession(options, status)))
    content = Path(graph).read_bytes()
    tf.TF_ExtendGraph(session, content, ctypes.c_size_t(len(content)), status)
    checked(None)

    def run(inputs: dict, outputs: dict, targets: tuple[str, ...] = ()) -> dict:
        sources = c_strings(name for name, _ in inputs.values()), tensors_of(inputs), len(inputs)
        tensors = (ctypes.c_void_p * len(outputs))()
        results = c_strings(outputs.values()), tensors, len(outputs)
        tf.TF_Run(session, None, *sources, *results, c_strings(targets), len(targets), None, status)
        checked(None)
        return {name: values_of(ctypes.c_void_p(tensor)) for name, tensor in zip(outputs, tensors)}

    run(variables | assets, {}, (restore,))
    run(assets, {}, (initialize,))
    return run


def tensors_of(inputs: dict) -> ctypes.Array:
    return (ctypes.c_void_p * len(inputs))(*(tensor_of(values).value for _, values in inputs.values()))


def c_strings(names: Iterable[str]) -> ctypes.Array:
    words = [name.encode() for name in names]
    return (ctypes.c_char_p * len(words))(*words)


def main(calls: str, output_file: str, *libraries: str) -> None:
    for library in libraries:
        checked(tf.TF_LoadLibrary(str(package("tensorflow_text") / "python" / "ops" / library).encode(), status))
    config = json.loads(Path(calls).read_text())
    call = load_in_steps(**config["steps"]) if config["steps"] else load(config["saved_model"])
    outputs = {signature: call(**tensors) for signature, tensors in config["signatures"].items()}
    assert "tensorflow" not in sys.modules
    Path(output_file).write_text(json.dumps(outputs))


if __name__ == "__main__":
    main(*sys.argv[1:])
