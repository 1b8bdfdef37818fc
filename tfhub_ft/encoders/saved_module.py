"""Open TF Hub modules so that Keras layers can save them."""

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

# The JSON description of an encoder that `describe` returns.
EncoderSpec = dict[str, Any]


def open_module(
    folder: Path,
    *,
    seed: int | None = None,
    variables: Sequence[Any] | None = None,
    keep_values: bool = False,
    name: str | None = None,
) -> tuple[Any, tempfile.TemporaryDirectory]:
    """Load a SavedModel from a private copy of its graph and assets; return the module and the copy.

    The copy stays while the returned object lives, and has the variables' values only with `keep_values`. `seed` seeds
    the random operations that were saved without one. `variables`, tf.Variables with the names of the module's, are
    used in their place. `name` replaces the folder in errors.
    """
    import tensorflow as tf
    import tensorflow_hub as hub
    import tensorflow_text  # noqa: F401  registers the operations of preprocessors

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
        with tf.variable_creator_scope(_reuse_variables(variables)):
            module = hub.load(str(copy), options=tf.saved_model.LoadOptions(experimental_skip_checkpoint=True))
    return module, workspace


def describe(module: Any, name: str) -> EncoderSpec:
    """Return the inputs, outputs, variables and options of a loaded encoder as JSON values."""
    inputs, outputs = input_specs(module, name), module.__call__.concrete_functions[0].structured_outputs
    if not hasattr(module, "variables") or not isinstance(outputs, dict):
        raise InputError(f"{name}: not a TF Hub text encoder (variables or named outputs not found)")
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
        "inputs": sorted(inputs),
        "outputs": {key: _shapes(outputs[key]) for key in OUTPUTS if key in outputs},
        "takes_training": "training" in module.__call__.function_spec.arg_names,
        "variables": variables,
        "max_seq_length": positions[0] if positions else None,
    }


def input_specs(module: Any, name: object) -> dict[str, Any]:
    """Return the tf.TensorSpecs of a loaded encoder's inputs; raise an InputError if it is not a text encoder."""
    functions = getattr(module.__call__, "concrete_functions", None) if callable(module) else None
    arguments = functions[0].structured_input_signature[0] if functions else ()
    specs = arguments[0] if arguments else None
    if isinstance(specs, dict) and "input_word_ids" in specs:
        return specs
    dtype = getattr(specs, "dtype", None)
    if not functions:
        actual = "a module that cannot be called (it only has signatures)"
    elif isinstance(specs, dict):
        actual = ", ".join(sorted(specs))
    else:
        actual = f"one {dtype.name} tensor" if dtype is not None else "an input that is not a dictionary"
    raise InputError(f"{name}: not a TF Hub text encoder; expected the inputs {', '.join(TOKEN_INPUTS)}, got {actual}")


def _reuse_variables(variables: Sequence[Any]) -> Callable[..., Any]:
    """Return a variable creator that returns existing variables by name."""
    by_name: dict[str, list[Any]] = {}
    for variable in variables:
        by_name.setdefault(variable.name.split(":")[0], []).append(variable)

    def creator(next_creator: Callable[..., Any], **options: Any) -> Any:
        return by_name[options["name"]].pop(0) if options["name"] in by_name else next_creator(**options)

    return creator


def _seed_random_operations(path: Path, seed: int) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    count = 0
    for graph in saved_model.meta_graphs:
        for function in graph.graph_def.library.function:
            for node in function.node_def:
                if node.op in RANDOM_OPERATIONS and not (node.attr["seed"].i or node.attr["seed2"].i):
                    count += 1
                    node.attr["seed"].i, node.attr["seed2"].i = seed, count
    path.write_bytes(saved_model.SerializeToString())


def _shapes(output: Any) -> list:
    return [_shapes(item) for item in output] if isinstance(output, list | tuple) else output.shape.as_list()
