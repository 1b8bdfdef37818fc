"""A TF Hub module opened so that a Keras layer can carry it: its graph and assets kept, its dropout seeded."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tfhub_ft.utils.files import copy_folder, temporary_folder
from tfhub_ft.utils.saved_graph import check_graph

VARIABLES = "variables"
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
