"""The graphs that a Keras layer was traced into."""

import gc
from typing import Any
from weakref import WeakSet

from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.keras_compat import entry_layer


class TracedGraphs:
    """Graphs that keep computing what a layer computed when they were traced.

    Example:
        class Layer(keras.layers.Layer):
            def call(self, inputs):
                self.graphs.record()
                ...
    """

    def __init__(self):
        self._graphs: WeakSet[Any] = WeakSet()
        self._models: WeakSet[Any] = WeakSet()

    def record(self) -> None:
        """Record the graph that is being traced, if any, and the Keras model that is called in it."""
        import tensorflow as tf

        if tf.executing_eagerly():
            return
        self._graphs.add(tf.compat.v1.get_default_graph())
        if model := entry_layer():
            self._models.add(model)

    def retrace(self) -> None:
        """Make Keras models trace their train, test and predict functions again."""
        for model in self._models:
            for kind in ("train", "test", "predict"):
                if getattr(model, f"{kind}_function", None) is not None:
                    getattr(model, f"make_{kind}_function")(force=True)

    def retrace_all(self, name: str) -> None:
        """Call `retrace`, and check that no other graph is left.

        Args:
            name: the layer's name, for the error.

        Raises:
            InputError: a graph is left that is not Keras' own, such as a tf.function of the caller.
        """
        import tensorflow as tf

        self.retrace()
        gc.collect()
        # TensorFlow never frees a graph that has custom gradients, but it frees the function.
        referrers = (referrer for graph in self._graphs for referrer in gc.get_referrers(graph))
        if any(isinstance(referrer, tf.types.experimental.ConcreteFunction) for referrer in referrers):
            raise InputError(
                f"{name}: a tf.function that traced the layer would keep ignoring the LoRA updates; delete the"
                " function, enable LoRA, then create the function again"
            )
