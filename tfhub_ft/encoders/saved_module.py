"""A TF Hub module opened so that a Keras layer can carry it: its graph and assets kept, its dropout seeded."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tfhub_ft.encoders.packing import TOKEN_INPUTS
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import copy_folder, temporary_folder
from tfhub_ft.utils.saved_graph import check_graph

VARIABLES = "variables"
OUTPUTS = ("pooled_output", "sequence_output", "encoder_outputs")
RANDOM_OPERATIONS = ("RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal")


def open_module(
    folder: Path,
    *,
    seed: int | None = None,
    variables: Sequence[Any] | None = None,
    keep_values: bool = False,
    name: str | None = None,
) -> tuple[Any, tempfile.TemporaryDirectory]:
    """Load a SavedModel from a private copy of its graph and assets.

    The copy outlives the folder that it was made of, as long as the returned workspace lives: the layers write it into
    `.keras` files, and exports read the vocabulary from it.

    Args:
        folder: a SavedModel folder.
        seed: given to every random operation that was saved without one, which would otherwise differ from run to run.
        variables: tf.Variables, named as the module's own, that take their places with the values that they hold.
            Without, the module's variables are made and read from the folder.
        keep_values: whether the variables' values are kept with the graph, where they are few.
        name: what to call it in an error; by default the folder.

    Returns:
        The loaded module, and the workspace that holds its files, without the variables' values unless they are kept.

    Raises:
        UntrustedCode: its graph may do more than compute, and --trust is not given.
        InputError: it has no graph that can be read.
    """
    import tensorflow as tf
    import tensorflow_hub as hub
    import tensorflow_text  # noqa: F401  registers the operations that preprocessors use

    check_graph(folder, name)
    workspace = temporary_folder()
    copy = Path(workspace.name)
    copy_folder(Path(folder), copy, {"keras_metadata.pb"} if keep_values else {"keras_metadata.pb", VARIABLES})
    if seed is not None:
        _seed_random_operations(copy / "saved_model.pb", seed)
    if keep_values:
        module = hub.load(str(copy))
    elif variables is None:
        (copy / VARIABLES).symlink_to(Path(folder).resolve() / VARIABLES, target_is_directory=True)
        module = hub.load(str(copy))
        (copy / VARIABLES).unlink()
    else:
        with tf.variable_creator_scope(_in_place_of(variables)):
            module = hub.load(str(copy), options=tf.saved_model.LoadOptions(experimental_skip_checkpoint=True))
    return module, workspace


def describe(module: Any, name: str) -> dict[str, Any]:
    """Describe a loaded encoder in plain values.

    Args:
        module: a loaded SavedModel.
        name: its name in errors.

    Returns:
        {"inputs": names, "outputs": {name: shape or shapes}, "takes_training": bool, "variables": a list of
        {"name", "shape", "dtype", "trainable"}, "max_seq_length": int or None}.

    Raises:
        InputError: the module is not a text encoder.
    """
    features, outputs = input_specs(module, name), module.__call__.concrete_functions[0].structured_outputs
    if not hasattr(module, "variables") or not isinstance(outputs, dict):
        raise InputError(f"{name} is a SavedModel but not a TF Hub text encoder: no variables or no outputs by name")
    trainable = {v.ref() for v in module.trainable_variables}
    variables = [
        {
            "name": v.name.split(":")[0],
            "shape": v.shape.as_list(),
            "dtype": v.dtype.name,
            "trainable": v.ref() in trainable,
        }
        for v in module.variables
    ]
    positions = [v["shape"][0] for v in variables if "position_embedding" in v["name"]]
    return {
        "inputs": sorted(features),
        "outputs": {key: _shapes(outputs[key]) for key in OUTPUTS if key in outputs},
        "takes_training": "training" in module.__call__.function_spec.arg_names,
        "variables": variables,
        "max_seq_length": positions[0] if positions else None,
    }


def input_specs(module: Any, name: Any) -> dict[str, Any]:
    """Return the specs of a loaded encoder's inputs by name.

    Raises:
        InputError: the module is not a text encoder; the error says what it takes.
    """
    functions = getattr(module.__call__, "concrete_functions", None) if callable(module) else None
    arguments = functions[0].structured_input_signature[0] if functions else ()
    specs = arguments[0] if arguments else None
    if isinstance(specs, dict) and "input_word_ids" in specs:
        return specs
    if not functions:
        taken = "cannot be called (it only has signatures)"
    elif isinstance(specs, dict):
        taken = f"takes {', '.join(sorted(specs))}"
    else:
        dtype = getattr(specs, "dtype", None)
        taken = f"takes one tensor of {dtype.name}s" if dtype is not None else "takes no dictionary"
    raise InputError(
        f"{name} is a SavedModel but not a TF Hub text encoder: it {taken}, a text encoder takes"
        f" {', '.join(TOKEN_INPUTS)}"
    )


def _in_place_of(variables: Sequence[Any]) -> Callable[..., Any]:
    waiting: dict[str, list[Any]] = {}
    for variable in variables:
        waiting.setdefault(variable.name.split(":")[0], []).append(variable)

    def creator(next_creator: Callable[..., Any], **options: Any) -> Any:
        return waiting[options["name"]].pop(0) if options["name"] in waiting else next_creator(**options)

    return creator


def _seed_random_operations(path: Path, seed: int) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    count = 0
    for graph in saved.meta_graphs:
        for function in graph.graph_def.library.function:
            for node in function.node_def:
                if node.op in RANDOM_OPERATIONS and not (node.attr["seed"].i or node.attr["seed2"].i):
                    count += 1
                    node.attr["seed"].i, node.attr["seed2"].i = seed, count
    path.write_bytes(saved.SerializeToString())


def _shapes(output: Any) -> list:
    return [_shapes(each) for each in output] if isinstance(output, list | tuple) else output.shape.as_list()
