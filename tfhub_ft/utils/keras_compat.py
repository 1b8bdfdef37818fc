"""Every use of a private API of Keras, KerasHub and TensorFlow; importing this module imports none of them."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

# The modules that register classes with Keras.
REGISTERING = ("encoders.hub_encoder", "encoders.window_preprocessor", "models.heads", "models.masking")
REGISTERING += ("tasks.losses", "training.optimizer", "language_models.language_model_layer")
REGISTERING += ("language_models.dialogue_preprocessor", "language_models.byte_pair")


class _LazyObjects(dict):
    """Keras' registered objects by name. A lookup of one of this package imports modules until it is registered."""

    def __contains__(self, name: object) -> bool:
        modules = iter(REGISTERING if str(name).startswith("tfhub_ft>") else ())
        while not super().__contains__(name) and (module := next(modules, None)):
            with suppress(ModuleNotFoundError):
                importlib.import_module(f"tfhub_ft.{module}")
        return super().__contains__(name)


class _RegistryFinder:
    """Makes Keras' registry lazy as soon as it is imported. Python asks a finder at every import."""

    @classmethod
    def find_spec(cls, name: str, *_: object) -> object:
        registry = sys.modules.get("keras.src.saving.object_registration")
        if not hasattr(registry, "GLOBAL_CUSTOM_OBJECTS"):
            return None
        registry.GLOBAL_CUSTOM_OBJECTS = _LazyObjects(registry.GLOBAL_CUSTOM_OBJECTS)
        sys.meta_path.remove(cls)
        return importlib.util.find_spec(name)


def register_lazily() -> None:
    """Let Keras find the registered classes of this package before their modules are imported.

    `keras.saving.get_custom_objects` returns the registry, but Keras offers no hook for names that are not in it.
    """
    sys.meta_path.insert(0, _RegistryFinder)
    # Keras may have been imported before.
    _RegistryFinder.find_spec("tfhub_ft")


class OneLineError(Exception):
    """An error to whose message Keras does not add the arguments of the layer's call, which are several lines."""

    _keras_call_info_injected = True


def _global_attribute(name: str) -> Any:
    from keras.src.backend.common import global_state

    return global_state.get_global_attribute(name)


def entry_layer() -> Any:
    """Return the outermost layer or model of the current call, None outside of calls; Keras has no public name for it.

    A graph that is being traced does not know the model whose function it becomes.
    """
    context = _global_attribute("current_call_ctx")
    return context.entry_layer if context else None


def is_building() -> bool:
    """Return whether Keras calls layers only to build them, as it does with a subclassed model before it loads weights.

    `keras.StatelessScope` is public, but not whether one is open.
    """
    return _global_attribute("stateless_scope") is not None


def is_reading_legacy_file() -> bool:
    """Return whether Keras makes layers for a model in a `.h5` file, which holds weights but no assets.

    `from_config` does not get the kind of the file.
    """
    return bool(_global_attribute("use_legacy_config"))


def flatten_layers(layer: Any, include_self: bool = True) -> Iterator[Any]:
    """Yield a layer or model and all layers within; `Model.layers` are those of the first level."""
    return layer._flatten_layers(include_self=include_self)


def untrack_variable(layer: Any, variable: "keras.Variable") -> None:
    """Take a variable out of a layer's weights; Keras has `add_weight`, but no way back."""
    layer._untrack_variable(variable)


def input_operation(tensor: Any) -> Any:
    """Return the operation that makes a symbolic tensor, None for others; a `KerasTensor` has no public name for it."""
    return getattr(getattr(tensor, "_keras_history", None), "operation", None)


def inbound_nodes(operation: Any) -> list[Any]:
    """Return the calls of a layer on symbolic tensors; Keras 3 has no public name for them."""
    return operation._inbound_nodes


def nodes_in_order(model: "keras.Model") -> list[Any]:
    """Return the calls of a functional model's layers, each after those whose outputs it takes."""
    depths = model._nodes_by_depth
    return [node for depth in sorted(depths, reverse=True) for node in depths[depth]]


def loss_tracker(model: "keras.Model") -> Any:
    """Return the mean loss among a compiled model's metrics, which a `train_step` of our own updates."""
    return model._loss_tracker


def build_for_batch(model: "keras.Model", batch: Any) -> None:
    """Build a compiled model's metrics and optimizer for a batch, as `fit` does before its first step."""
    model._symbolic_build(data_batch=batch)


class PrebuiltModel:
    """A mixin for models that `build_for_batch` has built.

    `fit` would build them again, where Keras 3.15 fails with several workers, as it reduces a dictionary:
    https://github.com/keras-team/keras/issues/20585
    """

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        pass


def unscaled_loss(loss: Any) -> Any:
    """Return a loss without Keras' division by the number of replicas, which suits parts of equal size alone.

    Keras divides since https://github.com/keras-team/keras/issues/19891
    """
    from keras.src.losses.loss import unscale_loss_for_distribution

    return unscale_loss_for_distribution(loss)


def logs_need_an_axis(strategy: Any) -> bool:
    """Return whether Keras reduces the logs of several workers along an axis that numbers do not have.

    So does Keras 3.15 with `MultiWorkerMirroredStrategy`: https://github.com/keras-team/keras/issues/20585
    """
    import tensorflow as tf
    from keras.src.backend.tensorflow.trainer import reduce_per_replica

    try:
        reduce_per_replica(tf.zeros(()), strategy, "mean")
    except ValueError:
        return True
    return False


def learning_rates(optimizer: Any, steps: Any) -> Any:
    """Return the learning rates of steps; the public `learning_rate` is that of the next step."""
    return optimizer._learning_rate(steps)


def weight_decay_of(optimizer: Any, variable: Any) -> float:
    """Return a variable's weight decay: 0 for those given to `exclude_from_weight_decay`, which has no getter."""
    return optimizer.weight_decay if optimizer.weight_decay and optimizer._use_weight_decay(variable) else 0.0


def adam_slots(optimizer: Any, variable: Any) -> tuple[str, Any, Any]:
    """Return a trained variable's path and its two moments; `update_step` gets the tf.Variable alone."""
    index = optimizer._get_variable_index(variable)
    path = optimizer._trainable_variables[index].path
    return path, optimizer._momentums[index].value, optimizer._velocities[index].value


class SummedGradients:
    """A mixin for optimizers that clip the gradients of all replicas together, and decay weights in `update_step`.

    Keras clips each replica's part, which has another norm, and decays weights in a pass of its own.
    """

    def _clip_gradients(self, gradients: Sequence[Any]) -> list[Any]:
        import tensorflow as tf

        # Of embeddings TensorFlow keeps what each token adds, whose norm is not that of the sum.
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
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


def own_kernel(layer: Any) -> "keras.Variable":
    """Return a dense layer's kernel; the public `kernel` is the sum of it and of its LoRA update."""
    return layer._kernel


def decoder_norms(layer: Any) -> tuple[Any, Any]:
    """Return the norms before attention and before the feed-forward network of a decoder layer of KerasHub."""
    return layer._self_attention_layernorm, layer._feedforward_layernorm


class BytePairHooks:
    """A mixin for KerasHub's byte-pair tokenizers, whose two ways to split a text have private names alone.

    Subclasses have `prepare_tokenizer(tokenizer)`, `prepare_graph(vocabulary, model)` and `tokenize_in_graph(inputs)`;
    tokenizer and model are those of Hugging Face.
    """

    def add_special_token(self, token: str, name: str) -> None:
        """Register a special token; call it before `__init__`."""
        self._add_special_token(token, name)

    def _set_vocabulary_and_merges_tokenizers(self, vocabulary: dict[str, int], merges: list[str]) -> None:
        super()._set_vocabulary_and_merges_tokenizers(vocabulary, merges)
        self.prepare_tokenizer(self._tokenizer)

    def _set_vocabulary_and_merges_tf(self, vocabulary: dict[str, int], merges: list[str]) -> None:
        super()._set_vocabulary_and_merges_tf(vocabulary, merges)
        self._maybe_initialized_tokenizers()
        self.prepare_graph(vocabulary, self._tokenizer.model)

    def _tokenize_tf(self, inputs: Any) -> Any:
        self._maybe_initialized_tf()
        return self.tokenize_in_graph(inputs)


def kerashub_preset_file(preset: str, name: str) -> Path:
    """Return where KerasHub keeps a file of a preset; its public functions load whole presets."""
    from keras_hub.src.utils.preset_utils import get_file

    return Path(get_file(preset, name))


def freeze_variables(function: Any) -> Any:
    """Return a concrete function with constants in place of variables.

    https://github.com/tensorflow/tensorflow/issues/27614: TensorFlow 2 has no public function for it.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function)


def is_traced_for_xla() -> bool:
    """Return whether XLA compiles the graph that is being traced, as only its outermost function knows."""
    from tensorflow.python.framework import ops
    from tensorflow.python.ops import control_flow_util

    return control_flow_util.GraphOrParentsInXlaContext(ops.get_default_graph())


def registered_gradients() -> dict[str, Any]:
    """Return the gradients that TensorFlow keeps by name, each {"type": function}; it never removes one itself.

    https://github.com/tensorflow/tensorflow/issues/27492: the graph of a custom gradient is never freed.
    """
    from tensorflow.python.framework import ops

    return ops.gradient_registry._registry


def set_cardinality(dataset: Any, batches: int) -> None:
    """Set the number of steps that Keras takes from a distributed dataset, which counts the parts of all replicas."""
    dataset._cardinality = batches


def is_operation(name: str) -> bool:
    """Return whether TensorFlow has an operation of this name; `tf.raw_ops` lacks some."""
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(name) is not None


def is_tensorflow_started() -> bool:
    """Return whether this process has imported TensorFlow and started its threads, without importing it."""
    eager = sys.modules.get("tensorflow.python.eager.context")
    context = eager and eager.context_safe()
    return bool(context and context._initialized)
