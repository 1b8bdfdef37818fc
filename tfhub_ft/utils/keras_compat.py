"""All uses of private APIs of Keras, KerasHub and TensorFlow without public equivalents, each imported on use."""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from keras.optimizers import Optimizer
    from keras_hub.tokenizers import BytePairTokenizer
else:
    BytePairTokenizer = Optimizer = object

# The modules that register classes with Keras.
REGISTERING = ("encoders.hub_encoder", "encoders.window_preprocessor", "encoders.row_window_preprocessor")
REGISTERING += ("models.heads", "models.window_pooling", "models.masking", "tasks.losses", "training.optimizer")
REGISTERING += ("language_models.language_model_layer", "language_models.dialogue_preprocessor")
REGISTERING += ("language_models.byte_pair", "training.train_step")


class _LazyObjects(dict):
    """Keras' registered objects by name; looking up one of this package imports modules until it is registered."""

    def __contains__(self, name: object) -> bool:
        modules = iter(REGISTERING if str(name).startswith("tfhub_ft>") else ())
        while not super().__contains__(name) and (module := next(modules, None)):
            with suppress(ModuleNotFoundError):
                importlib.import_module(f"tfhub_ft.{module}")
        return super().__contains__(name)


class _RegistryFinder:
    """An import hook that makes Keras' registry lazy as soon as it is imported."""

    @classmethod
    def find_spec(cls, fullname: str, *_: object) -> ModuleSpec | None:
        registry = sys.modules.get("keras.src.saving.object_registration")
        if not hasattr(registry, "GLOBAL_CUSTOM_OBJECTS"):
            return None
        vars(registry)["GLOBAL_CUSTOM_OBJECTS"] = _LazyObjects(vars(registry)["GLOBAL_CUSTOM_OBJECTS"])
        sys.meta_path.remove(cls)
        return importlib.util.find_spec(fullname)


def register_lazily() -> None:
    """Let Keras find the registered classes of this package before their modules are imported.

    `keras.saving.get_custom_objects` returns the registry, which lacks a hook for missing names.
    """
    sys.meta_path.insert(0, _RegistryFinder)
    # Keras may be imported already.
    _RegistryFinder.find_spec("tfhub_ft")


class OneLineError(Exception):
    """An error to which Keras does not add the arguments of the layer's call, several lines."""

    _keras_call_info_injected = True


def _global_attribute(name: str) -> Any:
    from keras.src.backend.common import global_state

    return global_state.get_global_attribute(name)


def entry_layer() -> "keras.layers.Layer | None":
    """Return the outermost layer or model of the current call, None outside of calls."""
    context = _global_attribute("current_call_ctx")
    return context.entry_layer if context else None


def is_building() -> bool:
    """Return whether Keras calls layers only to build them, in a `keras.StatelessScope`."""
    return _global_attribute("stateless_scope") is not None


def is_reading_legacy_file() -> bool:
    """Return whether Keras creates layers for a model in an `.h5` file, which contains weights but not assets."""
    return bool(_global_attribute("use_legacy_config"))


def flatten_layers(layer: "keras.layers.Layer", include_self: bool = True) -> list[Any]:
    """Return a layer or model and all nested layers; `Model.layers` are those of the first level."""
    return layer._flatten_layers(include_self=include_self)


def untrack_variable(layer: "keras.layers.Layer", variable: "keras.Variable") -> None:
    """Remove a variable from a layer's weights, the opposite of `add_weight`."""
    layer._untrack_variable(variable)


def input_operation(tensor: Any) -> Any:
    """Return the operation that computes a symbolic tensor, None for other values."""
    return getattr(getattr(tensor, "_keras_history", None), "operation", None)


def input_tensors(tensor: Any) -> list[Any]:
    """Return the symbolic inputs of the call that computes a symbolic tensor."""
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index].input_tensors


def inbound_nodes(operation: Any) -> list[Any]:
    """Return the calls of a layer on symbolic tensors."""
    return operation._inbound_nodes


def nodes_in_order(model: "keras.Model") -> list[Any]:
    """Return the calls of a functional model's layers in topological order."""
    depths = vars(model)["_nodes_by_depth"]
    return [node for depth in sorted(depths, reverse=True) for node in depths[depth]]


def loss_tracker(model: "keras.Model") -> "keras.metrics.Mean":
    """Return the loss metric of a compiled model, which a custom `train_step` must update."""
    return model._loss_tracker


def build_for_batch(model: "keras.Model", batch: object) -> None:
    """Build a compiled model's metrics and optimizer for a batch, as `fit` does before the first step."""
    model._symbolic_build(data_batch=batch)


class PrebuiltModel:
    """A mixin for models that `build_for_batch` has built; `fit` of Keras 3.15 fails to do so with several workers.

    https://github.com/keras-team/keras/issues/20585
    """

    def _maybe_symbolic_build(self, iterator: object = None, data_batch: object = None) -> None:
        pass


def unscaled_loss(loss: Any) -> Any:
    """Return a loss without Keras' division by the number of replicas, which assumes parts of equal size.

    https://github.com/keras-team/keras/issues/19891
    """
    from keras.src.losses.loss import unscale_loss_for_distribution

    return unscale_loss_for_distribution(loss)


def logs_need_an_axis(strategy: "tf.distribute.Strategy") -> bool:
    """Return whether Keras reduces logs along axis 0, as Keras 3.15 does with `MultiWorkerMirroredStrategy`.

    https://github.com/keras-team/keras/issues/20585
    """
    import tensorflow as tf
    from keras.src.backend.tensorflow.trainer import reduce_per_replica

    try:
        reduce_per_replica(tf.zeros(()), strategy, "mean")
    except ValueError:
        return True
    return False


def learning_rates(optimizer: Optimizer, steps: Any) -> Any:
    """Return the learning rates of steps by the optimizer's schedule."""
    return optimizer._learning_rate(steps)


def weight_decay_of(optimizer: Optimizer, variable: "keras.Variable | tf.Variable") -> float:
    """Return the weight decay of a variable, 0 after `exclude_from_weight_decay`."""
    return optimizer.weight_decay if optimizer.weight_decay and optimizer._use_weight_decay(variable) else 0.0


def adam_slots(optimizer: "keras.optimizers.Adam", variable: "tf.Variable") -> "tuple[str, tf.Variable, tf.Variable]":
    """Return the path and the two moments of a tf.Variable that Adam trains."""
    index = optimizer._get_variable_index(variable)
    path = optimizer._trainable_variables[index].path
    return path, optimizer._momentums[index].value, optimizer._velocities[index].value


class SummedGradients(Optimizer):
    """A mixin for optimizers that clip the sum of the gradients of all replicas, and decay weights in `update_step`.

    Keras clips the gradients of each replica, and decays weights separately.
    """

    def _clip_gradients(self, grads: Sequence[Any]) -> list[Any]:
        import tensorflow as tf

        # The norm of IndexedSlices, the gradients of embeddings, is not that of their sum.
        gradients = [tf.convert_to_tensor(gradient) for gradient in grads]
        context = tf.distribute.get_replica_context()
        if context and context.num_replicas_in_sync > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if not self.global_clipnorm:
            return super()._clip_gradients(gradients)
        return tf.clip_by_global_norm(gradients, self.global_clipnorm)[0]

    def _all_reduce_sum_gradients(self, grads_and_vars: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        return list(grads_and_vars)

    def _apply_weight_decay(self, variables: Sequence["keras.Variable"]) -> None:
        pass


def own_kernel(layer: "keras.layers.Dense | keras.layers.EinsumDense") -> "keras.Variable":
    """Return the kernel of a dense layer without its LoRA update, which the public `kernel` includes."""
    return layer._kernel


def decoder_norms(layer: Any) -> tuple[Any, Any]:
    """Return the norms before attention and before the feed-forward network of a KerasHub decoder layer."""
    return layer._self_attention_layernorm, layer._feedforward_layernorm


class BytePairHooks(BytePairTokenizer):
    """A mixin for KerasHub's byte-pair tokenizers with hooks for Python and for graphs.

    Subclasses define `prepare_tokenizer(tokenizer)`, `prepare_graph(vocabulary, model)` and
    `tokenize_in_graph(inputs)`, where tokenizer and model are those of Hugging Face.
    """

    prepare_tokenizer: Any
    prepare_graph: Any
    tokenize_in_graph: Any

    def add_special_token(self, token: str, name: str) -> None:
        """Register a special token; call it before `__init__`."""
        self._add_special_token(token, name)

    def _set_vocabulary_and_merges_tokenizers(self, vocabulary: dict[str, int], merges: list[str]) -> None:
        super()._set_vocabulary_and_merges_tokenizers(vocabulary, merges)
        self.prepare_tokenizer(self._tokenizer)

    def _set_vocabulary_and_merges_tf(self, vocabulary: dict[str, int], merges: list[str]) -> None:
        super()._set_vocabulary_and_merges_tf(vocabulary, merges)
        self._maybe_initialized_tokenizers()
        assert self._tokenizer is not None
        self.prepare_graph(vocabulary, self._tokenizer.model)

    def _tokenize_tf(self, inputs: Any) -> Any:
        self._maybe_initialized_tf()
        return self.tokenize_in_graph(inputs)


def kerashub_preset_file(preset: str, name: str) -> Path:
    """Return the path of a file of a KerasHub preset."""
    from keras_hub.src.utils.preset_utils import get_file

    return Path(get_file(preset, name))


def freeze_variables(function: Any) -> Any:
    """Return a concrete function with constants in place of variables.

    https://github.com/tensorflow/tensorflow/issues/27614
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function)


def is_traced_for_xla() -> bool:
    """Return whether the graph that is being traced will be compiled by XLA."""
    from tensorflow.python.framework import ops
    from tensorflow.python.ops import control_flow_util

    return control_flow_util.GraphOrParentsInXlaContext(ops.get_default_graph())


def registered_gradients() -> dict[str, Any]:
    """Return TensorFlow's registered gradients by name, {"type": function} each; it never removes one.

    https://github.com/tensorflow/tensorflow/issues/27492
    """
    from tensorflow.python.framework import ops

    return ops.gradient_registry._registry


def set_cardinality(dataset: "tf.distribute.DistributedDataset", batches: int) -> None:
    """Set the number of steps that Keras reads from a distributed dataset."""
    dataset._cardinality = batches


def is_endless(dataset: "tf.data.Dataset") -> bool:
    """Return whether a dataset is infinite, also if a function such as `filter` hides its cardinality."""
    import tensorflow as tf

    while (cardinality := int(dataset.cardinality())) == tf.data.UNKNOWN_CARDINALITY:
        inputs = dataset._inputs()
        if len(inputs) != 1 or "Take" in type(dataset).__name__:
            return False
        (dataset,) = inputs
    return cardinality == tf.data.INFINITE_CARDINALITY


def is_operation(name: str) -> bool:
    """Return whether TensorFlow has an operation of this name, also one that `tf.raw_ops` lacks."""
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(name) is not None


def is_tensorflow_started() -> bool:
    """Return whether TensorFlow's threads run in this process, without importing it."""
    eager = sys.modules.get("tensorflow.python.eager.context")
    context = eager and eager.context_safe()
    return bool(context and context._initialized)
