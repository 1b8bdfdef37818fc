"""Detect whether a TF Hub encoder is a BERT that `bert_forward.py` computes, once for each, kept in the cache."""

import contextlib
import dataclasses
import hashlib
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from tfhub_ft.encoders.bert_forward import OPTIONAL_PARTS, PARTS, Architecture, encode, role_of
from tfhub_ft.encoders.saved_module import describe, open_module
from tfhub_ft.utils.cache import cache_dir
from tfhub_ft.utils.devices import pin_to_cpu
from tfhub_ft.utils.documents import read_json
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import sha256_of, write_json

TOLERANCE = 1e-4
ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "silu")
EPSILONS = (1e-12, 1e-6, 1e-5, 1e-3)
LENGTHS = (5, 24)


class UnknownFamily(InputError):
    """An encoder that is no BERT, DistilBERT, ELECTRA or ALBERT as TF Hub has them; its `why` says what tells."""

    def __init__(self, name: str, why: str):
        super().__init__(
            f"{name} is of no family that is computed natively (BERT, DistilBERT, ELECTRA and ALBERT as TF Hub has"
            f" them): {why}; leave --implementation out, or take graph"
        )
        self.why = why


def native_spec(folder: Path, name: str) -> dict[str, Any]:
    """What `HubEncoder` must know of an encoder to compute it natively.

    The first time, the SavedModel is loaded, and both compute the same tokens: every output must agree to 1e-4. What a
    SavedModel does not say in numbers (the activation, the epsilon of its norms) is what fits its answers best.

    Args:
        folder: the SavedModel's.
        name: how to call it in an error.

    Returns:
        What `describe` gives, its variables being those with a role, and "architecture", the fields of `Architecture`.

    Raises:
        UnknownFamily: it is of no family that is known, or answers differently.
    """
    key = hashlib.sha256()
    for file in ("saved_model.pb", "variables/variables.index"):
        key.update(sha256_of(folder / file).encode())
    kept = cache_dir() / "native" / f"{key.hexdigest()[:32]}.json"
    # A damaged file is replaced; where the cache cannot be written, it is found out each time.
    with contextlib.suppress(InputError):
        return read_json(kept, {"architecture": dict, "variables": [dict], "outputs": dict})
    spec = _recognized(folder, name)
    with contextlib.suppress(OSError, RunError):
        write_json(kept, spec)
    return spec


def read_values(folder: Path) -> dict[str, np.ndarray]:
    """The values of a SavedModel's variables by name, read from its checkpoint without loading its graph."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2, trackable_object_graph_pb2

    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
        reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
    )
    nodes, values = saved.meta_graphs[0].object_graph_def.nodes, {}
    # Both say what belongs to what, but need not number it alike.
    waiting, seen = [(0, 0)], set()
    while waiting:
        number, held = waiting.pop()
        if number in seen:
            continue
        seen.add(number)
        if nodes[number].HasField("variable") and graph.nodes[held].attributes:
            name = nodes[number].variable.name.split(":")[0]
            values[name] = reader.get_tensor(graph.nodes[held].attributes[0].checkpoint_key)
        places = {child.local_name: child.node_id for child in graph.nodes[held].children}
        children = nodes[number].children
        waiting += [(child.node_id, places[child.local_name]) for child in children if child.local_name in places]
    return values


def _recognized(folder: Path, name: str) -> dict[str, Any]:
    module, _workspace = open_module(folder)
    spec = describe(module, name)
    architecture = recognize(module, spec, folder, name)
    known = [variable for variable in spec["variables"] if role_of(variable["name"])]
    return {**spec, "variables": known, "architecture": dataclasses.asdict(architecture)}


def recognize(module: Any, spec: dict[str, Any], folder: Path, name: str) -> Architecture:
    """The architecture by which `encode` gives what a loaded encoder gives, with the weights that it has now.

    Args:
        module: the loaded SavedModel.
        spec: what `describe` gives of it.
        folder: holds its saved_model.pb.
        name: how to call it in an error.

    Raises:
        UnknownFamily: there is none.
    """
    roles = [role_of(variable["name"]) for variable in spec["variables"]]
    weights = {role: value for role, value in zip(roles, module.variables, strict=True) if role}
    _check_weights(spec, weights, name)
    outputs = spec["outputs"].get("encoder_outputs")
    layers = 1 + max(int(role.split("/")[0][6:]) for role in weights if role.startswith("layer_"))
    shared = layers == 1 and bool(outputs) and len(outputs) > 1
    architecture = Architecture(
        layers=len(outputs) if shared else layers,
        shared=shared,
        heads=weights["layer_0/self_attention/query/kernel"].shape[1],
        **_dropout_rates(folder),
    )
    return _fitted(module, spec, weights, architecture, name)


def _check_weights(spec: dict[str, Any], weights: dict[str, Any], name: str) -> None:
    """Raise an InputError that names weights which a BERT has and this encoder has not, or the other way round."""
    odd = [v["name"] for v in spec["variables"] if not role_of(v["name"]) and len(v["shape"]) > 0]
    parts = {part for part in PARTS if any(f"{part}/" in role for role in weights)}
    missing = [part for part in PARTS if part not in parts and part not in OPTIONAL_PARTS]
    if missing:
        raise UnknownFamily(name, f"it has no weights called {', '.join(missing[:3])}")
    if odd:
        raise UnknownFamily(name, f"its weights {', '.join(odd[:3])} have no place in a BERT")


@pin_to_cpu
def _fitted(
    module: Any, spec: dict[str, Any], weights: dict[str, Any], architecture: Architecture, name: str
) -> Architecture:
    """The architecture with the activation and the epsilon that the module has."""
    import tensorflow as tf

    batches = [_tokens(weights, length) for length in LENGTHS]
    expected = [_outputs(module, spec, tokens) for tokens in batches]
    tensors = {role: tf.convert_to_tensor(value) for role, value in weights.items()}
    candidates = [
        dataclasses.replace(architecture, activation=activation, epsilon=epsilon)
        for activation, epsilon in itertools.product(ACTIVATIONS, EPSILONS)
    ]
    differences = [_difference(tensors, each, batches[:1], expected[:1]) for each in candidates]
    best = candidates[int(np.argmin(np.nan_to_num(differences, nan=np.inf)))]
    difference = _difference(tensors, best, batches, expected)
    if not difference <= TOLERANCE:
        raise UnknownFamily(name, f"its answers differ by {difference:.2g} from those of a BERT with its weights")
    return best


def _tokens(weights: dict[str, Any], length: int) -> dict[str, np.ndarray]:
    """Random token ids, rows of which are padded, in two segments."""
    random = np.random.default_rng(0)
    length = min(length, weights["position_embedding/embeddings"].shape[0])
    lengths = np.array([length, length - 1, max(length // 2, 1)])
    mask = (np.arange(length) < lengths[:, None]).astype("int32")
    ids = random.integers(0, weights["word_embeddings/embeddings"].shape[0], mask.shape).astype("int32")
    types = (np.arange(length) >= lengths[:, None] // 2) * mask
    return {"input_word_ids": ids * mask, "input_mask": mask, "input_type_ids": types.astype("int32")}


def _outputs(module: Any, spec: dict[str, Any], tokens: dict[str, np.ndarray]) -> dict[str, Any]:
    import tensorflow as tf

    options = {"training": False} if spec["takes_training"] else {}
    return module({name: tf.constant(tokens[name]) for name in spec["inputs"]}, **options)


def _difference(
    tensors: dict[str, Any], architecture: Architecture, batches: list[dict], expected: list[dict]
) -> float:
    """The largest difference of an output at a token, beside the size of the largest value."""
    worst = 0.0
    for tokens, wanted in zip(batches, expected, strict=True):
        answers, here = encode(tensors, architecture, tokens, dtype="float32"), tokens["input_mask"] > 0
        for output in ("pooled_output", "sequence_output", "encoder_outputs"):
            if output in wanted:
                own, its = (np.asarray(each[output]) for each in (answers, wanted))
                if own.shape != its.shape:
                    return float("inf")
                own, its = (own, its) if output == "pooled_output" else (own[..., here, :], its[..., here, :])
                worst = max(worst, float(np.abs(own - its).max() / max(1.0, np.abs(its).max())))
    return worst


def _dropout_rates(folder: Path) -> dict[str, float]:
    """The shares of values that a SavedModel's training sets to zero, as far as its graph tells them."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    rates: dict[str, Counter] = {"dropout": Counter(), "attention_dropout": Counter()}
    for function in saved.meta_graphs[0].graph_def.library.function:
        constants = {node.name: node for node in function.node_def if node.op == "Const"}
        for node in function.node_def:
            rate = constants.get(node.input[1].split(":")[0]) if node.op == "GreaterEqual" else None
            if rate is not None and "dropout" in node.name:
                kind = "attention_dropout" if "self_attention/dropout" in node.name else "dropout"
                rates[kind][round(float(tf.make_ndarray(rate.attr["value"].tensor)), 6)] += 1
    # tf-models gives what leaves the attention the rate of its probabilities: a hidden state's is the commoner one.
    return {kind: found.most_common(1)[0][0] if found else 0.0 for kind, found in rates.items()}
