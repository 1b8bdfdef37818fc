"""Default layer names that are unique within a functional model."""

import gc
from typing import Any
from weakref import WeakSet

import keras


class DefaultNamed(keras.layers.Layer):
    """A layer with a fixed default name, numbered where a functional model gets several such layers.

    Keras numbers default names by process instead, so that the only encoder of a second model would be "encoder_1".
    """

    default_name: str
    _called: WeakSet["DefaultNamed"] = WeakSet()

    def __init__(self, *, name: str | None = None, **kwargs: Any):
        super().__init__(name=name or self.default_name, **kwargs)
        self._name_is_free = not name

    def symbolic_call(self, *args: Any, **kwargs: Any) -> Any:
        """Choose the name, then call the layer on symbolic tensors."""
        if self._name_is_free:
            self._name_is_free = False
            self.name = self._unique_name()
        DefaultNamed._called.add(self)
        return super().symbolic_call(*args, **kwargs)

    def _unique_name(self) -> str:
        """A name that no layer has that is still to become part of a model."""
        others = [layer for layer in DefaultNamed._called if layer.name.startswith(self.name)]
        if others:
            models = (each for each in gc.get_objects() if issubclass(type(each), keras.Model))
            # A model whose construction failed has no layers.
            placed = {id(layer) for model in models for layer in getattr(model, "layers", ())}
            others = [layer for layer in others if id(layer) not in placed]
        taken = {layer.name for layer in others}
        names = [self.name, *(f"{self.name}_{number}" for number in range(1, len(taken) + 1))]
        return next(name for name in names if name not in taken)
