"""Record the graphs that a Keras layer was traced into."""

import gc
from typing import TYPE_CHECKING
from weakref import WeakSet

import keras

from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.keras_compat import entry_layer

if TYPE_CHECKING:
    import tensorflow as tf


class TracedGraphs:
    """The graphs that traced a layer, which keep computing what it computed then."""

    def __init__(self):
        self._graphs: WeakSet[tf.Graph] = WeakSet()
        self._models: WeakSet[keras.Model] = WeakSet()

    def record(self) -> None:
        """Record the graph that is being traced, if any, and the Keras model that called the layer."""
        import tensorflow as tf

        if tf.executing_eagerly():
            return
        self._graphs.add(tf.compat.v1.get_default_graph())
        if model := entry_layer():
            self._models.add(model)

    def retrace(self) -> None:
        """Make Keras models trace their functions again."""
        for model in self._models:
            for kind in ("train", "test", "predict"):
                if getattr(model, f"{kind}_function", None) is not None:
                    getattr(model, f"make_{kind}_function")(force=True)

    def retrace_all(self, name: str) -> None:
        """Call `retrace`; raise an InputError if a graph is left, such as a tf.function of the caller."""
        import tensorflow as tf

        self.retrace()
        gc.collect()
        # TensorFlow never frees a graph with custom gradients, but it frees the function.
        referrers = (referrer for graph in self._graphs for referrer in gc.get_referrers(graph))
        if any(isinstance(referrer, tf.types.experimental.ConcreteFunction) for referrer in referrers):
            raise InputError(
                f"{name}: a tf.function that traced the layer would ignore the LoRA updates; delete the function,"
                " enable LoRA, then create the function again"
            )
