"""Default layer names that are unique within a functional model."""

import gc
import itertools
from typing import Any
from weakref import WeakSet

import keras


class DefaultNamed(keras.layers.Layer):
    """A layer with a fixed default name, numbered where a functional model gets several such layers.

    Keras numbers default names by process instead, so that the only encoder of a second model would be "encoder_1".
    """

    default_name: str
    _pending: WeakSet["DefaultNamed"] = WeakSet()

    def __init__(self, *, name: str | None = None, **kwargs: Any):
        super().__init__(name=name or self.default_name, **kwargs)
        self._name_is_free, self._is_made_of_config = not name, False

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DefaultNamed":
        layer = cls(**config)
        layer._is_made_of_config = True
        return layer

    def symbolic_call(self, *args: Any, **kwargs: Any) -> Any:
        """Choose the name, then call the layer on symbolic tensors."""
        if self._name_is_free:
            self._name_is_free = False
            self.name = self._unique_name()
        # A model that is made of a configuration has its own names for all layers.
        if not self._is_made_of_config:
            DefaultNamed._pending.add(self)
        return super().symbolic_call(*args, **kwargs)

    def _unique_name(self) -> str:
        """A name that no layer has that is still to become part of a model."""
        if self._is_taken():
            models = (each for each in gc.get_objects() if issubclass(type(each), keras.Model))
            # A model whose construction failed has no layers.
            for layer in itertools.chain.from_iterable(getattr(model, "layers", ()) for model in models):
                DefaultNamed._pending.discard(layer)
        if self._is_taken():
            # Layers refer to one another in a circle: those of a model that is gone wait for the collector.
            gc.collect()
        taken = {layer.name for layer in DefaultNamed._pending}
        names = (self.name if number == 0 else f"{self.name}_{number}" for number in itertools.count())
        return next(name for name in names if name not in taken)

    def _is_taken(self) -> bool:
        return any(layer.name.startswith(self.name) for layer in DefaultNamed._pending)
