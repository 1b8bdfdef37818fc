"""Detect TF Hub encoders that `bert_forward` can compute."""

import contextlib
import dataclasses
import hashlib
import itertools
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.encoders.bert_forward import OPTIONAL_PARTS, PARTS, Architecture, encode, role_of
from tfhub_ft.encoders.saved_module import EncoderSpec, describe, open_module
from tfhub_ft.utils.cache import cache_dir
from tfhub_ft.utils.devices import pin_to_cpu
from tfhub_ft.utils.documents import read_json
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import sha256_of, write_json

if TYPE_CHECKING:
    import tensorflow as tf

TOLERANCE = 1e-4
# A SavedModel does not name its activation and epsilon: those that reproduce its outputs best are chosen.
ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "silu")
EPSILONS = (1e-12, 1e-6, 1e-5, 1e-3)
LENGTHS = (5, 24)


class UnknownFamily(InputError):
    """An encoder that is not a BERT, DistilBERT, ELECTRA or ALBERT as on TF Hub, for a `reason`."""

    def __init__(self, name: str, reason: str):
        super().__init__(
            f"{name}: not a BERT, DistilBERT, ELECTRA or ALBERT that can be computed natively ({reason}); pass"
            " --implementation graph or auto"
        )
        self.reason = reason


def native_spec(folder: Path, name: str) -> EncoderSpec:
    """Return what `describe` returns, for variables with a role only, and the fields of the "architecture".

    The outputs of both implementations are compared once, and the result is cached.
    """
    key = hashlib.sha256()
    for file in ("saved_model.pb", "variables/variables.index"):
        key.update(sha256_of(folder / file).encode())
    cache_file = cache_dir() / "native" / f"{key.hexdigest()[:32]}.json"
    # A damaged file is replaced. An unwritable cache is ignored.
    with contextlib.suppress(InputError):
        return read_json(cache_file, {"architecture": dict, "variables": [dict], "outputs": dict})
    module, _workspace = open_module(folder)
    spec = describe(module, name)
    architecture = recognize(module, spec, folder, name)
    variables = [variable for variable in spec["variables"] if role_of(variable["name"])]
    spec = {**spec, "variables": variables, "architecture": dataclasses.asdict(architecture)}
    with contextlib.suppress(OSError, RunError):
        write_json(cache_file, spec)
    return spec


def read_values(folder: Path) -> dict[str, np.ndarray]:
    """Return the values of a SavedModel's variables by name, from its checkpoint, without loading its graph."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2, trackable_object_graph_pb2

    saved_model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    checkpoint_nodes = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
        reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
    ).nodes
    nodes, values = saved_model.meta_graphs[0].object_graph_def.nodes, {}
    # The object graphs of the SavedModel and of its checkpoint have the same edges, but can number nodes differently.
    # The checkpoint's own names of variables are empty for variables of a distribution strategy.
    stack, visited = [(0, 0)], set()
    while stack:
        node_id, checkpoint_id = stack.pop()
        if node_id in visited:
            continue
        visited.add(node_id)
        node, checkpoint_node = nodes[node_id], checkpoint_nodes[checkpoint_id]
        if node.HasField("variable") and checkpoint_node.attributes:
            values[node.variable.name.split(":")[0]] = reader.get_tensor(checkpoint_node.attributes[0].checkpoint_key)
        checkpoint_ids = {child.local_name: child.node_id for child in checkpoint_node.children}
        stack += [
            (child.node_id, checkpoint_ids[child.local_name])
            for child in node.children
            if child.local_name in checkpoint_ids
        ]
    return values


def recognize(module: Any, spec: EncoderSpec, folder: Path, name: str) -> Architecture:
    """Return the architecture with which `encode` reproduces a loaded SavedModel; raise an UnknownFamily otherwise."""
    roles = [role_of(variable["name"]) for variable in spec["variables"]]
    weights = {role: value for role, value in zip(roles, module.variables, strict=True) if role}
    parts = {part for part in PARTS if any(f"{part}/" in role for role in weights)}
    if missing := [part for part in PARTS if part not in parts and part not in OPTIONAL_PARTS]:
        raise UnknownFamily(name, f"weights not found: {', '.join(missing[:3])}")
    if unknown := [v["name"] for v in spec["variables"] if not role_of(v["name"]) and v["shape"]]:
        raise UnknownFamily(name, f"weights that a BERT does not have: {', '.join(unknown[:3])}")
    outputs = spec["outputs"].get("encoder_outputs")
    layers = 1 + max(int(role.split("/")[0][6:]) for role in weights if role.startswith("layer_"))
    shared = layers == 1 and bool(outputs) and len(outputs) > 1
    dropout, attention_dropout = _dropout_rates(folder)
    architecture = Architecture(
        layers=len(outputs) if shared else layers,
        shared=shared,
        heads=weights["layer_0/self_attention/query/kernel"].shape[1],
        dropout=dropout,
        attention_dropout=attention_dropout,
    )
    return _fit(module, spec, weights, architecture, name)


@pin_to_cpu
def _fit(
    module: Any, spec: EncoderSpec, weights: dict[str, Any], architecture: Architecture, name: str
) -> Architecture:
    """Return the architecture with the activation and the epsilon of the module."""
    import tensorflow as tf

    batches = [_random_tokens(weights, length) for length in LENGTHS]
    options = {"training": False} if spec["takes_training"] else {}
    expected = [module({name: tf.constant(batch[name]) for name in spec["inputs"]}, **options) for batch in batches]
    tensors = {role: tf.convert_to_tensor(value) for role, value in weights.items()}
    candidates = [
        dataclasses.replace(architecture, activation=activation, epsilon=epsilon)
        for activation, epsilon in itertools.product(ACTIVATIONS, EPSILONS)
    ]
    differences = [_difference(tensors, candidate, batches[:1], expected[:1]) for candidate in candidates]
    best = candidates[int(np.argmin(np.nan_to_num(differences, nan=np.inf)))]
    difference = _difference(tensors, best, batches, expected)
    if not difference <= TOLERANCE:
        raise UnknownFamily(name, f"its outputs differ by {difference:.2g} from those of a BERT with its weights")
    return best


def _random_tokens(weights: dict[str, Any], length: int) -> dict[str, np.ndarray]:
    """Return random token ids, with padding and two segments."""
    rng = np.random.default_rng(0)
    length = min(length, weights["position_embedding/embeddings"].shape[0])
    lengths = np.array([length, length - 1, max(length // 2, 1)])
    mask = (np.arange(length) < lengths[:, None]).astype("int32")
    ids = rng.integers(0, weights["word_embeddings/embeddings"].shape[0], mask.shape).astype("int32")
    types = (np.arange(length) >= lengths[:, None] // 2) * mask
    return {"input_word_ids": ids * mask, "input_mask": mask, "input_type_ids": types.astype("int32")}


def _difference(
    tensors: "dict[str, tf.Tensor]", architecture: Architecture, batches: list[dict], expected: list[dict]
) -> float:
    """Return the largest difference of an output at a token, relative to the largest value."""
    largest = 0.0
    for tokens, reference in zip(batches, expected, strict=True):
        outputs, is_token = encode(tensors, architecture, tokens, dtype="float32"), tokens["input_mask"] > 0
        for output in ("pooled_output", "sequence_output", "encoder_outputs"):
            if output in reference:
                ours, theirs = np.asarray(outputs[output]), np.asarray(reference[output])
                if ours.shape != theirs.shape:
                    return float("inf")
                if output != "pooled_output":
                    ours, theirs = ours[..., is_token, :], theirs[..., is_token, :]
                largest = max(largest, float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max())))
    return largest


def _dropout_rates(folder: Path) -> tuple[float, ...]:
    """Return the dropout rates of hidden states and attention probabilities in a SavedModel's training graph."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    saved_model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    hidden_rates, attention_rates = Counter(), Counter()
    for function in saved_model.meta_graphs[0].graph_def.library.function:
        constants = {node.name: node for node in function.node_def if node.op == "Const"}
        for node in function.node_def:
            rate = constants.get(node.input[1].split(":")[0]) if node.op == "GreaterEqual" else None
            if rate is not None and "dropout" in node.name:
                rates = attention_rates if "self_attention/dropout" in node.name else hidden_rates
                rates[round(float(tf.make_ndarray(rate.attr["value"].tensor)), 6)] += 1
    # tf-models uses the attention's rate for its output, too, so the hidden states' rate is the more common one.
    return tuple(rates.most_common(1)[0][0] if rates else 0.0 for rates in (hidden_rates, attention_rates))
